//! Gathers what a decision needs from one transaction, and decides.
//!
//! Identity policies come from the directory, constraints from the caller's token, resource policies from the
//! repository, its registry and its grants, or from the role. Nothing is cached but parsed documents.

use super::context::{CONTEXT_KEYS, context};
use super::denied::Denied;
use super::documents::Documents;
use super::limits::Limits;
use super::resource::{Object, Target, unidentified};
use super::{bounds, grants};
use crate::authz::context::Context;
use crate::authz::eval::{self, Attached, Decision, Outcome, Policies, Request};
use crate::authz::explain;
use crate::authz::permit::Allowed;
use crate::authz::policy::{Document, Kind};
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, Mfa, Principal, replication_role};
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, Arn, PrincipalKind, Uid};
use crate::ops::{Class, Kind as On, Op};
use crate::store::registries::StoredPolicy;
use crate::store::sessions::Standing;
use crate::store::{Tx, repositories::RepositoryRow};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy under its name.
pub(super) type Named = (String, Arc<Document>);

/// A decision, in words and as a permit.
pub struct Ruling {
    /// What was decided.
    pub outcome: Outcome,
    /// What its caller may know was decided: to another account's as if there were no policy on the resource.
    pub(super) told: Outcome,
    /// AWS's sentence about the caller's own request; anybody may read it. Empty, as `detail`, for what is allowed, unless
    /// an explanation was asked for.
    pub sentence: String,
    /// Policy and statement, or what was missing; for the account of that policy only.
    pub detail: String,
    /// The kind of policy that decided or was missing; `None` when no policy was asked.
    pub kind: Option<Kind>,
    /// The permit, if it is allowed.
    pub(super) permit: Option<Allowed<()>>,
}

/// Who calls, with all its names.
enum Who {
    Anonymous,
    User { account: AccountId, arn: String, unique_id: String },
    Role { account: AccountId, session_arn: String, role_arn: String, unique_id: String },
    Service { account: AccountId, arn: String },
    WebIdentity { provider: String },
    Federated { account: AccountId, arn: String, user: String, unique_id: String },
}

impl Who {
    fn caller(&self) -> eval::Caller<'_> {
        match self {
            Self::Anonymous => eval::Caller::Anonymous,
            Self::User { account, arn, unique_id } => eval::Caller::User { account: *account, arn, unique_id },
            Self::Role { account, session_arn, role_arn, unique_id } => {
                eval::Caller::RoleSession { account: *account, session_arn, role_arn, unique_id }
            }
            Self::WebIdentity { provider } => eval::Caller::WebIdentity(provider),
            Self::Federated { account, arn, user, unique_id } => {
                eval::Caller::FederatedUser { account: *account, arn, user: Some((user, unique_id)) }
            }
            Self::Service { account, arn } => {
                eval::Caller::ServiceLinkedRole { account: *account, arn, session_arn: None }
            }
        }
    }
}

/// Everything that speaks about one caller and one target, as of one transaction.
pub(super) struct Judge {
    caller: Who,
    identity: Vec<Named>,
    session: Option<Vec<Named>>,
    resource: Vec<Named>,
    limits: Limits,
    context: Context,
    repository: Option<RepositoryRow>,
    wants_tags: bool,
    /// For a user with temporary credentials that it took of itself, whether a second factor was shown.
    session_token: Option<bool>,
}

