//! What the audit has of a call: one row for each change, whatever was looked at on the way.

use crate::harness::Region;
use bytes::Bytes;
use http::{Method, StatusCode};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use transship::names::Digest;

/// A row of the audit.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub op: String,
    pub caller: String,
    pub account: Option<String>,
    pub outcome: String,
    pub detail: String,
}

/// All rows of a region, in no order.
pub fn all(region: &Region) -> Vec<Row> {
    let path = region.folder.path().join("data/metadata.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut select = database.prepare("SELECT op, caller, account, outcome, detail FROM audit").unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let (op, caller, account) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Row { op, caller, account, outcome: row.get(3)?, detail: row.get(4)? })
    };
    select.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// Rows of an operation by a caller.
pub fn rows(region: &Region, op: &str, caller: &str) -> Vec<Row> {
    all(region).into_iter().filter(|row| row.op == op && row.caller == caller).collect()
}

/// How many calls of each operation were allowed, once all rows that wait are written.
async fn allowed(region: &Region) -> BTreeMap<String, usize> {
    region.app().flush_audit().await;
    let mut counts = BTreeMap::new();
    for row in all(region).into_iter().filter(|row| row.outcome == "allowed") {
        *counts.entry(row.op).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_of_a_push_has_one_row() {
    let region = Region::start().await;
    let (http, dev) = (region.http("dev").await, region.account("dev"));
    let before = allowed(&region).await;
    let uploads = format!("/v2/{dev}/app/blobs/uploads/");
    let opened = http.call(Method::POST, &uploads, &[], Bytes::new()).await;
    let written = http.call(Method::PATCH, opened.header("location"), &[], "bytes").await;
    assert_eq!(written.status, StatusCode::ACCEPTED, "{}", written.text());
    assert_eq!(http.get(written.header("location")).await.status, StatusCode::NO_CONTENT);
    let finish = format!("{}?digest={}", written.header("location"), Digest::of(b"bytes"));
    let done = http.call(Method::PUT, &finish, &[], Bytes::new()).await;
    assert_eq!(done.status, StatusCode::CREATED, "{}", done.text());
    let mut after = allowed(&region).await;
    for (op, count) in before {
        after.entry(op).and_modify(|all| *all -= count);
    }
    after.retain(|_, count| *count > 0);
    let expected = ["CreateRepository", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"];
    assert_eq!(after, expected.map(|op| (op.to_owned(), 1)).into());
}
