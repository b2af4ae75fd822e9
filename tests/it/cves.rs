//! What went wrong in registries and trust brokers before, by the numbers under which it is known.
//!
//! `docs/security-tests.md` has a row for each advisory about who may do what: its number, the rule that was broken, and
//! the test here that breaks it again, or why there is nothing to break. The table and the tests are compared.

mod broker;
mod isolation;
mod jwt;

use crate::source::root;
use std::collections::BTreeSet;

#[test]
fn the_table_of_advisories_names_the_tests_there_are() {
    let table = std::fs::read_to_string(root().join("docs/security-tests.md")).unwrap();
    let mut listed = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| CVE-") || line.starts_with("| GHSA-")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        for name in cells[2].split('`').filter(|text| text.starts_with("cve_") || text.starts_with("ghsa_")) {
            // The name of a test carries every number of its row, unless the row is shared among tests.
            listed.insert(name.to_owned());
        }
        assert!(cells[2].contains('`') || cells[2].starts_with("does not apply: "), "{row}");
    }
    let mut written = BTreeSet::new();
    for file in std::fs::read_dir(root().join("tests/it/cves")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for (_, rest) in
            text.match_indices("fn cve_").chain(text.match_indices("fn ghsa_")).map(|(at, _)| text.split_at(at + 3))
        {
            written.insert(rest.split('(').next().unwrap().to_owned());
        }
    }
    let outside: BTreeSet<_> = written.difference(&listed).collect();
    assert!(outside.is_empty(), "tests that the table does not have: {outside:?}");
    let missing: BTreeSet<_> = listed.difference(&written).collect();
    assert!(missing.is_empty(), "the table names tests that there are not: {missing:?}");
}
