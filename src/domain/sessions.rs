//! Sessions: credentials of a role, or of a user for a while; and their end, in any region, for every region.

use super::App;
use super::managed_policies::check_managed;
use super::mfa_devices::{MfaCode, UsedCode};
use super::policies::Written;
use super::trust::caller;
use crate::authz::permit::Allowed;
use crate::authz::policy::Kind as PolicyKind;
use crate::clock::Timestamp;
use crate::ctx::{Ctx, Mfa, Principal, Session};
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Directory, Identified, Role, RoleAddress};
use crate::identity::{Claims, Kind, TemporaryCredentials};
use crate::names::{AccountId, PageSize, PolicyRef, PrincipalKind, PrincipalName, SessionName, SessionTag, Uid};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::sessions::{Cut, Revocation, SessionRow, session_subject};
use std::sync::Arc;
use std::time::Duration;

/// The shortest session.
const SESSION_MIN: Duration = Duration::from_secs(900);
/// The session when no duration is asked for.
const SESSION_DEFAULT: Duration = Duration::from_secs(3_600);
/// The session of a user when no duration is asked for, and the longest.
const SESSION_TOKEN_DEFAULT: Duration = Duration::from_secs(43_200);
pub(super) const SESSION_TOKEN_MAX: Duration = Duration::from_secs(129_600);
/// The longest session that another session may take.
const CHAINED_MAX: Duration = Duration::from_secs(3_600);
/// Characters of one session policy.
pub(super) const SESSION_POLICY_MAX: usize = 2_048;
/// Tags of one session.
const SESSION_TAGS_MAX: usize = 50;
/// Session policies of one session.
const SESSION_POLICIES_MAX: usize = 10;

/// Temporary credentials that were issued.
pub struct Issued {
    /// What their holder signs with.
    pub credentials: TemporaryCredentials,
    /// When they end.
    pub expires_at: Timestamp,
    /// As whom their holder calls.
    pub principal: Principal,
    /// The session's id.
    pub id: Uid,
}

/// Which role to assume, under which constraints.
#[derive(Clone, Debug)]
pub struct AssumeRole {
    /// The role.
    pub role: PrincipalName,
    /// The session's name.
    pub session_name: SessionName,
    /// How long; an hour unless set.
    pub duration: Option<Duration>,
    /// Session policies.
    pub policies: Vec<String>,
    /// Managed policies of the role's account, as session policies.
    pub managed: Vec<PolicyRef>,
    /// The external id a trust policy may ask for.
    pub external_id: Option<String>,
    /// Tags for the session; at most 50, each key once.
    pub tags: Vec<SessionTag>,
    /// Who is behind the session; kept along a chain of roles, and never changed.
    pub source_identity: Option<SessionName>,
    /// A code of the calling user's second factor.
    pub mfa: Option<MfaCode>,
}

/// Within which bounds a session of a role is taken.
pub(super) struct Bounds {
    pub(super) duration: Duration,
    pub(super) policies: Option<Vec<Arc<str>>>,
    /// Managed policies that are session policies too.
    pub(super) managed: Vec<PolicyRef>,
    pub(super) tags: Vec<SessionTag>,
    pub(super) source_identity: Option<Arc<str>>,
    pub(super) provider: Option<Arc<str>>,
    /// The code that was shown.
    pub(super) code: Option<UsedCode>,
}

struct TakeSession {
    row: SessionRow,
    unique_id: Arc<str>,
    duration: Duration,
    also: Vec<Op>,
    code: Option<UsedCode>,
}

impl Change for TakeSession {
    type Resource = Role;
    type Out = ();

