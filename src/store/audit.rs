//! Audit rows, and the answers to calls that carried a request id.

use super::value::args;
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Uid};

/// One audited call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id.
    pub id: Uid,
    /// When it was judged.
    pub at: Timestamp,
    /// The request.
    pub request: Uid,
    /// The operation's name.
    pub op: &'static str,
    /// The caller's ARN.
    pub caller: String,
    /// The account whose resource it was about.
    pub account: Option<AccountId>,
    /// The resource's ARN, or `*`.
    pub resource: String,
    /// `allowed`, `denied` or `failed`.
    pub outcome: &'static str,
    /// The denial's or failure's text; empty when allowed.
    pub detail: String,
    /// Where the call came from.
    pub source_ip: Option<String>,
}

/// The stored answer to a call with a request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SHA-256 over operation, resource and change: another call under the same id is refused.
    pub fingerprint: Vec<u8>,
    /// The answer, encoded.
    pub result: Vec<u8>,
}

impl Tx<'_> {
    pub(crate) async fn audit_insert(&mut self, row: &AuditRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO audit (id, at, request, op, caller, account, resource, outcome, detail, source_ip) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            args![
                row.id,
                row.at,
                row.request,
                row.op,
                row.caller.as_str(),
                row.account,
                row.resource.as_str(),
                row.outcome,
                row.detail.as_str(),
                row.source_ip.as_deref()
            ],
        )
        .await?;
        Ok(())
    }

    /// The answer given to a caller's request id before.
    pub async fn answer(&mut self, caller: &str, request_id: &str) -> Result<Option<Answer>, Error> {
        let row = self
            .opt(
                "SELECT fingerprint, result FROM requests WHERE caller = $1 AND request_id = $2",
                args![caller, request_id],
            )
            .await?;
        row.map(|row| Ok(Answer { fingerprint: row.get(0)?, result: row.get(1)? })).transpose()
    }

    pub(crate) async fn answer_insert(
        &mut self,
        caller: &str,
        request_id: &str,
        op: &str,
        answer: &Answer,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "INSERT INTO requests (caller, request_id, op, fingerprint, result, at) VALUES ($1, $2, $3, $4, $5, $6)",
            args![caller, request_id, op, answer.fingerprint.as_slice(), answer.result.as_slice(), at],
        )
        .await?;
        Ok(())
    }

    /// Forgets answers older than a moment.
    pub(crate) async fn answer_sweep(&mut self, before: Timestamp) -> Result<u64, Error> {
        self.execute("DELETE FROM requests WHERE at < $1", args![before]).await
    }
}
