//! What commands print: tables for people, the same rows as JSON for programs; data on stdout, the rest on stderr.

use comfy_table::{Table, presets};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Output {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Rows under column names; a column's name in lower case with underscores is its JSON key.
#[derive(Debug)]
pub struct Rows {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Rows {
    /// No rows yet.
    #[must_use]
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, a value for each column.
    pub fn push<const N: usize>(&mut self, row: [Value; N]) {
        debug_assert_eq!(N, self.columns.len(), "a row has a value for each column");
        self.rows.push(Vec::from(row));
    }

    /// Prints all rows: a table, or a JSON array.
    pub fn print(&self, output: Output) {
        match output {
            Output::Table => line(self.table()),
            Output::Json => print_json(&self.rows.iter().map(|row| self.object(row)).collect::<Vec<_>>().into()),
        }
    }

    /// Prints one row: its columns below each other, or a JSON object.
    pub fn print_one(&self, output: Output) {
        let Some(row) = self.rows.first() else { return };
        match output {
            Output::Table => {
                let width = self.columns.iter().map(|column| column.len()).max().unwrap_or(0);
                for (column, value) in self.columns.iter().zip(row) {
                    line(format_args!("{column:width$}  {}", text(value)));
                }
            }
            Output::Json => print_json(&self.object(row)),
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(self.columns.to_vec());
        for row in &self.rows {
            table.add_row(row.iter().map(text).collect::<Vec<_>>());
        }
        table
    }

    fn object(&self, row: &[Value]) -> Value {
        let key = |column: &str| column.to_ascii_lowercase().replace(' ', "_");
        let fields = self.columns.iter().zip(row).map(|(column, value)| (key(column), value.clone()));
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

/// Prints a line of data.
///
/// A reader that left early, as `head` does, ends the program without a word, and not as a success: what was asked
/// has not all been said. Standard output that fails otherwise ends it with the reason.
pub fn line(text: impl Display) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{text}") {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("transship: standard output: {error}");
        }
        std::process::exit(1);
    }
}

/// Prints a JSON value, indented.
pub fn print_json(value: &Value) {
    line(format_args!("{value:#}"));
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A moment from the wire as text, or nothing.
#[must_use]
pub fn time(time: Option<&prost_types::Timestamp>) -> Value {
    time.map_or(Value::Null, |time| {
        let micros = time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000));
        crate::clock::Timestamp::from_micros(micros).to_string().into()
    })
}

/// A count of bytes for people: `1.5 MB`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::{Rows, bytes};

    #[test]
    fn a_row_is_an_object_under_its_columns_names() {
        let mut rows = Rows::new(&["NAME", "LAST ERROR"]);
        rows.push(["a".into(), serde_json::Value::Null]);
        assert_eq!(rows.object(&rows.rows[0]), serde_json::json!({"name": "a", "last_error": null}));
        assert!(rows.table().to_string().contains("LAST ERROR"));
    }

    #[test]
    fn bytes_are_told_in_three_digits() {
        assert_eq!([bytes(0), bytes(999), bytes(1_500), bytes(2_000_000_000)], ["0 B", "999 B", "1.5 kB", "2.0 GB"]);
    }
}
