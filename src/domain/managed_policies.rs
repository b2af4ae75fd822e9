//! Managed policies: policies of an account by name, which are attached to its users and roles, bound them, or narrow
//! sessions. Written in the home region.

use super::App;
use super::directory::{Home, at_home, entry, existing};
use super::policies::Written;
use super::sessions::SESSION_POLICY_MAX;
use crate::authz::permit::Allowed;
use crate::authz::policy::{Kind, compact};
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Directory, DirectoryEntry, EntryAddress};
use crate::names::{AccountId, PageSize, PolicyName, PolicyRef, PrincipalKind, PrincipalName};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::managed_policies::{Attachment, ManagedPolicyRow, Purpose, managed_policy_subject};
use std::sync::Arc;

/// Managed policies of one account.
// SPEC: IAM and STS quotas, "Customer managed policies in an AWS account", default.
const POLICIES_MAX: u64 = 1_500;
/// Managed policies attached to one user or role; its boundary is not among them.
// SPEC: IAM and STS quotas, "Managed policies attached to an IAM role", default.
const ATTACHED_MAX: usize = 10;
/// Managed policies that one session is given.
// SPEC: STS API, `AssumeRole`, `PolicyArns`.
const SESSION_ARNS_MAX: usize = 10;

struct WritePolicy {
    home: Home,
    row: ManagedPolicyRow,
    replaces: bool,
}

impl Change for WritePolicy {
    type Resource = DirectoryEntry;
    /// When it was made.
    type Out = Timestamp;

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<Timestamp> {
        at_home(tx, &self.home).await?;
        let policy = &self.row.policy;
        let created_at = match (tx.managed_policy(policy).await?, self.replaces) {
            (Some(known), true) => known.created_at,
            (None, false) => self.row.created_at,
            (None, true) => return Err(missing(policy)),
            (Some(_), false) => {
                let text = format!("policy {} already exists in account {}", policy.name, policy.account);
                return Err(Error::new(Reason::AlreadyExists, text).with("policy", policy.arn()));
            }
        };
        if !self.replaces && tx.managed_policy_count(policy.account).await? >= POLICIES_MAX {
            let text = format!("account {} has {POLICIES_MAX} managed policies, the most", policy.account);
            return Err(Error::invalid("policy_id", text));
        }
        tx.managed_policy_put(&self.row).await?;
        tx.directory_note("managed-policy", &managed_policy_subject(policy), self.row.updated_at).await?;
        Ok(created_at)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}{}", self.row.policy, self.row.document).into_bytes()
    }
}

struct DeletePolicy {
    home: Home,
    policy: PolicyRef,
    now: Timestamp,
}

impl Change for DeletePolicy {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let uses = tx.managed_policy_uses(&self.policy).await?;
        if uses > 0 {
            let text = format!(
                "policy {} is attached to {uses} users and roles, or bounds them; detach it first",
                self.policy.arn()
            );
            return Err(Error::new(Reason::InUse, text).with("policy", self.policy.arn()).with("uses", uses));
        }
        if !tx.managed_policy_delete(&self.policy).await? {
            return Err(missing(&self.policy));
        }
        Ok(tx.directory_note("managed-policy", &managed_policy_subject(&self.policy), self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.policy).into_bytes()
    }
}

/// What becomes of an attachment.
#[derive(Clone, Debug)]
enum Attach {
    /// It is made.
    Put(Attachment),
    /// It ends.
    Delete(PolicyName),
    /// There is no boundary any more.
    DeleteBoundary,
}

struct ChangeAttachment {
    home: Home,
    name: PrincipalName,
    attach: Attach,
    now: Timestamp,
}

impl Change for ChangeAttachment {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let id = existing(tx, &self.name).await?.unique_id;
        match &self.attach {
            Attach::Put(attachment) => self.put(tx, &id, attachment).await?,
            Attach::Delete(policy) => {
                if !tx.attachment_delete(&id, Purpose::Permissions, Some(policy)).await? {
                    return Err(self.none(&format!("has no policy {policy} attached")));
                }
            }
            Attach::DeleteBoundary => {
                if !tx.attachment_delete(&id, Purpose::Boundary, None).await? {
                    return Err(self.none("has no permissions boundary"));
                }
            }
        }
        Ok(tx.directory_note("principal", &id, self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}{:?}", self.name, self.attach).into_bytes()
    }
}

