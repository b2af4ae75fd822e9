//! The few places where the engines' SQL differs: everything else is one text.
//!
//! Statements are written in PostgreSQL's common part. A schema file is split into statements at every `;` that ends
//! a line; its types are BIGINT, TEXT and BYTEA. Text sorts by its bytes on every engine.

use std::borrow::Cow;

/// A statement as SQLite takes it: one writer holds no row locks, so the clause that skips them goes.
pub(super) fn statement_for_sqlite(sql: &str) -> Cow<'_, str> {
    // Few statements have this letter at all, and every statement passes here.
    if !sql.contains('K') {
        return Cow::Borrowed(sql);
    }
    match sql.split_once(SKIP_LOCKED) {
        None => Cow::Borrowed(sql),
        Some((before, after)) => Cow::Owned(format!("{before}{}", statement_for_sqlite(after))),
    }
}

/// The statements of a schema file as SQLite takes them; its tables are strict, so a value of another type is refused.
pub(super) fn schema_for_sqlite(text: &str) -> Vec<String> {
    statements(text)
        .map(|statement| {
            let typed = replace_words(statement, &[("BIGINT", "INTEGER"), ("BYTEA", "BLOB")]);
            if statement.starts_with("CREATE TABLE") { format!("{typed} STRICT") } else { typed }
        })
        .collect()
}

/// The statements of a schema file as PostgreSQL takes them; without the collation, text would sort by the
/// database's locale.
pub(super) fn schema_for_postgres(text: &str) -> Vec<String> {
    statements(text).map(|statement| replace_words(statement, &[("TEXT", "TEXT COLLATE \"C\"")])).collect()
}

/// The statements of a schema file, without the comment lines before each.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(";\n").filter_map(|part| {
        let mut statement = part.trim();
        while statement.starts_with("--") {
            statement = statement.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
        }
        let statement = statement.trim_end_matches(';').trim_end();
        (!statement.is_empty()).then_some(statement)
    })
}

/// Replaces whole words.
fn replace_words(text: &str, words: &[(&str, &str)]) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        out.push_str(before);
        out.push_str(words.iter().find(|(old, _)| *old == word).map_or(word, |(_, new)| new));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The clause by which workers pass over each other's rows.
const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";

#[cfg(test)]
mod tests {
    use super::{schema_for_postgres, schema_for_sqlite, statement_for_sqlite};

    const SCHEMA: &str = "\
-- A first table; with a semicolon.
CREATE TABLE a (
    id BIGINT PRIMARY KEY, -- BIGINT
    words TEXT NOT NULL,
    bytes BYTEA,
    bytea_like BIGINT
);

CREATE INDEX a_words ON a (words);
-- The end.
";

    #[test]
    fn a_schema_becomes_strict_tables_in_sqlite() {
        let statements = schema_for_sqlite(SCHEMA);
        assert_eq!(statements.len(), 2);
        assert!(statements[0].starts_with("CREATE TABLE a (\n    id INTEGER PRIMARY KEY,"), "{}", statements[0]);
        assert!(statements[0].ends_with("bytes BLOB,\n    bytea_like INTEGER\n) STRICT"), "{}", statements[0]);
        assert_eq!(statements[1], "CREATE INDEX a_words ON a (words)");
    }

    #[test]
    fn text_sorts_by_bytes_in_postgres() {
        let statements = schema_for_postgres(SCHEMA);
        assert_eq!(statements.len(), 2);
        assert!(statements[0].contains("words TEXT COLLATE \"C\" NOT NULL"), "{}", statements[0]);
        assert!(statements[0].contains("bytes BYTEA"));
    }

    #[test]
    fn only_the_locking_clause_leaves_a_statement() {
        assert_eq!(statement_for_sqlite("SELECT a FROM b FOR UPDATE SKIP LOCKED"), "SELECT a FROM b");
        let nested = "UPDATE b SET c = 1 WHERE a IN (SELECT a FROM b LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING a";
        assert_eq!(statement_for_sqlite(nested), "UPDATE b SET c = 1 WHERE a IN (SELECT a FROM b LIMIT 1) RETURNING a");
        assert_eq!(statement_for_sqlite("SELECT 'FOR UPDATE'"), "SELECT 'FOR UPDATE'");
    }
}