impl Judge {
    /// `known` is the calling principal as it stands in this transaction, if that was read before.
    pub(super) async fn load(
        documents: &Documents,
        tx: &mut Tx<'_>,
        ctx: &Ctx,
        target: &Target,
        known: Option<Standing>,
    ) -> Result<Self> {
        let mut judge = Self {
            caller: Who::Anonymous,
            identity: Vec::new(),
            session: None,
            resource: Vec::new(),
            limits: Limits::default(),
            context: Context::new(),
            repository: None,
            wants_tags: false,
            session_token: None,
        };
        // Whose account's principals the organization bounds, where it bounds at all; not those of its own services.
        let mut bound = None;
        match &ctx.caller {
            Caller::Anonymous => bound = Some(None),
            Caller::Principal(principal) => {
                let controlled = judge.load_principal(documents, tx, ctx, principal, known).await?;
                bound = controlled.then_some(Some(principal.name.account));
            }
            Caller::WebIdentity(identity) => {
                judge.caller = Who::WebIdentity { provider: identity.provider().to_string() };
                bound = Some(Some(identity.account));
            }
            Caller::Replication { account, .. } => judge.load_service(
                documents,
                &replication_role(*account),
                *account,
                r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecr:ReplicateImage","ecr:CreateRepository","transship:FetchBlob"],"Resource":"*"}}"#,
            )?,
            Caller::System(job) => {
                if let Some(account) = target.account {
                    let role = Arn::new("iam", "", Some(account), &format!("role/aws-service-role/transship/{job}"));
                    judge.load_service(documents, &role, account, job_policy(job))?;
                }
            }
        }
        if let Some(account) = bound {
            judge.limits.load_control(documents, tx, account, target.account).await?;
        }
        judge.load_resource(documents, tx, ctx, target).await?;
        judge.load_replica(documents, tx, ctx, target).await?;
        if judge.documents().any(|document| document.reads_context()) {
            let mut context = context(ctx, target);
            context.extend(&judge.context);
            judge.context = context;
        }
        let wants_tags = judge.documents().any(|document| document.mentions("ecr:ImageTag"));
        judge.wants_tags = wants_tags;
        Ok(judge)
    }

    /// Loads what the caller has; whether the organization has control policies.
    async fn load_principal(
        &mut self,
        documents: &Documents,
        tx: &mut Tx<'_>,
        ctx: &Ctx,
        principal: &Principal,
        known: Option<Standing>,
    ) -> Result<bool> {
        let standing = alive(tx, principal, ctx.now, known).await?;
        for policy in standing.policies {
            self.identity.push((policy.name, documents.parse(Kind::Identity, &policy.document)?));
        }
        if standing.attached {
            let attached = tx.attached(principal.name.account, &standing.unique_id).await?;
            self.identity.extend(self.limits.take_boundary(documents, attached)?);
        }
        let session = principal.session.as_ref();
        if principal.has_session_token() {
            self.session_token = Some(session.is_some_and(|session| matches!(session.mfa, Mfa::Given(_))));
        }
        if let Some(policies) = session.and_then(|session| session.policies.as_ref()) {
            let parsed = policies
                .iter()
                .map(|text| Ok(("session".to_owned(), documents.parse(Kind::Session, text)?)))
                .collect::<Result<_>>()?;
            self.session = Some(parsed);
        }
        for bound in session.iter().flat_map(|session| &session.bounds) {
            let everything = documents.parse(Kind::Session, bounds::EVERYTHING)?;
            // A federated user without policies of its own has nothing, and a bound gives it nothing.
            let all = (!principal.is_federated()).then(|| ("token".to_owned(), everything));
            let policies = self.session.get_or_insert_with(|| all.into_iter().collect());
            policies.push(("token".to_owned(), documents.parse(Kind::Session, &bounds::compile(bound))?));
        }
        let (arn, unique_id) = (principal.name.arn().to_string(), principal.unique_id.to_string());
        let account = principal.name.account;
        self.caller = match principal.name.kind {
            PrincipalKind::User if principal.is_federated() => {
                Who::Federated { account, arn: principal.arn().to_string(), user: arn, unique_id }
            }
            PrincipalKind::User => Who::User { account, arn, unique_id },
            PrincipalKind::Role => {
                Who::Role { account, session_arn: principal.arn().to_string(), role_arn: arn, unique_id }
            }
        };
        Ok(standing.controlled)
    }

    fn load_service(&mut self, documents: &Documents, role: &Arn, account: AccountId, policy: &str) -> Result<()> {
        self.context.set("aws:PrincipalArn", role.as_str());
        self.context.set("aws:PrincipalAccount", account.as_str());
        self.identity.push(("service-linked role".to_owned(), documents.parse(Kind::Identity, policy)?));
        self.caller = Who::Service { account, arn: role.to_string() };
        Ok(())
    }

