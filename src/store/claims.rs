//! Claims: who brought a blob or manifest into a repository, and so may name it though no tag shows it yet.

use super::value::args;
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{Digest, Uid};

/// Somebody brought these bytes into a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    /// The repository.
    pub repository: Uid,
    /// What was brought.
    pub digest: Digest,
    /// Who brought it: a caller's unique id.
    pub principal: String,
    /// Until then the claim stands; as long as the lease of a link.
    pub expires_at: Timestamp,
}

impl Tx<'_> {
    /// Whether somebody brought these bytes into a repository and the claim still stands.
    pub async fn claim_stands(
        &mut self,
        repository: Uid,
        digest: &Digest,
        principal: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let row = self
            .opt(
                "SELECT 1 FROM claims WHERE repository = $1 AND digest = $2 AND principal = $3 AND expires_at > $4",
                args![repository, digest, principal, now],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Writes a claim down; one that is there already gains the later end.
    pub(crate) async fn claim_put(&mut self, claim: &ClaimRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO claims (repository, digest, principal, expires_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (repository, digest, principal) DO UPDATE SET expires_at = $4 \
             WHERE claims.expires_at < $4",
            args![claim.repository, claim.digest, claim.principal.as_str(), claim.expires_at],
        )
        .await?;
        Ok(())
    }

    /// Forgets claims that stand no more.
    pub(crate) async fn claim_sweep(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.execute("DELETE FROM claims WHERE expires_at <= $1", args![now]).await
    }
}
