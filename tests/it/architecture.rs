//! What the source may look like: who imports whom, words that do not belong, sizes, and its format.
//!
//! A scan of text, so that it needs no compiler; `docs/style.md` has the reasons. Exceptions stand in
//! `tests/golden/tidy-allow.txt`, each with its number, which has to be exact: it may shrink and never grow.

use crate::source::{self, File};
use std::collections::{BTreeMap, BTreeSet};

/// A module and what it may import besides itself: modules, or parts of them.
type Row = (&'static str, &'static [&'static str]);

/// Who may import whom. A file is judged by the longest row that its module begins with; `*` is everything.
const MAY_IMPORT: &[Row] = &[
    ("", &["*"]),
    // Leaves.
    ("names", &[]),
    ("secret", &[]),
    ("pb", &[]),
    ("ops", &["names"]),
    ("error", &["names"]),
    ("listen", &["error"]),
    ("clock", &["names"]),
    ("syncs", &["clock", "error"]),
    ("ctx", &["names", "clock"]),
    ("oci", &["names"]),
    // What the gate stands on.
    ("authz", &["names", "ops", "ctx", "error"]),
    ("keys", &["names", "secret", "clock", "error"]),
    ("identity", &["names", "secret", "clock", "ctx", "error", "keys"]),
    ("blobs", &["names", "keys", "error", "syncs"]),
    (
        "store",
        &[
            "names",
            "ops",
            "clock",
            "error",
            "secret",
            "syncs",
            "authz::permit",
            "keys::KeyRow",
            "keys::KeyRows",
            "keys::KeyState",
            "keys::Material",
            "keys::Error",
        ],
    ),
    ("upstream", &["names", "secret", "error", "clock", "keys", "identity"]),
    ("gate", &["authz", "store", "ctx", "ops", "error", "names", "clock"]),
    // Rules.
    (
        "domain",
        &["gate", "store", "blobs", "keys", "identity", "authz", "names", "ctx", "ops", "error", "clock", "secret"],
    ),
    ("peer", &["domain", "store", "names", "pb", "listen", "clock", "error", "secret", "blobs::Reader"]),
    ("jobs", &["domain", "store", "clock", "names", "peer"]),
    // Surfaces.
    ("api", &["ctx", "clock", "names", "error", "identity", "listen", "domain", "ops"]),
    // The front doors, the peers' too.
    ("api::service", &["api", "error", "domain", "peer::Transport", "pb::replication::transport_service_server"]),
    (
        "api::grpc",
        &[
            "api", "domain", "ctx", "clock", "identity", "names", "error", "ops", "pb", "secret", "store", "authz",
            "keys",
        ],
    ),
    ("api::aws", &["api", "domain", "ctx", "identity", "names", "error", "ops", "secret", "store"]),
    ("api::oci", &["api", "domain", "ctx", "clock", "identity", "names", "error", "ops", "store", "listen"]),
    // The composition root and the program.
    ("config", &["names", "secret"]),
    ("server", &["*"]),
    ("cli", &["*"]),
];

/// Modules that few may import, and who: the composition root is nobody's, and the program's least of all.
const IMPORTED_ONLY_BY: &[Row] = &[
    ("listen", &["server", "api", "peer"]),
    ("cli", &["", "cli"]),
    ("server", &["cli"]),
    ("config", &["server", "cli"]),
    ("oci", &["cli"]),
    // The program asks whom AWS knows it as.
    ("upstream", &["server", "cli::client"]),
    ("api::grpc", &["server"]),
    ("api::oci", &["server", "api::service"]),
];

/// Words that no product code has, with where they are at home and what to do instead.
const BANNED: &[(&str, &[&str], &str)] = &[
    (".unwrap()", &[], "return an error, or `expect` with the invariant"),
    ("todo!", &[], "finish it"),
    ("unimplemented!", &[], "finish it"),
    ("dbg!", &[], "use tracing"),
    ("allow(dead_code", &[], "remove it"),
    ("SystemTime::now", &["clock"], "use `Clock`"),
    // A receipt's signature draws its nonce.
    (
        "SystemRandom",
        &["clock", "keys", "domain::replication::receipt"],
        "use `Clock::uid`, or `keys` for key material",
    ),
    ("rand::fill", &["clock", "keys"], "use `Clock::uid`, or `keys` for key material"),
    ("getrandom", &["clock", "keys"], "use `Clock::uid`, or `keys` for key material"),
    ("new_v4", &["clock"], "use `Clock::uid`"),
    ("env::var", &["config", "cli"], "settings come from `config`"),
    ("aws_sdk_", &["upstream"], "clients of AWS live in `upstream`"),
    ("aws_config", &["upstream"], "clients of AWS live in `upstream`"),
    // The demo's evidence is read beside the server, so that it does not depend on what the server says.
    ("rusqlite", &["store", "cli::demo::evidence"], "SQL lives in `store`"),
    ("tokio_postgres", &["store"], "SQL lives in `store`"),
];

/// Words that the rules do not have: they know no wire format.
const BANNED_IN_DOMAIN: &[&str] = &["http::", "tonic::", "hyper::", "serde_json::Value", "crate::pb"];

/// Words of the whole text, tests and comments included.
const BANNED_ANYWHERE: &[&str] = &["TODO", "FIXME", "XXX", "#[ignore"];

/// What makes a literal SQL.
const SQL: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "ALTER TABLE ",
    "DROP TABLE ",
    "PRAGMA ",
    " SET (",
    "BEGIN IMMEDIATE",
    " WHERE ",
];

const FILE_LINES_MAX: usize = 600;
const TEST_FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 80;
/// Entries of `tidy-allow.txt`, so that one more is a change of this line. It may only become smaller.
const ALLOWED: usize = 0;

#[test]
fn modules_import_downwards_only() {
    let files: Vec<File> = source::files().into_iter().filter(|file| !file.test).collect();
    let found: Vec<String> = files.iter().flat_map(bad_imports).collect();
    assert!(
        found.is_empty(),
        "imports that section \"Layout\" of docs/ARCHITECTURE.md has no arrow for:\n{}",
        found.join("\n")
    );
    for (row, _) in MAY_IMPORT {
        let parts = split(row);
        assert!(files.iter().any(|file| file.module.starts_with(&parts)), "there is no module {row}: remove its row");
    }
}

/// The imports of a file that have no arrow.
fn bad_imports(file: &File) -> Vec<String> {
    let Some((own, allowed)) = row(&file.module) else {
        return vec![format!("{}: the module has no row in MAY_IMPORT of tests/it/architecture.rs", file.path)];
    };
    let mut found = Vec::new();
    for (line, path) in file.paths() {
        let below = |name: &str| path.starts_with(&split(name));
        let arrow = below(own) || allowed.iter().any(|name| *name == "*" || below(name));
        let welcome = IMPORTED_ONLY_BY
            .iter()
            .filter(|(name, _)| below(name))
            .all(|(name, by)| file.module.starts_with(&split(name)) || by.iter().any(|by| importer(by, &file.module)));
        if !arrow || !welcome {
            found.push(format!("{}:{line}: {} imports {}", file.path, file.module.join("::"), path.join("::")));
        }
    }
    found
}

/// The longest row that a module begins with; the roots have the row without a name.
fn row(module: &[String]) -> Option<&'static Row> {
    let rows =
        MAY_IMPORT.iter().filter(|(name, _)| name.is_empty() == module.is_empty() && module.starts_with(&split(name)));
    rows.max_by_key(|(name, _)| name.len())
}