    async fn load_resource(
        &mut self,
        documents: &Documents,
        tx: &mut Tx<'_>,
        ctx: &Ctx,
        target: &Target,
    ) -> Result<()> {
        if let Some((repository, _)) = &target.repository {
            self.repository = tx.repository(repository.account, &repository.name).await?;
            if self.is_public() {
                let policy = documents.parse(Kind::Resource, &public_policy())?;
                self.resource.push(("public repository".to_owned(), policy));
            }
            let policy = self.repository.as_ref().and_then(|row| row.policy.clone());
            self.add(documents, "repository policy", Kind::Resource, policy)?;
        }
        if let Some(account) = target.account.filter(|_| target.registry) {
            let policy = tx.registry(account).await?.and_then(|registry| registry.policy);
            self.add(documents, "registry policy", Kind::Resource, policy)?;
            if let Some((repository, _)) = &target.repository {
                for grant in tx.grants_in_force(account, ctx.now).await? {
                    let policy = grants::compile(&grant, repository);
                    if policy.is_none() || is_cut_off(tx, ctx, account, grant.id).await? {
                        continue;
                    }
                    self.add(documents, &format!("grant {}", grant.id), Kind::Resource, policy)?;
                }
            }
        }
        if let Some(account) = target.account.filter(|_| target.key) {
            let policy = StoredPolicy { text: key_policy(account), bindings: BTreeMap::new() };
            self.add(documents, "default key policy", Kind::Key, Some(policy))?;
        }
        if let Some(role) = &target.role {
            let row = tx.principal(role).await?;
            let policy =
                row.and_then(|row| Some(StoredPolicy { text: row.trust_policy?, bindings: row.trust_bindings }));
            self.add(documents, "role trust policy", Kind::Trust, policy)?;
        }
        Ok(())
    }

    /// What another region may have back of a repository: a receipt, or a blob's arrival from there, is a grant of that
    /// blob. Without either nobody gets it, not even the same account.
    async fn load_replica(&mut self, documents: &Documents, tx: &mut Tx<'_>, ctx: &Ctx, target: &Target) -> Result<()> {
        let Caller::Replication { account, region } = &ctx.caller else { return Ok(()) };
        let Some((_, Object::Blob(digest))) = &target.repository else { return Ok(()) };
        let proven = match &self.repository {
            Some(row) => tx.replica_proven(row.uid, digest, region, *account).await?,
            None => false,
        };
        let policy = grants::replica(*account, proven);
        self.add(documents, "replica", Kind::Resource, Some(policy))
    }

    fn add(&mut self, documents: &Documents, id: &str, kind: Kind, policy: Option<StoredPolicy>) -> Result<()> {
        if let Some(policy) = policy {
            self.resource.push((id.to_owned(), documents.bound(kind, &policy.text, Some(&policy.bindings))?));
        }
        Ok(())
    }

    fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        let session = self.session.iter().flatten();
        let given = self.identity.iter().chain(session).chain(&self.resource).map(|(_, document)| document);
        given.chain(self.limits.documents())
    }

    /// Decides for a part of the repository the judge was loaded for; reads its tags if a policy asks for them. What is
    /// allowed needs no words.
    pub(super) async fn decide(&self, tx: &mut Tx<'_>, op: Op, target: &Target) -> Result<Ruling> {
        self.rule(tx, op, target, false).await
    }

    /// As [`Judge::decide`]; says also why something is allowed.
    pub(super) async fn explain(&self, tx: &mut Tx<'_>, op: Op, target: &Target) -> Result<Ruling> {
        self.rule(tx, op, target, true).await
    }

    async fn rule(&self, tx: &mut Tx<'_>, op: Op, target: &Target, in_words: bool) -> Result<Ruling> {
        // Who is known may ask about itself, whatever policies say: the evaluation knows the action. Nobody may not.
        if op.spec().resource == On::Caller && matches!(self.caller, Who::Anonymous) {
            return Err(unidentified());
        }
        if let Some(mfa) = self.session_token {
            check_session_token(op.spec().action, mfa)?;
        }
        if matches!(self.caller, Who::Federated { .. }) && is_beyond_federated(op.spec().action) {
            let text = format!("Cannot call {} with the credentials of a federated user", op.spec().action);
            return Err(Error::new(Reason::AccessDenied, text));
        }
        let mut context = Cow::Borrowed(&self.context);
        if self.wants_tags
            && let Some((_, object)) = &target.repository
        {
            context.to_mut().set_many("ecr:ImageTag", self.tags(tx, object).await?);
        }
        debug_assert!(context.is_within(CONTEXT_KEYS), "a key is missing from the list: {context:?}");
        let account = target.account.ok_or_else(|| {
            Error::new(Reason::Unavailable, "this region does not know its organization yet; try again shortly")
        })?;
        let request = Request {
            caller: self.caller.caller(),
            action: op.spec().action,
            resource: &target.arn,
            resource_account: account,
            context: &context,
        };
        let (identity, resource) = (attach(&self.identity), attach(&self.resource));
        let session = self.session.as_deref().map(attach);
        let (scp, rcp) = (attach_levels(&self.limits.scp), attach_levels(&self.limits.rcp));
        let boundary = self.limits.boundary.as_ref().map(|(id, document)| Attached { id, document });
        let session = session.as_deref();
        let policies = Policies { identity: &identity, boundary, session, scp: &scp, rcp: &rcp, resource: &resource };
        let decision = self.evaluate(&request, &policies);
        if decision.is_allowed() && !in_words {
            let (outcome, kind, permit) = (decision.outcome(), decision.kind(), Allowed::grant((), &decision));
            let (sentence, detail) = (String::new(), String::new());
            return Ok(Ruling { outcome, told: outcome, sentence, detail, kind, permit });
        }
        // To another account's caller a refusal reads the same whether the resource is missing, forbidden or denied:
        // its sentence is made as if there were no policy on the resource, nor one on its account.
        let told = if decision.is_allowed() || request.caller.account() == Some(account) {
            decision
        } else {
            eval::evaluate(&request, &Policies { resource: &[], rcp: &[], ..policies })
        };
        let mut detail = explain::detail(&decision);
        // What the caller's own policies lack is its account's to know.
        if request.caller.account() == Some(account)
            && let Some(closest) = explain::closest(&request, &policies, &decision)
        {
            detail = format!("{detail}; {closest}");
        }
        Ok(Ruling {
            outcome: decision.outcome(),
            told: told.outcome(),
            sentence: explain::sentence(&request, &told),
            detail,
            kind: decision.kind(),
            permit: Allowed::grant((), &decision),
        })
    }

    /// Decides. Nobody in particular may do what is public and nothing else: a policy that names everybody means
    /// everybody with an account. What is public a known caller may do too, unless something denies it.
    fn evaluate<'p>(&self, request: &Request<'_>, policies: &Policies<'p>) -> Decision<'p> {
        let public = self.is_public() && PUBLIC_ACTIONS.contains(&request.action);
        let nobody = matches!(request.caller, eval::Caller::Anonymous);
        if nobody && !public {
            return eval::evaluate(request, &Policies { resource: &[], ..*policies });
        }
        let decision = eval::evaluate(request, policies);
        if nobody || !public || decision.outcome() != Outcome::ImplicitDeny {
            return decision;
        }
        let anybody = Request { caller: eval::Caller::Anonymous, ..*request };
        let open = Policies { resource: policies.resource, rcp: policies.rcp, ..Policies::default() };
        let open = eval::evaluate(&anybody, &open);
        if open.is_allowed() { open } else { decision }
    }

    /// The repository's row, as it was judged.
    pub(super) fn repository(&self) -> Option<&RepositoryRow> {
        self.repository.as_ref()
    }

    fn is_public(&self) -> bool {
        self.repository.as_ref().is_some_and(|row| row.public)
    }

    /// Whether some policy looks at tags, so that what one tag allows another may not.
    pub(super) fn wants_tags(&self) -> bool {
        self.wants_tags
    }

    async fn tags(&self, tx: &mut Tx<'_>, object: &Object) -> Result<Vec<String>> {
        let Some(repository) = &self.repository else {
            return Ok(match object {
                Object::Tag(tag) => vec![tag.to_string()],
                Object::Whole | Object::Image(_) | Object::Blob(_) | Object::AnyTag => Vec::new(),
            });
        };
        let tags = match object {
            Object::Whole => Vec::new(),
            Object::Tag(tag) => vec![tag.clone()],
            Object::Image(digest) => tx.tags_reaching_manifest(repository.uid, digest).await?,
            Object::Blob(digest) => tx.tags_reaching_blob(repository.uid, digest).await?,
            Object::AnyTag => {
                let rows = tx.tag_list(repository.uid, "", TAGS_CONSIDERED).await?;
                rows.into_iter().map(|row| row.tag).collect()
            }
        };
        Ok(tags.iter().map(ToString::to_string).collect())
    }
}