impl ChangeAttachment {
    async fn put(&self, tx: &mut Tx<'_>, id: &str, attachment: &Attachment) -> Result<()> {
        let policy = PolicyRef { account: self.name.account, name: attachment.policy.clone() };
        if tx.managed_policy(&policy).await?.is_none() {
            return Err(missing(&policy));
        }
        let present = tx.attachment_list(id).await?;
        let others = present.iter().filter(|it| it.purpose == Purpose::Permissions && *it != attachment).count();
        if attachment.purpose == Purpose::Permissions && others >= ATTACHED_MAX {
            let text = format!("{} has {ATTACHED_MAX} managed policies, the most", self.name.arn());
            return Err(Error::invalid("policy", text));
        }
        Ok(tx.attachment_put(id, attachment).await?)
    }

    fn none(&self, what: &str) -> Error {
        let text = format!("{} {what}", self.name.arn());
        Error::new(Reason::NotFound, text).with("principal", self.name.arn())
    }
}

impl App {
    /// Makes a managed policy; says what looks wrong but is legal.
    ///
    /// # Errors
    /// When the caller may not, the name is taken, the text is no such policy, or this is not the home region.
    pub async fn create_policy(
        &self,
        ctx: &Ctx,
        policy: PolicyRef,
        document: &str,
    ) -> Result<(ManagedPolicyRow, Vec<String>)> {
        self.write_policy(ctx, Op::CreatePolicy, policy, document).await
    }

    /// Replaces a managed policy's document, for all that it is attached to; sessions it was passed to keep what they have.
    ///
    /// # Errors
    /// When the caller may not, there is none, the text is no such policy, or this is not the home region.
    pub async fn update_policy(
        &self,
        ctx: &Ctx,
        policy: PolicyRef,
        document: &str,
    ) -> Result<(ManagedPolicyRow, Vec<String>)> {
        self.write_policy(ctx, Op::UpdatePolicy, policy, document).await
    }

    async fn write_policy(
        &self,
        ctx: &Ctx,
        op: Op,
        policy: PolicyRef,
        document: &str,
    ) -> Result<(ManagedPolicyRow, Vec<String>)> {
        let address = named(&policy);
        self.gate.check::<DirectoryEntry>(ctx, op, std::slice::from_ref(&address)).await?;
        // It may become a boundary, whose limit is the lower one.
        let written = Written::parse(Kind::Boundary, document)?;
        let row = ManagedPolicyRow { policy, document: document.to_owned(), created_at: ctx.now, updated_at: ctx.now };
        let change = WritePolicy { home: self.home(), row: row.clone(), replaces: op == Op::UpdatePolicy };
        let created_at = self.gate.write(ctx, op, &address, change).await?;
        Ok((ManagedPolicyRow { created_at, ..row }, written.warnings()))
    }