fn importer(name: &str, module: &[String]) -> bool {
    if name.is_empty() { module.is_empty() } else { module.starts_with(&split(name)) }
}

fn split(name: &str) -> Vec<String> {
    name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[test]
fn no_module_climbs_by_a_path_of_its_own() {
    // `extern crate` and `#[path]` would let a file be another module than the one its place says.
    for file in source::files().iter().filter(|file| file.path != "src/lib.rs") {
        assert!(!file.code.contains("extern crate"), "{}: extern crate", file.path);
        // The cases of `tests/it/` also run inside the crate, as tests.
        let paths = file.text.matches("#[path").count() - file.text.matches("#[path = \"../../tests/it/").count();
        assert!(paths == 0, "{}: #[path]", file.path);
    }
}

#[test]
fn words_stay_where_they_are_at_home() {
    let mut found = Vec::new();
    for file in source::files().iter().filter(|file| !file.test) {
        let home = |modules: &[&str]| modules.iter().any(|module| file.module.starts_with(&split(module)));
        for (number, line) in file.lines() {
            for (word, _, instead) in BANNED.iter().filter(|(word, at_home, _)| line.contains(word) && !home(at_home)) {
                found.push(format!("{}:{number}: {word}: {instead}", file.path));
            }
            if home(&["domain"]) {
                let banned = BANNED_IN_DOMAIN.iter().filter(|word| line.contains(**word));
                found.extend(banned.map(|word| format!("{}:{number}: {word} in domain/", file.path)));
            }
            // tokio's can be paused by a test; the system's cannot.
            if line.contains("Instant::now") && !home(&["clock"]) && !of_tokio(file, line) {
                found.push(format!("{}:{number}: Instant::now: use `tokio::time::Instant`", file.path));
            }
        }
        let sql = file
            .literals
            .iter()
            .filter(|(_, text)| !home(&["store", "cli::demo::evidence"]) && SQL.iter().any(|word| text.contains(word)));
        found.extend(sql.map(|(number, text)| format!("{}:{number}: SQL outside store/: {text:.60}", file.path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether the `Instant` of a line is tokio's: by its whole path, or imported.
fn of_tokio(file: &File, line: &str) -> bool {
    line.contains("tokio::time::Instant::now") || file.code.contains("use tokio::time::Instant;")
}

#[test]
fn the_rules_catch_what_they_are_for() {
    let file = |path: &str, text: &str| File::new(path.to_owned(), text.to_owned());
    let bad = [
        file("src/names/x.rs", "use crate::error::Error;"),
        file("src/domain/x.rs", "use crate::{names::Tag, api::oci};"),
        file("src/store/x.rs", "use crate::authz::eval;"),
        file("src/gate/x.rs", "use super::super::listen::Peer;"),
        file("src/blobs.rs", "use super::gate::Gate;"),
        file("src/api/oci/x.rs", "fn f() { crate::api::grpc::code(r) }"),
        file("src/brand_new.rs", ""),
    ];
    for file in bad {
        assert_eq!(bad_imports(&file).len(), 1, "{}: {}", file.path, file.text);
    }
    let good = [
        file("src/store/x.rs", "use crate::authz::permit::Allowed; // crate::gate"),
        file("src/peer/x.rs", "use crate::listen::Peer; #[cfg(test)] mod tests { use crate::cli::x; }"),
    ];
    for file in good {
        assert_eq!(bad_imports(&file), Vec::<String>::new());
    }
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(source::texts) {
        if path == "tests/it/architecture.rs" {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            let words = BANNED_ANYWHERE.iter().filter(|word| line.contains(**word));
            found.extend(words.map(|word| format!("{path}:{}: {word}", at + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_and_functions_stay_short() {
    let allowed = source::golden_entries("tidy-allow.txt");
    assert_eq!(allowed.len(), ALLOWED, "tests/golden/tidy-allow.txt may only shrink");
    let mut sizes = BTreeMap::new();
    for file in source::files() {
        let max = if file.test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        note(&mut sizes, format!("file {}", file.path), file.text.lines().count(), max);
        for (name, lines) in if file.test { Vec::new() } else { file.functions() } {
            note(&mut sizes, format!("fn {}::{name}", file.path), lines, FUNCTION_LINES_MAX);
        }
    }
    for (path, text) in ["tests", "benches"].into_iter().flat_map(source::texts) {
        note(&mut sizes, format!("file {path}"), text.lines().count(), TEST_FILE_LINES_MAX);
    }
    let long: BTreeSet<_> = sizes.into_iter().collect();
    let allowed: BTreeSet<_> = allowed.into_iter().collect();
    let new: Vec<_> = long.difference(&allowed).map(|(what, lines)| format!("{what} {lines}")).collect();
    let old: Vec<_> = allowed.difference(&long).map(|(what, lines)| format!("{what} {lines}")).collect();
    assert!(new.is_empty(), "too long; split by noun:\n{}", new.join("\n"));
    assert!(old.is_empty(), "no longer so; remove or lower it in tests/golden/tidy-allow.txt:\n{}", old.join("\n"));
}

/// Notes what is longer than its limit.
fn note(sizes: &mut BTreeMap<String, usize>, what: String, lines: usize, max: usize) {
    if lines > max {
        sizes.insert(what, lines);
    }
}

#[test]
fn files_say_what_they_guarantee() {
    let files = source::files();
    let silent: Vec<_> =
        files.iter().filter(|file| !file.text.starts_with("//!") && file.path != "src/main.rs").collect();
    let test = |path: &str| path.ends_with("tests.rs");
    let silent: Vec<&str> = silent.iter().map(|file| file.path.as_str()).filter(|path| !test(path)).collect();
    assert!(silent.is_empty(), "files that do not begin with //!:\n{}", silent.join("\n"));
}

#[test]
fn the_source_is_formatted() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ran = std::process::Command::new(cargo).args(["fmt", "--check"]).current_dir(source::root()).output();
    match ran {
        Ok(ran) => {
            let text = String::from_utf8_lossy(&ran.stdout);
            let told = text.lines().filter(|line| line.starts_with("Diff in")).collect::<Vec<_>>().join("\n");
            assert!(ran.status.success(), "run `cargo fmt`:\n{told}\n{}", String::from_utf8_lossy(&ran.stderr));
        }
        Err(error) => println!("SKIPPED: cargo cannot be run here: {error}"),
    }
}
