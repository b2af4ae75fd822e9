//! The product's source as text: comments and literals told from code, tests told from product, paths resolved.
//!
//! It is no parser. It knows just enough of Rust's lexical rules that a word in a comment or a string is not taken for
//! code, and it reads what `rustfmt` wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file of `src/`.
pub(crate) struct File {
    /// Its path from the root of the repository.
    pub(crate) path: String,
    /// The module that it is: `api::oci::route`; empty for the roots `lib` and `main`.
    pub(crate) module: Vec<String>,
    /// As it is.
    pub(crate) text: String,
    /// With comments and literals blanked, and items under `#[cfg(test)]` too; lines stay where they are.
    pub(crate) code: String,
    /// The literals outside tests, each with its line.
    pub(crate) literals: Vec<(usize, String)>,
    /// Whether all of it is compiled for tests only.
    pub(crate) test: bool,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below a folder of the repository, as path and text, in the order of paths.
pub(crate) fn texts(folder: &str) -> Vec<(String, String)> {
    let found = walkdir::WalkDir::new(root().join(folder)).sort_by_file_name().into_iter().map(Result::unwrap);
    let rust = found.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"));
    rust.map(|entry| {
        let path = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (path, std::fs::read_to_string(entry.path()).unwrap())
    })
    .collect()
}

/// The files of `src/`.
pub(crate) fn files() -> Vec<File> {
    let mut files: Vec<File> = texts("src").into_iter().map(|(path, text)| File::new(path, text)).collect();
    let tests: BTreeSet<Vec<String>> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        file.test = (0..=file.module.len()).any(|length| tests.contains(&file.module[..length]));
    }
    files
}

impl File {
    /// Reads a file of `src/`.
    pub(crate) fn new(path: String, text: String) -> Self {
        let module = module_of(&path);
        let (code, literals) = split(&text);
        let hidden = test_items(&code);
        let inside = |at: usize| hidden.iter().any(|range| range.contains(&at));
        let literals =
            literals.into_iter().filter(|(at, _)| !inside(*at)).map(|(at, text)| (line(&code, at), text)).collect();
        let code = code.char_indices().map(|(at, c)| if inside(at) && c != '\n' { ' ' } else { c }).collect();
        Self { path, module, text, code, literals, test: false }
    }

    /// Code lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Every path of this crate that the code names, without `crate`: `crate::a::{b, c::D}` is `a::b` and `a::c::D`.
    pub(crate) fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut paths = Vec::new();
        for (at, _) in words(&self.code, "crate") {
            let rest = &self.code[at + "crate".len()..];
            paths.extend(expand(rest).into_iter().map(|path| (line(&self.code, at), path)));
        }
        for (at, _) in words(&self.code, "super") {
            if self.code[..at].ends_with("::") {
                continue;
            }
            let mut up = self.module.clone();
            up.pop();
            let mut rest = &self.code[at + "super".len()..];
            while let Some(next) = rest.strip_prefix("::super") {
                up.pop();
                rest = next;
            }
            let found = expand(rest).into_iter().map(|path| [up.clone(), path].concat());
            paths.extend(found.filter(|path| !path.is_empty()).map(|path| (line(&self.code, at), path)));
        }
        paths
    }

    /// Every function with a body: its name and the lines it takes.
    pub(crate) fn functions(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for (at, _) in words(&self.code, "fn") {
            let rest = &self.code[at + 2..];
            let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(open) = rest.find(['{', ';']).filter(|open| rest[*open..].starts_with('{')) else { continue };
            if name.is_empty() {
                continue;
            }
            let body = &rest[..open + block(&rest[open..])];
            found.push((name, body.matches('\n').count() + 1));
        }
        found
    }
}