    /// A page of an account's managed policies after a name.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_policies(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<ManagedPolicyRow>> {
        let mut view = self.gate.read::<Directory>(ctx, Op::ListPolicies, &account).await?;
        Ok(view.parts().1.managed_policy_list(account, after, size).await?)
    }

    /// Removes a managed policy.
    ///
    /// # Errors
    /// When the caller may not, there is none, it is in use, or this is not the home region.
    pub async fn delete_policy(&self, ctx: &Ctx, policy: PolicyRef) -> Result<()> {
        let address = named(&policy);
        let change = DeletePolicy { home: self.home(), policy, now: ctx.now };
        self.gate.write(ctx, Op::DeletePolicy, &address, change).await
    }

    /// Gives a user or role what a managed policy of its account gives.
    ///
    /// # Errors
    /// When the caller may not, there is no such policy or principal, or this is not the home region.
    pub async fn attach_policy(&self, ctx: &Ctx, name: PrincipalName, policy: &PolicyRef) -> Result<()> {
        let attachment = Attachment { purpose: Purpose::Permissions, policy: own(&name, policy)? };
        let op = of(&name, Op::AttachUserPolicy, Op::AttachRolePolicy);
        self.change_attachment(ctx, op, name, Attach::Put(attachment)).await
    }

    /// Takes from a user or role what a managed policy gives.
    ///
    /// # Errors
    /// When the caller may not, it is not attached, or this is not the home region.
    pub async fn detach_policy(&self, ctx: &Ctx, name: PrincipalName, policy: &PolicyRef) -> Result<()> {
        let attach = Attach::Delete(own(&name, policy)?);
        let op = of(&name, Op::DetachUserPolicy, Op::DetachRolePolicy);
        self.change_attachment(ctx, op, name, attach).await
    }

    /// Bounds a user or role by a managed policy of its account, in the place of the bound it had.
    ///
    /// # Errors
    /// As [`App::attach_policy`].
    pub async fn put_boundary(&self, ctx: &Ctx, name: PrincipalName, policy: &PolicyRef) -> Result<()> {
        let attachment = Attachment { purpose: Purpose::Boundary, policy: own(&name, policy)? };
        let op = of(&name, Op::PutUserBoundary, Op::PutRoleBoundary);
        self.change_attachment(ctx, op, name, Attach::Put(attachment)).await
    }

    /// Bounds a user or role no longer.
    ///
    /// # Errors
    /// When the caller may not, it has no boundary, or this is not the home region.
    pub async fn delete_boundary(&self, ctx: &Ctx, name: PrincipalName) -> Result<()> {
        let op = of(&name, Op::DeleteUserBoundary, Op::DeleteRoleBoundary);
        self.change_attachment(ctx, op, name, Attach::DeleteBoundary).await
    }

    async fn change_attachment(&self, ctx: &Ctx, op: Op, name: PrincipalName, attach: Attach) -> Result<()> {
        let address = entry(&name);
        let change = ChangeAttachment { home: self.home(), name, attach, now: ctx.now };
        self.gate.write(ctx, op, &address, change).await
    }

    /// Session policies with the documents of managed ones, as they are read now: a session keeps what it was given. For who
    /// may take a session of that account.
    pub(super) async fn with_managed(
        &self,
        account: AccountId,
        policies: Option<Vec<Arc<str>>>,
        managed: &[PolicyRef],
    ) -> Result<Option<Vec<Arc<str>>>> {
        check_managed(account, managed)?;
        if managed.is_empty() {
            return Ok(policies);
        }
        let mut all = policies.unwrap_or_default();
        let mut snapshot = self.store.snapshot().await?;
        for policy in managed {
            let row = snapshot.tx().managed_policy(policy).await?.ok_or_else(|| missing(policy))?;
            let text = compact(&row.document);
            if text.chars().count() > SESSION_POLICY_MAX {
                let text = format!(
                    "policy {} has more than {SESSION_POLICY_MAX} characters without white space, the most of a session's",
                    policy.arn()
                );
                return Err(Error::new(Reason::PackedPolicyTooLarge, text).with("policy", policy.arn()));
            }
            Written::parse(Kind::Session, &text)?;
            all.push(text.into());
        }
        Ok(Some(all))
    }
}

/// Refuses managed policies that no session of the account may be given, before anything is looked up.
pub(super) fn check_managed(account: AccountId, managed: &[PolicyRef]) -> Result<()> {
    if managed.len() > SESSION_ARNS_MAX {
        return Err(Error::invalid("policy_arns", format!("at most {SESSION_ARNS_MAX}")));
    }
    match managed.iter().find(|policy| policy.account != account) {
        Some(foreign) => Err(Error::invalid("policy_arns", format!("{} is not of account {account}", foreign.arn()))),
        None => Ok(()),
    }
}

/// A managed policy, as policies are asked about it.
fn named(policy: &PolicyRef) -> EntryAddress {
    EntryAddress { account: policy.account, arn: policy.arn() }
}

/// The operation for this kind of principal.
fn of(name: &PrincipalName, user: Op, role: Op) -> Op {
    match name.kind {
        PrincipalKind::User => user,
        PrincipalKind::Role => role,
    }
}

/// The name of a policy that must be of the principal's account.
fn own(name: &PrincipalName, policy: &PolicyRef) -> Result<PolicyName> {
    if policy.account == name.account {
        return Ok(policy.name.clone());
    }
    Err(Error::invalid("policy", format!("must be of account {}, as its user or role is", name.account)))
}

fn missing(policy: &PolicyRef) -> Error {
    let text = format!("account {} has no policy {}", policy.account, policy.name);
    Error::new(Reason::NotFound, text).with("policy", policy.arn())
}
