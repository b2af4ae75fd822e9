//! Control policies: the organization's bounds on its accounts, by its management account. Written in the home region.

use super::App;
use super::directory::{Home, at_home};
use super::policies::Written;
use crate::authz::permit::Allowed;
use crate::authz::policy::Kind;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Organization};
use crate::names::PageSize;
use crate::ops::Op;
use crate::store::Tx;
use crate::store::control_policies::{ControlPolicyKey, ControlPolicyRow, ControlTarget, Controlled};

/// Policies of one kind at one target.
// SPEC: AWS Organizations quotas, "Number of policies you can attach".
const ATTACHED_MAX: u64 = 5;

struct PutControlPolicy {
    home: Home,
    row: ControlPolicyRow,
    now: Timestamp,
}

impl Change for PutControlPolicy {
    type Resource = Organization;
    /// When it was first attached.
    type Out = Timestamp;

    async fn apply(&self, _: &Allowed<Organization>, tx: &mut Tx<'_>) -> Result<Timestamp> {
        at_home(tx, &self.home).await?;
        let key = &self.row.key;
        if let ControlTarget::Account(account) = key.target
            && tx.account(account).await?.is_none()
        {
            let text = format!("there is no account {account} in this organization");
            return Err(Error::new(Reason::NotFound, text).with("account", account));
        }
        let known = tx.control_policy(key).await?;
        if known.is_none() && tx.control_policy_count(key).await? >= ATTACHED_MAX {
            let (kind, target) = (key.controlled.as_str(), key.target.as_str());
            let text = format!("{target} has {ATTACHED_MAX} {kind} control policies, the most");
            return Err(Error::invalid("policy_id", text));
        }
        tx.control_policy_put(&self.row).await?;
        tx.directory_note("control-policy", &key.subject(), self.now).await?;
        Ok(known.map_or(self.row.created_at, |known| known.created_at))
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}{}", self.row.key, self.row.document).into_bytes()
    }
}

struct DeleteControlPolicy {
    home: Home,
    key: ControlPolicyKey,
    now: Timestamp,
}

impl Change for DeleteControlPolicy {
    type Resource = Organization;
    type Out = ();

    async fn apply(&self, _: &Allowed<Organization>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        if !tx.control_policy_delete(&self.key).await? {
            let (name, target) = (&self.key.name, self.key.target.as_str());
            let text = format!("{target} has no {} control policy {name}", self.key.controlled.as_str());
            return Err(Error::new(Reason::NotFound, text).with("policy", name));
        }
        Ok(tx.directory_note("control-policy", &self.key.subject(), self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.key.subject().into_bytes()
    }
}

impl App {
    /// Bounds an account or all of them, or changes a bound; says what looks wrong but is legal.
    ///
    /// # Errors
    /// When the caller may not, there is no such account, the text is no such policy, or this is not the home region.
    pub async fn put_control_policy(
        &self,
        ctx: &Ctx,
        key: ControlPolicyKey,
        document: &str,
    ) -> Result<(ControlPolicyRow, Vec<String>)> {
        let owner = self.organization_owner().await?;
        self.gate.check::<Organization>(ctx, Op::PutControlPolicy, &[owner]).await?;
        let kind = match key.controlled {
            Controlled::Principals => Kind::ServiceControl,
            Controlled::Resources => Kind::ResourceControl,
        };
        let written = Written::parse(kind, document)?;
        let mut warnings = written.warnings();
        if key.target == ControlTarget::Account(owner) {
            warnings.push(format!("account {owner} manages the organization, which nothing bounds"));
        }
        let row = ControlPolicyRow { key, document: document.to_owned(), created_at: ctx.now };
        let change = PutControlPolicy { home: self.home(), row: row.clone(), now: ctx.now };
        let created_at = self.gate.write(ctx, Op::PutControlPolicy, &owner, change).await?;
        Ok((ControlPolicyRow { created_at, ..row }, warnings))
    }

    /// A page of the organization's control policies after a key `target/kind/name`.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_control_policies(&self, ctx: &Ctx, after: &str, size: PageSize) -> Result<Vec<ControlPolicyRow>> {
        let owner = self.organization_owner().await?;
        let mut view = self.gate.read::<Organization>(ctx, Op::ListControlPolicies, &owner).await?;
        Ok(view.parts().1.control_policy_list(after, size).await?)
    }

    /// Ends a bound.
    ///
    /// # Errors
    /// When the caller may not, there is none, or this is not the home region.
    pub async fn delete_control_policy(&self, ctx: &Ctx, key: ControlPolicyKey) -> Result<()> {
        let owner = self.organization_owner().await?;
        let change = DeleteControlPolicy { home: self.home(), key, now: ctx.now };
        self.gate.write(ctx, Op::DeleteControlPolicy, &owner, change).await
    }
}
