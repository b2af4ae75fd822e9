//! Every operation and every reason is accounted for, and the documents made from their tables are those tables.
//!
//! `docs/adding-an-operation.md` says what a new operation touches; these tests are how one learns what was forgotten.
//! `UPDATE=1` rewrites `docs/generated/` and the lists of what was refused, but never `tests/golden/uncovered.txt`: that
//! is edited by hand and may only shrink.

use crate::harness::Region;
use crate::source::{self, root};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use transship::api::{grpc, oci};
use transship::error::{Error, Reason};
use transship::ops::{Class, Kind, Op};

/// Entries of `uncovered.txt`, so that one more is a change of this line. It may only become smaller.
const UNCOVERED: usize = 0;

/// Where an operation can be carried out; a surface only names what is asked for.
const REACH: &[&str] = &["domain", "jobs", "peer"];

#[test]
fn every_operation_is_carried_out_somewhere() {
    let mut named = BTreeSet::new();
    for file in source::files().iter().filter(|file| !file.test) {
        if file.module.first().is_some_and(|module| REACH.contains(&module.as_str())) {
            named.extend(operations(&file.code));
        }
    }
    covered("reached", &named);
}

/// The operations that tests saw denied, one list for each surface.
const REFUSED: [&str; 6] = [
    "refused-aws.txt",
    "refused-grpc.txt",
    "refused-oci.txt",
    "refused-peers.txt",
    "refused-repairs.txt",
    "refused-tokens.txt",
];
/// How long audit rows of denials may take to be written.
const AUDITED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn every_operation_is_refused_to_who_may_not_ask_for_it() {
    let lists = REFUSED.iter().flat_map(|list| source::golden_entries(list).into_keys());
    covered("refused", &lists.collect());
}