    async fn apply(&self, role: &Allowed<Role>, tx: &mut Tx<'_>) -> Result<()> {
        if role.0.unique_id != self.unique_id {
            return Err(Error::new(Reason::Unavailable, "the role was made again just now; repeat the call"));
        }
        let longest = Duration::from_secs(u64::try_from(role.0.max_session_secs).unwrap_or(0));
        if self.duration > longest {
            let text = format!("the requested duration exceeds the {} s set as the role's maximum", longest.as_secs());
            return Err(Error::new(Reason::InvalidArgument, text).with("max_session_secs", longest.as_secs()));
        }
        if let Some(code) = &self.code {
            code.apply(tx).await?;
        }
        Ok(tx.session_insert(&self.row).await?)
    }

    fn also(&self) -> &[Op] {
        &self.also
    }
}

/// Keeps the row of a session that a user takes of itself.
struct KeepSession {
    row: SessionRow,
    code: Option<UsedCode>,
}

impl Change for KeepSession {
    type Resource = Identified;
    type Out = ();

    async fn apply(&self, _: &Allowed<Identified>, tx: &mut Tx<'_>) -> Result<()> {
        if let Some(code) = &self.code {
            code.apply(tx).await?;
        }
        Ok(tx.session_insert(&self.row).await?)
    }
}

struct RevokeSession {
    session: Uid,
    revocation: Uid,
    now: Timestamp,
}

impl Change for RevokeSession {
    type Resource = Directory;
    type Out = ();

