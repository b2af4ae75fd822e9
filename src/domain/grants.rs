//! Grants: who may use which repositories and tags of a registry, until when, and why.

use super::App;
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Registry};
use crate::names::{AccountId, Arn, PageSize, PrincipalName, TagPattern, Uid};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::grants::{GrantAction, GrantRow};

/// A grant to be given.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// An account id, or the ARN of an account, user or role.
    pub grantee: String,
    /// A repository's name, or a pattern with `*` and `?`.
    pub repository_pattern: String,
    /// A tag, or a pattern.
    pub tag_pattern: TagPattern,
    /// At least one.
    pub actions: Vec<GrantAction>,
    /// In force from here; at once unless set.
    pub not_before: Option<Timestamp>,
    /// In force until here; for ever unless set.
    pub not_after: Option<Timestamp>,
    /// Why; at most 256 characters.
    pub reason: String,
}

/// Where a grant stands at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Its time has not come.
    Scheduled,
    /// In force.
    Active,
    /// Its time is over.
    Expired,
    /// Ended by its giver.
    Revoked,
}

impl GrantRow {
    /// Where it stands.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        match self {
            Self { revoked_at: Some(_), .. } => State::Revoked,
            Self { not_after: Some(end), .. } if *end <= now => State::Expired,
            Self { not_before, .. } if *not_before > now => State::Scheduled,
            Self { .. } => State::Active,
        }
    }
}

struct CreateGrant {
    grant: GrantRow,
    principal: Option<PrincipalName>,
    new_registry: crate::store::registries::Registry,
}

impl Change for CreateGrant {
    type Resource = Registry;
    type Out = GrantRow;

    async fn apply(&self, _: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<GrantRow> {
        let mut grant = self.grant.clone();
        if let Some(name) = &self.principal {
            let row = tx.principal(name).await?.ok_or_else(|| {
                let text = format!("grantee {} does not exist; make it first, or grant to its account", name.arn());
                Error::new(Reason::NotFound, text).with("grantee", name.arn())
            })?;
            grant.grantee_id = Some(row.unique_id.to_string());
        }
        tx.registry_insert(&self.new_registry, grant.created_at).await?;
        tx.grant_insert(&grant).await?;
        Ok(grant)
    }

    fn fingerprint(&self) -> Vec<u8> {
        let GrantRow { grantee, repository_pattern, tag_pattern, actions, not_after, .. } = &self.grant;
        format!("{grantee:?}{repository_pattern:?}{tag_pattern:?}{actions:?}{not_after:?}").into_bytes()
    }
}

struct RevokeGrant {
    id: Uid,
    now: Timestamp,
}

impl Change for RevokeGrant {
    type Resource = Registry;
    type Out = GrantRow;

    async fn apply(&self, registry: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<GrantRow> {
        tx.grant_revoke(registry.account, self.id, self.now).await?;
        tx.grant(registry.account, self.id).await?.ok_or_else(|| missing(self.id))
    }

    async fn etag(&self, registry: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<Option<String>> {
        let grant = tx.grant(registry.account, self.id).await?.ok_or_else(|| missing(self.id))?;
        Ok(Some(grant.version.to_string()))
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.id.bytes().to_vec()
    }
}

impl App {
    /// Gives access.
    ///
    /// # Errors
    /// When the caller may not, a field is malformed, or the grantee does not exist.
    pub async fn create_grant(&self, ctx: &Ctx, account: AccountId, new: NewGrant) -> Result<GrantRow> {
        self.gate.check::<Registry>(ctx, Op::CreateGrant, &[account]).await?;
        let principal = grantee(&new.grantee)?;
        check(&new, ctx.now)?;
        let mut actions = new.actions;
        actions.sort_unstable();
        actions.dedup();
        let grant = GrantRow {
            id: self.clock.uid(),
            account,
            grantee: new.grantee,
            grantee_id: None,
            repository_pattern: new.repository_pattern,
            tag_pattern: new.tag_pattern,
            actions,
            not_before: new.not_before.unwrap_or(ctx.now),
            not_after: new.not_after,
            reason: new.reason,
            creator: ctx.caller.display(),
            created_at: ctx.now,
            revoked_at: None,
            version: 1,
        };
        let change = CreateGrant { grant, principal, new_registry: self.new_registry(account) };
        self.gate.write(ctx, Op::CreateGrant, &account, change).await
    }

    /// Reads a grant.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn get_grant(&self, ctx: &Ctx, account: AccountId, id: Uid) -> Result<GrantRow> {
        let mut view = self.gate.read::<Registry>(ctx, Op::ListGrants, &account).await?;
        view.parts().1.grant(account, id).await?.ok_or_else(|| missing(id))
    }

    /// A page of a registry's grants after one.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_grants(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: Option<Uid>,
        size: PageSize,
    ) -> Result<Vec<GrantRow>> {
        let mut view = self.gate.read::<Registry>(ctx, Op::ListGrants, &account).await?;
        Ok(view.parts().1.grant_list(account, after, size).await?)
    }

    /// Ends a grant at once, transfers in flight included.
    ///
    /// # Errors
    /// When the caller may not, there is none, or its etag is another.
    pub async fn revoke_grant(&self, ctx: &Ctx, account: AccountId, id: Uid) -> Result<GrantRow> {
        self.gate.write(ctx, Op::RevokeGrant, &account, RevokeGrant { id, now: ctx.now }).await
    }
}

/// The user or role that a grantee is, if it is one; an account needs no row.
fn grantee(text: &str) -> Result<Option<PrincipalName>> {
    const RULE: &str = "an account id, or the ARN of an account, user or role";
    if AccountId::parse(text).is_ok() {
        return Ok(None);
    }
    let arn = Arn::parse(text).map_err(|_| Error::invalid("grantee", RULE))?;
    if arn.service() == "iam" && arn.resource() == "root" && arn.account().is_some() {
        return Ok(None);
    }
    PrincipalName::from_arn(&arn).map(Some).map_err(|_| Error::invalid("grantee", RULE))
}

fn check(new: &NewGrant, now: Timestamp) -> Result<()> {
    let pattern = &new.repository_pattern;
    let fits = pattern.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*?".contains(&b));
    if !fits || pattern.is_empty() || pattern.len() > 256 {
        return Err(Error::invalid("repository_pattern", "1-256 characters of a repository's name, with * and ?"));
    }
    if new.actions.is_empty() {
        return Err(Error::invalid("actions", "at least one of PULL and PUSH"));
    }
    if new.reason.chars().count() > 256 {
        return Err(Error::invalid("reason", "at most 256 characters"));
    }
    if new.not_after.is_some_and(|end| end <= new.not_before.unwrap_or(now).max(now)) {
        return Err(Error::invalid("expire_time", "must lie in the future and after start_time"));
    }
    Ok(())
}

fn missing(id: Uid) -> Error {
    Error::new(Reason::NotFound, format!("there is no grant {id} in this registry")).with("grant", id)
}