/// The line of a byte offset.
fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
fn module_of(path: &str) -> Vec<String> {
    let path = Path::new(path).strip_prefix("src").unwrap().with_extension("");
    let mut parts: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The places of a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(move |(at, word)| !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// The paths of a use tree that follows `crate` or `super`: `::a::{b, c::D}`.
fn expand(rest: &str) -> Vec<Vec<String>> {
    let Some(rest) = rest.strip_prefix("::") else { return Vec::new() };
    if let Some(inner) = rest.strip_prefix('{') {
        let inner = &inner[..block(rest) - 2];
        return branches(inner).into_iter().flat_map(|branch| expand(&format!("::{}", branch.trim()))).collect();
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() || name == "self" {
        return vec![Vec::new()];
    }
    let below = expand(&rest[name.len()..]);
    if below.is_empty() {
        return vec![vec![name]];
    }
    below.into_iter().map(|path| [vec![name.clone()], path].concat()).collect()
}

/// The branches of a use tree's braces.
fn branches(inner: &str) -> Vec<&str> {
    let (mut found, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&inner[from..]);
    found.into_iter().filter(|branch| !branch.trim().is_empty()).collect()
}

/// The length of the block that the text begins with, both braces included.
fn block(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// What is compiled for tests only: each `#[cfg(test)]` up to the end of its item.
fn test_items(code: &str) -> Vec<std::ops::Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(at, _)| at);
    starts
        .map(|at| {
            let rest = &code[at..];
            // A `use` ends with its semicolon, though braces may come before it.
            let item = rest["#[cfg(test)]".len()..].trim_start();
            let import =
                ["use ", "pub(super) use ", "pub(crate) use ", "pub use "].iter().any(|use_| item.starts_with(use_));
            let end = rest.find(if import { &[';'][..] } else { &[';', '{'][..] }).unwrap_or(rest.len() - 1);
            let length = if rest[end..].starts_with('{') { end + block(&rest[end..]) } else { end + 1 };
            at..at + length
        })
        .collect()
}

/// The modules that a file declares under `#[cfg(test)]` and that are files of their own.
fn test_modules(file: &File) -> Vec<Vec<String>> {
    let (code, _) = split(&file.text);
    let items = test_items(&code).into_iter().map(|range| code[range].to_owned());
    let declared = items.filter_map(|item| {
        let name = item.split_once("mod ")?.1.strip_suffix(';')?.trim().to_owned();
        Some([file.module.clone(), vec![name]].concat())
    });
    declared.collect()
}

/// Code with comments and literals blanked, byte for byte, and the literals with their offsets.
fn split(text: &str) -> (String, Vec<(usize, String)>) {
    let (mut code, mut literals, mut rest) = (String::with_capacity(text.len()), Vec::new(), text);
    while !rest.is_empty() {
        let (length, literal) = lexeme(rest, code.chars().next_back());
        let (taken, left) = rest.split_at(length);
        if let Some(content) = literal {
            literals.push((code.len(), content));
        }
        let plain = length == 1 || taken.chars().all(|c| c.is_alphanumeric() || c == '_');
        if plain && !taken.starts_with('"') {
            code.push_str(taken);
        } else {
            code.extend(taken.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = left;
    }
    (code, literals)
}

/// The length of what the text begins with, and its content if it is a string.
fn lexeme(text: &str, before: Option<char>) -> (usize, Option<String>) {
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), None);
    }
    if text.starts_with("/*") {
        return (text.find("*/").map_or(text.len(), |end| end + 2), None);
    }
    if before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        && let Some((length, content)) = string(text)
    {
        return (length, Some(content));
    }
    let mut chars = text.chars();
    match chars.next() {
        Some('\'') => (character(text), None),
        Some(c) if c.is_alphabetic() || c == '_' => {
            (text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()), None)
        }
        Some(c) => (c.len_utf8(), None),
        None => (0, None),
    }
}

/// A string literal of any kind.
fn string(text: &str) -> Option<(usize, String)> {
    let prefix = text.len() - text.trim_start_matches(['b', 'c']).len();
    let rest = &text[prefix..];
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = body.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some((prefix + 1 + hashes + 1 + end + 1 + hashes, body[..end].to_owned()));
    }
    let body = rest.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|c| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    })?;
    Some((prefix + end + 2, body[..end].to_owned()))
}

/// The length of a character literal; of a lifetime, only its tick.
fn character(text: &str) -> usize {
    let body = &text[1..];
    if let Some(escape) = body.strip_prefix('\\') {
        let skip = escape.chars().next().map_or(0, char::len_utf8);
        return escape[skip..].find('\'').map_or(1, |end| 2 + skip + end + 1);
    }
    let width = body.chars().next().map_or(0, char::len_utf8);
    if body[width..].starts_with('\'') { width + 2 } else { 1 }
}

/// The words of a golden list, one entry a line, `#` before a remark.
pub(crate) fn golden_entries(name: &str) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(root().join("tests/golden").join(name)).unwrap();
    let entries = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|l| !l.is_empty());
    entries
        .map(|entry| match entry.rsplit_once(' ') {
            Some((key, number)) if number.parse::<usize>().is_ok() => (key.to_owned(), number.parse().unwrap()),
            _ => (entry.to_owned(), 1),
        })
        .collect()
}

#[test]
fn source_is_told_apart() {
    let text = r##"use crate::a::{b::C, d::{self, E}}; // crate::no
/// crate::no
fn f<'a>(x: &'a str) -> char { let _ = r#"SELECT "x" { "#; let q = "\"{"; '{' }
fn g();
#[cfg(test)]
use super::{x, y};
fn h() { super::super::up::Z; crate::q(); }
#[cfg(test)]
mod tests { fn t() { x.unwrap() } }
#[cfg(test)]
mod far;
"##;
    let file = File::new("src/m/n/o.rs".to_owned(), text.to_owned());
    let paths: Vec<String> =
        file.paths().into_iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect();
    assert_eq!(paths, ["1 a::b::C", "1 a::d", "1 a::d::E", "7 q", "7 m::up::Z"]);
    assert_eq!(file.literals, [(3, "SELECT \"x\" { ".to_owned()), (3, "\\\"{".to_owned())]);
    assert_eq!(file.functions(), [("f".to_owned(), 1), ("h".to_owned(), 1)]);
    assert!(!file.code.contains("unwrap") && !file.code.contains("no"), "{}", file.code);
    assert_eq!(test_modules(&file), [["m", "n", "o", "far"].map(str::to_owned)]);
}