fn attach(named: &[Named]) -> Vec<Attached<'_>> {
    named.iter().map(|(id, document)| Attached { id, document }).collect()
}

fn attach_levels(levels: &[Vec<Named>]) -> Vec<Vec<Attached<'_>>> {
    levels.iter().map(|level| attach(level)).collect()
}

/// How many tags of a repository stand for "any tag" when a policy limits listing by tag.
const TAGS_CONSIDERED: u32 = 10_000;

/// What federated users may not do, whatever policies say.
// SPEC: STS API, `GetFederationToken`: no operation of IAM, and of STS `GetCallerIdentity` alone.
fn is_beyond_federated(action: &str) -> bool {
    action.starts_with("iam:") || action.starts_with("sts:") && action != "sts:GetCallerIdentity"
}

/// Refuses what the credentials of `GetSessionToken` are not good for, whatever policies say.
// SPEC: STS API, `GetSessionToken`: no operation of IAM without MFA, and of STS `AssumeRole` and `GetCallerIdentity` alone.
fn check_session_token(action: &str, mfa: bool) -> Result<()> {
    const STS: [&str; 5] =
        ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity", "sts:GetCallerIdentity", "sts:GetSessionToken"];
    if action.starts_with("iam:") && !mfa {
        let text = "The security token included in the request is invalid: the credentials of GetSessionToken are good for \
                    calls of IAM only when they were taken with MFA";
        return Err(Error::new(Reason::CallerUnknown, text));
    }
    if action.starts_with("sts:") && !STS.contains(&action) {
        return Err(Error::new(Reason::AccessDenied, format!("Cannot call {action} with session credentials")));
    }
    Ok(())
}

/// A principal as it stands; refuses a session that ended, a principal that is gone, and a token that was cut off.
async fn alive(tx: &mut Tx<'_>, principal: &Principal, now: Timestamp, known: Option<Standing>) -> Result<Standing> {
    let session = principal.session.as_ref();
    let standing = match known {
        Some(known) => Some(known),
        None => tx.standing(&principal.name, session.map(|session| (session.id, session.issued_at))).await?,
    };
    let standing = standing.filter(|it| it.unique_id == principal.unique_id).ok_or_else(invalid_token)?;
    if session.is_some_and(|session| session.expires_at <= now) {
        let text = "Your authorization token has expired. Reauthenticate and try again.";
        return Err(Error::new(Reason::CredentialsExpired, text));
    }
    if standing.revoked { Err(invalid_token()) } else { Ok(standing) }
}

/// Whether a grant gives the caller's session nothing any more: sessions of its age were cut off from it.
async fn is_cut_off(tx: &mut Tx<'_>, ctx: &Ctx, account: AccountId, grant: Uid) -> Result<bool> {
    let Caller::Principal(principal) = &ctx.caller else { return Ok(false) };
    let Some(session) = &principal.session else { return Ok(false) };
    Ok(tx.is_grant_cut(account, grant, session.issued_at).await?)
}

