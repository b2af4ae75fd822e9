//! Where a blob to be mounted is looked for, and what a mount that cannot be means.
//!
//! The source is judged as a pull is, so that a mount gives nobody what it may not read. A mount that cannot be is an
//! ordinary upload, and the answer says nothing of why.

use crate::authz::eval::Outcome;
use crate::ctx::Ctx;
use crate::domain::App;
use crate::error::{Reason, Result};
use crate::gate::{Object, Repository, RepositoryAddress};
use crate::names::{Digest, RepositoryRef};
use crate::ops::Op;

/// Repositories that are tried for a mount without a source: enough to find one that may be read, few enough to judge.
const HOLDERS_MAX: u32 = 16;

impl App {
    /// Whether a blob could be mounted from one repository, or from any of the registry.
    pub(super) async fn mounted(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        digest: Digest,
        from: Option<&RepositoryRef>,
    ) -> Result<bool> {
        let done = match from {
            Some(from) => self.mount(ctx, repository, digest, from).await,
            None => self.mount_from_any(ctx, repository, digest).await,
        };
        match done {
            // The client gets a token that covers the source, and comes back.
            Err(error) if error.reason == Reason::ScopeInsufficient => Err(error),
            other => Ok(other.unwrap_or(false)),
        }
    }

    async fn mount_from_any(&self, ctx: &Ctx, repository: &Repository, digest: Digest) -> Result<bool> {
        self.gate.check_reach(ctx, Op::GetDownloadUrlForLayer, repository.account)?;
        let mut snapshot = self.store.snapshot().await?;
        let holders = snapshot.tx().link_holders(repository.account, &repository.kms_key, &digest, HOLDERS_MAX).await?;
        drop(snapshot);
        for name in holders {
            let holder = RepositoryRef { name, ..repository.address.clone() };
            if self.readable(ctx, &holder, digest).await? && self.mount(ctx, repository, digest, &holder).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the caller may pull a blob. Asked without an audit row: the caller did not name this repository.
    async fn readable(&self, ctx: &Ctx, holder: &RepositoryRef, digest: Digest) -> Result<bool> {
        let source = RepositoryAddress::of(holder, Object::Blob(digest));
        for op in [Op::BatchCheckLayerAvailability, Op::GetDownloadUrlForLayer] {
            if self.gate.explain::<Repository>(ctx, op, &source).await?.outcome != Outcome::Allow {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