    async fn apply(&self, account: &Allowed<Directory>, tx: &mut Tx<'_>) -> Result<()> {
        // A session of another region has no row here; revoking it must work all the same, for at most its length.
        let row = tx.session(self.session).await?;
        if row.as_ref().is_some_and(|row| row.account != account.0) {
            let text = format!("account {} has no session {}", account.0, self.session);
            return Err(Error::new(Reason::NotFound, text).with("session", self.session));
        }
        let longest = self.now.plus(SESSION_TOKEN_MAX);
        let revocation = Revocation {
            id: self.revocation,
            cut: Cut::Session,
            subject: session_subject(account.0, self.session),
            before_at: self.now,
            expires_at: row.map_or(longest, |row| row.expires_at),
            local_origin: true,
        };
        Ok(tx.revocation_insert(&revocation, self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.session.bytes().to_vec()
    }
}

impl App {
    /// Takes a session of a role.
    ///
    /// # Errors
    /// When the caller's policies or the role's trust policy do not allow it, or a constraint is malformed.
    pub async fn assume_role(&self, ctx: &Ctx, request: AssumeRole) -> Result<Issued> {
        let caller = caller(ctx)?;
        if caller.is_federated() {
            return Err(Error::new(
                Reason::AccessDenied,
                "Cannot call AssumeRole with the credentials of a federated user",
            ));
        }
        check_role(&request.role)?;
        // A token that was made with a user's own key is a session too, but not one that another was taken from.
        let bounds = Bounds {
            duration: checked_duration(request.duration, !caller.has_own_key())?,
            policies: checked_policies(&request.policies)?,
            managed: request.managed,
            tags: session_tags(&caller, &request.tags)?,
            source_identity: source_identity(&caller, request.source_identity.as_ref())?,
            provider: caller.session.as_ref().and_then(|session| session.provider.clone()),
            code: self.shown_code(ctx, Op::AssumeRole, &caller, request.mfa.as_ref()).await?,
        };
        let mfa = bounds.code.is_some().then_some(ctx.now);
        let AssumeRole { role, session_name, external_id, tags, .. } = request;
        let source_identity = bounds.source_identity.clone();
        let address = RoleAddress { role, session_name, external_id, tags, source_identity, mfa };
        self.take(ctx, Op::AssumeRole, address, bounds).await
    }

    /// Takes a session of a role within bounds that were checked.
    ///
    /// # Errors
    /// When the caller's policies or the role's trust policy do not allow it, or the bounds do not fit a token.
    pub(super) async fn take(&self, ctx: &Ctx, op: Op, address: RoleAddress, bounds: Bounds) -> Result<Issued> {
        check_managed(address.role.account, &bounds.managed)?;
        let unique_id = self.gate.look::<Role>(ctx, op, &address).await?.allowed().0.unique_id.clone();
        let Bounds { duration, policies, managed, tags, source_identity, provider, code } = bounds;
        let tagged = (!tags.is_empty()).then_some(Op::TagSession);
        let also: Vec<Op> =
            tagged.into_iter().chain(source_identity.is_some().then_some(Op::SetSourceIdentity)).collect();
        for op in &also {
            self.gate.check::<Role>(ctx, *op, std::slice::from_ref(&address)).await?;
        }
        let policies = self.with_managed(address.role.account, policies, &managed).await?;
        let session = Session {
            id: self.clock.uid(),
            name: Some(address.session_name.clone()),
            issued_at: ctx.now,
            expires_at: ctx.now.plus(duration),
            policies,
            scope: None,
            bounds: Vec::new(),
            source_identity,
            tags,
            provider,
            // SPEC: IAM User Guide, "Secure API access with MFA": a role's credentials do not say so.
            mfa: Mfa::Absent,
        };
        let role = Principal { name: address.role.clone(), unique_id: unique_id.clone(), session: None };
        let (issued, row) = self.issue(role, session)?;
        self.gate.write(ctx, op, &address, TakeSession { row, unique_id, duration, also, code }).await?;
        Ok(issued)
    }

    /// Temporary credentials for a user who calls with its own access key, or with a token that was made with it, whose end
    /// is theirs too.
    ///
    /// # Errors
    /// When the caller has no access key of its own, its second factor shows another code, or a policy denies it.
    pub async fn session_token(&self, ctx: &Ctx, duration: Option<Duration>, mfa: Option<&MfaCode>) -> Result<Issued> {
        let caller = caller(ctx)?;
        if !caller.has_own_key() {
            return Err(Error::new(Reason::AccessDenied, "Cannot call GetSessionToken with session credentials"));
        }
        let duration = long_duration(duration)?;
        let code = self.shown_code(ctx, Op::GetSessionToken, &caller, mfa).await?;
        let mfa = if code.is_some() { Mfa::Given(ctx.now) } else { Mfa::Absent };
        let session = Session { id: self.clock.uid(), mfa, ..self.session_of(&caller, duration, ctx.now) };
        let (issued, row) = self.issue(Principal::clone(&caller), session)?;
        self.gate.write(ctx, Op::GetSessionToken, &ctx.caller, KeepSession { row, code }).await?;
        Ok(issued)
    }

    /// Seals a session before it is recorded: what does not fit a token leaves no row.
    pub(super) fn issue(&self, principal: Principal, session: Session) -> Result<(Issued, SessionRow)> {
        let claims = Claims {
            kind: Kind::Session,
            principal: principal.name.clone(),
            unique_id: principal.unique_id.clone(),
            session: session.clone(),
        };
        let credentials = self.token_keys()?.temporary_credentials(&claims)?;
        let row = SessionRow {
            id: session.id,
            account: principal.name.account,
            principal: principal.name.arn().to_string(),
            name: session.name.as_ref().map_or_else(String::new, ToString::to_string),
            issued_at: session.issued_at,
            expires_at: session.expires_at,
        };
        let (expires_at, id) = (session.expires_at, session.id);
        let principal = Principal { session: Some(session), ..principal };
        Ok((Issued { credentials, expires_at, principal, id }, row))
    }

    /// A page of an account's sessions issued here, newest first, from the one before this.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_sessions(
        &self,
        ctx: &Ctx,
        account: AccountId,
        before: Option<(Timestamp, Uid)>,
        size: PageSize,
    ) -> Result<Vec<SessionRow>> {
        let before = before.unwrap_or((Timestamp::from_micros(i64::MAX), Uid::from_bytes([u8::MAX; 16])));
        let mut view = self.gate.read::<Directory>(ctx, Op::ListSessions, &account).await?;
        Ok(view.parts().1.session_list(account, before, size).await?)
    }

    /// Ends a session in every region.
    ///
    /// # Errors
    /// When the caller may not, or the session is another account's.
    pub async fn revoke_session(&self, ctx: &Ctx, account: AccountId, session: Uid) -> Result<()> {
        let change = RevokeSession { session, revocation: self.clock.uid(), now: ctx.now };
        self.gate.write(ctx, Op::RevokeSession, &account, change).await
    }
}

/// The source identity of a session that is taken: what the caller's has, which nobody changes, or what is passed.
fn source_identity(caller: &Principal, passed: Option<&SessionName>) -> Result<Option<Arc<str>>> {
    let inherited = caller.session.as_ref().and_then(|session| session.source_identity.clone());
    match (inherited, passed) {
        (Some(inherited), Some(passed)) if *inherited != *passed.as_str() => {
            let text = "The SourceIdentity of the calling session is set and cannot be changed by role chaining";
            Err(Error::new(Reason::AccessDenied, text))
        }
        (inherited, passed) => Ok(inherited.or_else(|| passed.map(|name| name.as_str().into()))),
    }
}

/// The tags of a session that is taken: those that the caller's hands on, and those that are passed.
fn session_tags(caller: &Principal, passed: &[SessionTag]) -> Result<Vec<SessionTag>> {
    let own = caller.session.iter().flat_map(|session| &session.tags);
    joined_tags(own.filter(|tag| tag.is_transitive()).cloned().collect(), passed)
}

/// Tags that are inherited and tags that are passed, each key once.
pub(super) fn joined_tags(mut tags: Vec<SessionTag>, passed: &[SessionTag]) -> Result<Vec<SessionTag>> {
    if passed.len() > SESSION_TAGS_MAX {
        return Err(Error::invalid("tags", format!("at most {SESSION_TAGS_MAX}")));
    }
    let inherited = tags.len();
    for tag in passed {
        match tags.iter().position(|known| known.same_key(tag)) {
            None => tags.push(tag.clone()),
            Some(at) if at < inherited => {
                let text = format!("{} cannot be set: it is a transitive tag of the calling session", tag.key());
                return Err(Error::invalid("tags", text));
            }
            Some(_) => return Err(Error::invalid("tags", format!("{} is given twice; keys ignore case", tag.key()))),
        }
    }
    Ok(tags)
}

/// Refuses what is no role, before anything is looked up.
pub(super) fn check_role(name: &PrincipalName) -> Result<()> {
    match name.kind {
        PrincipalKind::Role => Ok(()),
        PrincipalKind::User => Err(Error::invalid("role_arn", "arn:aws:iam::<account>:role/<name>")),
    }
}

/// How long credentials last that a user makes of itself.
pub(super) fn long_duration(asked: Option<Duration>) -> Result<Duration> {
    let duration = asked.unwrap_or(SESSION_TOKEN_DEFAULT);
    if (SESSION_MIN..=SESSION_TOKEN_MAX).contains(&duration) {
        return Ok(duration);
    }
    Err(Error::invalid("duration", "900 to 129,600 seconds"))
}

pub(super) fn checked_duration(asked: Option<Duration>, chained: bool) -> Result<Duration> {
    let duration = asked.unwrap_or(SESSION_DEFAULT);
    if duration < SESSION_MIN {
        return Err(Error::invalid("duration", "at least 900 seconds"));
    }
    if chained && duration > CHAINED_MAX {
        let text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(Error::invalid("duration", text));
    }
    Ok(duration)
}

pub(super) fn checked_policies(policies: &[String]) -> Result<Option<Vec<Arc<str>>>> {
    if policies.len() > SESSION_POLICIES_MAX {
        return Err(Error::invalid("policies", format!("at most {SESSION_POLICIES_MAX}")));
    }
    for text in policies {
        if text.chars().count() > SESSION_POLICY_MAX {
            return Err(Error::invalid("policies", format!("each at most {SESSION_POLICY_MAX} characters")));
        }
        Written::parse(PolicyKind::Session, text)?;
    }
    Ok((!policies.is_empty()).then(|| policies.iter().map(|text| text.as_str().into()).collect()))
}