/// Who was denied which operation, as the audit of a region has it.
pub(crate) fn denials(region: &Region) -> BTreeSet<(String, String)> {
    let path = region.folder.path().join("data/metadata.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let text = "SELECT DISTINCT op, caller FROM audit WHERE outcome = 'denied'";
    let mut select = database.prepare(text).unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// Compares the operations that an account was denied on things of another, as the audit has them, with a list of
/// [`REFUSED`]. What is about the caller itself is denied to those who prove no identity, and to nobody else.
pub(crate) async fn denied(region: &Region, foreign: &str, list: &str) {
    let account = format!(":{}:", region.account(foreign));
    let own = |op: &str| Op::ALL.iter().any(|known| known.name() == op && known.spec().resource == Kind::Caller);
    let read = || {
        let known = |caller: &str| caller.starts_with("arn:");
        let counts = |(op, caller): &(String, String)| if own(op) { !known(caller) } else { caller.contains(&account) };
        let ops: BTreeSet<String> = denials(region).into_iter().filter(counts).map(|(op, _)| op + "\n").collect();
        ops.into_iter().collect::<String>()
    };
    let path = root().join("tests/golden").join(list);
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let (began, update) = (tokio::time::Instant::now(), std::env::var_os("UPDATE").is_some());
    while (update || read() != expected) && began.elapsed() < AUDITED_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    golden(&format!("tests/golden/{list}"), &read());
}

/// Waits until the audit has each operation of a list of [`REFUSED`] as denied to each of these, and fails if it never
/// does. What only other things lead to is left out.
pub(crate) async fn unbelieved(region: &Region, list: &str, but: &[&str], callers: &[String]) {
    let ops = source::golden_entries(list).into_keys().filter(|op| !but.contains(&op.as_str()));
    let wanted: BTreeSet<_> =
        ops.flat_map(|op| callers.iter().map(move |caller| (op.clone(), caller.clone()))).collect();
    assert!(!wanted.is_empty());
    let began = tokio::time::Instant::now();
    while !wanted.is_subset(&denials(region)) && began.elapsed() < AUDITED_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = denials(region);
    let missing: Vec<_> = wanted.difference(&found).collect();
    assert!(missing.is_empty(), "denied and not in the audit: {missing:?}");
}

/// The operations that a text names, as `Op::Name`.
fn operations(code: &str) -> Vec<String> {
    let names = code.split("Op::").skip(1);
    names.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}

/// Fails with what is missing from the set and from the exceptions, and with exceptions that are none.
fn covered(what: &str, named: &BTreeSet<String>) {
    let exceptions = source::golden_entries("uncovered.txt");
    assert_eq!(exceptions.len(), UNCOVERED, "tests/golden/uncovered.txt may only shrink");
    let excepted = |op: &str| exceptions.contains_key(&format!("{what} {op}"));
    let missing: Vec<_> =
        Op::ALL.iter().map(|op| op.name()).filter(|op| !named.contains(*op) && !excepted(op)).collect();
    assert!(missing.is_empty(), "not {what}: {missing:?}; docs/adding-an-operation.md says what each needs");
    let idle: Vec<_> = Op::ALL.iter().map(|op| op.name()).filter(|op| named.contains(*op) && excepted(op)).collect();
    assert!(idle.is_empty(), "{what} after all, remove them from tests/golden/uncovered.txt: {idle:?}");
}

#[test]
fn exceptions_name_operations_that_there_are() {
    for entry in source::golden_entries("uncovered.txt").into_keys() {
        let op = entry.split(' ').nth(1).unwrap_or_default();
        assert!(Op::ALL.iter().any(|known| known.name() == op), "tests/golden/uncovered.txt: {entry}");
    }
}

#[test]
fn the_document_of_operations_is_the_table() {
    let meanings = meanings("src/ops.rs", "operations!");
    let mut text = String::from(
        "# Operations\n\nGenerated from `src/ops.rs`; `UPDATE=1 cargo test --test it operations::` rewrites it.\n\n\
         | Operation | Action in policies | Class | Authorized on | Since | Meaning |\n|---|---|---|---|---|---|\n",
    );
    for op in Op::ALL {
        let spec = op.spec();
        let class = match spec.class {
            Class::Read => "read",
            Class::Data => "data",
            Class::Write => "write",
        };
        let resource = match spec.resource {
            Kind::Repository => "repository",
            Kind::Registry => "registry (`*`)",
            Kind::Role => "role",
            Kind::Principal => "user, role or access key",
            Kind::Key => "KMS key",
            Kind::Organization => "organization",
            Kind::Caller => "the caller itself",
            Kind::FederatedUser => "federated user",
        };
        let (name, action, since, meaning) = (op.name(), spec.action, spec.since, &meanings[op.name()]);
        text += &format!("| `{name}` | `{action}` | {class} | {resource} | {since} | {meaning} |\n");
    }
    golden("docs/generated/operations.md", &text);
}

#[test]
fn the_document_of_the_aws_wire_is_its_tables() {
    let mut text = String::from(
        "# The AWS wire\n\nGenerated from `src/api/aws/`; `UPDATE=1 cargo test --test it operations::` rewrites it. What is not here\n\
         is answered `UnknownOperationException` or `InvalidAction`.\n\n| Service | Operation |\n|---|---|\n",
    );
    for (service, name) in transship::api::aws::operations() {
        text += &format!("| `{service}` | `{name}` |\n");
    }
    golden("docs/generated/aws.md", &text);
}

#[test]
fn the_document_of_errors_is_the_tables() {
    let meanings = meanings("src/error.rs", "reasons!");
    let mut text = String::from(
        "# Errors\n\nGenerated from `src/error.rs`, `src/api/grpc/status.rs` and `src/api/oci/error.rs`;\n\
         `UPDATE=1 cargo test --test it operations::` rewrites it. Reasons are stable: over gRPC one is the `reason` of the\n\
         `ErrorInfo` (domain `transship.dev`). *Later* is whether the same call may succeed later, unchanged.\n\n\
         | Reason | Meaning | Later | gRPC | OCI |\n|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let (status, code) = oci::error::classify(&Error::new(*reason, "any"));
        let (wire, later, grpc) = (reason.as_str(), if reason.retryable() { "yes" } else { "no" }, grpc::code(*reason));
        let (meaning, status, code) = (&meanings[&format!("{reason:?}")], status.as_u16(), code.as_str());
        text += &format!("| `{wire}` | {meaning} | {later} | `{grpc:?}` | {status} `{code}` |\n");
    }
    text += "\nA malformed field (`INVALID_ARGUMENT`) has the OCI code of its kind where the specification has one:\n\
             `DIGEST_INVALID`, `NAME_INVALID`, `MANIFEST_INVALID`, `PAGINATION_NUMBER_INVALID`; the table has the code of any\n\
             other.\n";
    golden("docs/generated/errors.md", &text);
}

/// What the comments of a table's rows say, by the row's name.
fn meanings(path: &str, table: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let (_, rows) = text.rsplit_once(&format!("\n{table} {{\n")).unwrap();
    let (mut meanings, mut said) = (BTreeMap::new(), Vec::new());
    for line in rows.lines().map(str::trim).take_while(|line| *line != "}") {
        match line.strip_prefix("/// ") {
            Some(comment) => said.push(comment.to_owned()),
            None => {
                drop(meanings.insert(line.split(' ').next().unwrap().to_owned(), std::mem::take(&mut said).join(" ")))
            }
        }
    }
    meanings
}

/// Compares a document with what it should be; with `UPDATE` set, writes it.
pub(crate) fn golden(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differing = text.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(found == text, "{path} is not what the tables say; UPDATE=1 rewrites it. First difference: {differing:?}");
}