fn invalid_token() -> Error {
    Error::new(Reason::CallerUnknown, "The security token included in the request is invalid")
}

/// What anybody may do with a public repository: pull, and list what there is to pull.
const PUBLIC_ACTIONS: [&str; 4] =
    ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability", "ecr:ListImages"];

fn public_policy() -> String {
    let statement = serde_json::json!({ "Sid": "Public", "Effect": "Allow", "Principal": "*", "Action": PUBLIC_ACTIONS,
        "Resource": "*" });
    serde_json::json!({ "Version": "2012-10-17", "Statement": statement }).to_string()
}

/// The policy of every key: its account decides, by the policies of its users and roles.
// SPEC: KMS developer guide, "Default key policy".
fn key_policy(account: AccountId) -> String {
    let root = Arn::new("iam", "", Some(account), "root");
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"{root}"}},"Action":"kms:*","Resource":"*"}}}}"#
    )
}

/// What each job of the server may do; there is no caller that may do everything.
fn job_policy(job: &str) -> &'static str {
    match job {
        "bootstrap" => {
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["organizations:CreateAccount","ecr:PutAccountSetting","ecr:DescribeRegistry"],"Resource":"*"}}"#
        }
        "replicate" => {
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Resource":"*"}}"#
        }
        "scrub" => {
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["transship:QuarantineImages","transship:RepairImages"],"Resource":"*"}}"#
        }
        _ => r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#,
    }
}

/// Whether the scope of the caller's token, if it has one, covers an operation.
pub(super) fn in_scope(ctx: &Ctx, op: Op, target: &Target) -> bool {
    let Some(scope) = ctx.caller.scope() else { return true };
    if op.spec().resource == On::Caller {
        return true;
    }
    let Some((repository, _)) = &target.repository else { return false };
    scope.iter().any(|entry| {
        entry.covers(repository.account, Some(&repository.name))
            && match (op, op.spec().class) {
                (Op::BatchDeleteImage, _) => entry.delete,
                (_, Class::Read | Class::Data) => entry.pull || entry.push,
                (_, Class::Write) => entry.push,
            }
    })
}

/// Refuses a token whose scope does not reach all repositories of an account for an operation on one that is yet to be
/// found.
pub(super) fn check_reach(ctx: &Ctx, op: Op, account: AccountId) -> Result<()> {
    let Some(scope) = ctx.caller.scope() else { return Ok(()) };
    if scope.iter().any(|entry| entry.covers(account, None) && (entry.pull || entry.push)) {
        return Ok(());
    }
    Err(Error::new(Reason::ScopeInsufficient, out_of_scope(ctx, op, "*")).with("action", op.spec().action))
}

fn out_of_scope(ctx: &Ctx, op: Op, resource: &str) -> String {
    format!(
        "User: {} is not authorized to perform: {} on resource: {resource} because the token's scope does not cover it",
        ctx.caller.display(),
        op.spec().action,
    )
}

/// The denial a caller reads: AWS's sentence for everyone, the statement only for the resource's own account.
pub(super) fn denial(ctx: &Ctx, op: Op, target: &Target, ruling: Ruling) -> Error {
    let denied = Denied::new(ctx, op, target, &ruling);
    let error = match ruling.outcome {
        Outcome::Allow => Error::new(Reason::ScopeInsufficient, out_of_scope(ctx, op, &target.arn)),
        Outcome::ExplicitDeny | Outcome::ImplicitDeny => {
            Error::new(Reason::AccessDenied, ruling.sentence).because(denied)
        }
    };
    let error = error
        .with("principal", ctx.caller.display())
        .with("action", op.spec().action)
        .with("resource", &target.arn)
        .with("authorization_id", ctx.request_id);
    if target.account.is_some() && target.account == ctx.caller.account() {
        return error.with("statement", ruling.detail);
    }
    error
}
