//! The trust broker: proves who a caller is, and issues scoped, expiring credentials.
//!
//! A token carries identity and constraints, never permissions; what its holder may do is judged at every use. A
//! session can be ended in any region, and ends in every connected one within seconds.

use super::App;
use crate::authz::permit::Allowed;
use crate::authz::policy::Kind as PolicyKind;
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, Principal, Session};
use crate::domain::policies::Written;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Directory, Identified, Registry, Role, RoleAddress};
use crate::identity::proof::{Expected, claimed_key};
use crate::identity::sigv4::{self, Presented};
use crate::identity::{self, AccessKey, Claims, Endpoint, Kind, TemporaryCredentials, TokenKeys};
use crate::names::{AccountId, PageSize, PrincipalKind, PrincipalName, SessionName, SessionTag, Uid};
use crate::ops::Op;
use crate::secret::Secret;
use crate::store::Tx;
use crate::store::sessions::{Cut, Revocation, SessionRow, session_subject};
use async_trait::async_trait;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long a bearer token from a proof lasts.
const BEARER_TTL: Duration = Duration::from_secs(3_600);
/// How long a registry password lasts, as ECR's.
const REGISTRY_TTL: Duration = Duration::from_secs(12 * 3_600);
/// How long a scoped registry token lasts.
const REGISTRY_TOKEN_TTL: Duration = Duration::from_secs(300);
/// The shortest session.
const SESSION_MIN: Duration = Duration::from_secs(900);
/// The session when no duration is asked for.
const SESSION_DEFAULT: Duration = Duration::from_secs(3_600);
/// The session of a user when no duration is asked for, and the longest.
const SESSION_TOKEN_DEFAULT: Duration = Duration::from_secs(43_200);
const SESSION_TOKEN_MAX: Duration = Duration::from_secs(129_600);
/// The longest session that another session may take.
const CHAINED_MAX: Duration = Duration::from_secs(3_600);
/// Characters of one session policy.
const SESSION_POLICY_MAX: usize = 2_048;
/// Tags of one session.
const SESSION_TAGS_MAX: usize = 50;
/// Session policies of one session.
const SESSION_POLICIES_MAX: usize = 10;

/// How the audit names somebody who showed what nobody believes.
const UNPROVEN: &str = "unproven";

/// The bearer token of nobody in particular: it is given to who asks without credentials, and says no more than none.
const NOBODY: &str = "anonymous";

/// A token with its end.
#[derive(Debug)]
pub struct Token {
    /// The token.
    pub text: Secret<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

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
    /// The external id a trust policy may ask for.
    pub external_id: Option<String>,
    /// Tags for the session; at most 50, each key once.
    pub tags: Vec<SessionTag>,
    /// Who is behind the session; kept along a chain of roles, and never changed.
    pub source_identity: Option<SessionName>,
}

struct TakeSession {
    row: SessionRow,
    unique_id: Arc<str>,
    duration: Duration,
    also: Vec<Op>,
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
        Ok(tx.session_insert(&self.row).await?)
    }

    fn also(&self) -> &[Op] {
        &self.also
    }
}

/// Keeps the row of a session that a user takes of itself.
struct KeepSession {
    row: SessionRow,
}

impl Change for KeepSession {
    type Resource = Identified;
    type Out = ();

    async fn apply(&self, _: &Allowed<Identified>, tx: &mut Tx<'_>) -> Result<()> {
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
        let longest = self.now.plus(Duration::from_secs(43_200));
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

#[async_trait]
impl identity::Directory for App {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let Some(key) = tx.access_key(id).await? else { return Ok(None) };
        let Some(row) = tx.principal_by_id(&key.unique_id).await? else { return Ok(None) };
        let secret = self.root.open(super::directory::ACCESS_KEY, id.as_bytes(), &key.sealed_secret)?;
        let secret = String::from_utf8(secret.expose().clone()).map_err(Error::internal)?;
        Ok(Some(AccessKey { secret: Secret::new(secret), principal: row.name, unique_id: row.unique_id }))
    }

    async fn stand(&self, claims: &Claims) -> Result<bool> {
        let Session { id, issued_at, .. } = &claims.session;
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        if tx.is_revoked(claims.principal.account, *id, &claims.unique_id, *issued_at).await? {
            return Ok(false);
        }
        let row = tx.principal(&claims.principal).await?;
        Ok(row.is_some_and(|row| *row.unique_id == *claims.unique_id))
    }
}

impl App {
    /// The organization's token keys.
    ///
    /// # Errors
    /// While this region has not heard of them.
    pub fn token_keys(&self) -> Result<Arc<TokenKeys>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            Error::new(Reason::Unavailable, "this region does not know its organization yet; try again shortly")
        })
    }

    /// The caller of a token, on a surface that accepts these kinds.
    ///
    /// # Errors
    /// When the token is not ours, ended, or was cut off.
    pub async fn caller_of_token(&self, text: &str, allowed: &[Kind]) -> Result<Caller> {
        identity::from_token(text, allowed, self, &*self.token_keys()?, self.clock.now()).await
    }

    /// The caller of what a request shows, for an operation; nobody if it shows nothing.
    ///
    /// # Errors
    /// As [`App::caller_of_token`], or what was wrong with the credential's form; audited.
    pub async fn identify(
        &self,
        ctx: &Ctx,
        op: Op,
        shown: Result<Option<Secret<String>>, identity::Error>,
        allowed: &[Kind],
    ) -> Result<Caller> {
        let (holder, believed) = match shown {
            Ok(None) => (None, Ok(Caller::Anonymous)),
            Ok(Some(text)) if text.expose() == NOBODY => (None, Ok(Caller::Anonymous)),
            Ok(Some(text)) => {
                let holder = self.token_keys()?.holder(text.expose());
                (holder, self.caller_of_token(text.expose(), allowed).await)
            }
            Err(error) => (None, Err(error.into())),
        };
        let caller =
            believed.map_err(|error| self.unbelieved(ctx, op, holder.as_deref().unwrap_or(UNPROVEN), error))?;
        self.meter.admit(ctx, &caller)?;
        Ok(caller)
    }

    /// The caller of a request that is signed for a service of this region, for an operation.
    ///
    /// # Errors
    /// What is wrong with the signature, or that its key is none; audited.
    pub async fn identify_signed(
        &self,
        ctx: &Ctx,
        op: Op,
        request: &sigv4::Request<'_>,
        service: &'static str,
    ) -> Result<Caller> {
        let target = sigv4::Target { region: &self.settings.region, service };
        let keys = self.token_keys()?;
        let believed = identity::from_signature(request, &target, self, &keys, ctx.now).await;
        let caller = believed.map_err(|error| self.unbelieved(ctx, op, &signer(request), error))?;
        self.meter.admit(ctx, &caller)?;
        Ok(caller)
    }

    /// What somebody who is not believed is answered: why, which the audit has too, or that it asks too often, which the
    /// audit has not, so that nobody fills it.
    fn unbelieved(&self, ctx: &Ctx, op: Op, claimed: &str, error: Error) -> Error {
        if let Err(throttled) = self.meter.admit_address(ctx) {
            return throttled;
        }
        self.gate.unbelieved(ctx, op, claimed, &error);
        error
    }

    /// What a call without credentials is answered where they are needed; audited.
    #[must_use]
    pub fn unidentified(&self, ctx: &Ctx, op: Op, text: &'static str) -> Error {
        let error = Error::new(Reason::CallerUnknown, text);
        self.gate.unbelieved(ctx, op, &Caller::Anonymous.display(), &error);
        error
    }

    /// Exchanges a presigned `GetCallerIdentity` for a bearer token.
    ///
    /// # Errors
    /// When the proof is not for this region, or cannot be believed; the metadata name region and organization, so
    /// that a client knows what to sign.
    pub async fn exchange_token(
        &self,
        ctx: &Ctx,
        presigned_url: &str,
        endpoints: &[Endpoint],
    ) -> Result<(Token, Arc<Principal>)> {
        let keys = self.token_keys()?;
        let organization = keys.organization();
        let expected = Expected { endpoints, region: &self.settings.region, organization };
        let proven = identity::from_proof(presigned_url, &expected, &self.proofs, self, &keys, ctx.now).await;
        let caller = proven.map_err(|error| {
            let error = self.unbelieved(ctx, Op::ExchangeToken, &claimed(presigned_url), error);
            error.with("organization", organization).with("region", &self.settings.region)
        })?;
        let ctx = Ctx { caller, ..ctx.clone() };
        let principal = self.identified(&ctx, Op::ExchangeToken).await?;
        let token = self.token_for(&principal, Kind::Bearer, BEARER_TTL, ctx.now)?;
        Ok((token, principal))
    }

    /// Turns the caller's identity into a registry password.
    ///
    /// # Errors
    /// When no identity policy allows it.
    pub async fn authorization_token(&self, ctx: &Ctx) -> Result<Token> {
        let principal = caller(ctx)?;
        self.gate.read::<Registry>(ctx, Op::GetAuthorizationToken, &principal.name.account).await?;
        self.token_for(&principal, Kind::Registry, REGISTRY_TTL, ctx.now)
    }

    /// A bearer token for the registry's HTTP surface, within a scope; nobody's says nothing, and opens what is public.
    ///
    /// # Errors
    /// When the constraints do not fit a token.
    pub async fn scoped_token(&self, ctx: &Ctx, scope: Option<Vec<crate::ctx::Scope>>) -> Result<Token> {
        if matches!(ctx.caller, Caller::Anonymous) {
            let text = Secret::new(NOBODY.to_owned());
            return Ok(Token { text, expires_at: ctx.now.plus(REGISTRY_TOKEN_TTL) });
        }
        let (principal, now) = (self.identified(ctx, Op::ExchangeToken).await?, ctx.now);
        let mut narrowed = Principal::clone(&principal);
        let mut session = self.session_of(&principal, REGISTRY_TOKEN_TTL, now);
        session.scope = match (session.scope.take(), scope) {
            (Some(bound), Some(asked)) => Some(asked.into_iter().filter(|entry| bound.contains(entry)).collect()),
            (bound, asked) => asked.or(bound),
        };
        narrowed.session = Some(session);
        self.token_for(&narrowed, Kind::Registry, REGISTRY_TOKEN_TTL, now)
    }

    /// Takes a session of a role.
    ///
    /// # Errors
    /// When the caller's policies or the role's trust policy do not allow it, or a constraint is malformed.
    pub async fn assume_role(&self, ctx: &Ctx, request: AssumeRole) -> Result<Issued> {
        let caller = caller(ctx)?;
        // A user's bearer token is a session too, but not of a role.
        let duration = checked_duration(&request, caller.name.kind == PrincipalKind::Role)?;
        let policies = checked_policies(&request.policies)?;
        let source_identity = source_identity(&caller, request.source_identity.as_ref())?;
        let tags = session_tags(&caller, &request.tags)?;
        let AssumeRole { role, session_name, external_id, tags: passed, .. } = request;
        let address = RoleAddress {
            role: role.clone(),
            session_name: session_name.to_string(),
            external_id,
            tags: passed,
            source_identity: source_identity.clone(),
        };
        let unique_id = self.gate.look::<Role>(ctx, Op::AssumeRole, &address).await?.allowed().0.unique_id.clone();
        let tagged = (!tags.is_empty()).then_some(Op::TagSession);
        let also: Vec<Op> =
            tagged.into_iter().chain(source_identity.is_some().then_some(Op::SetSourceIdentity)).collect();
        for op in &also {
            self.gate.check::<Role>(ctx, *op, std::slice::from_ref(&address)).await?;
        }
        let session = Session {
            id: self.clock.uid(),
            name: Some(session_name.clone()),
            issued_at: ctx.now,
            expires_at: ctx.now.plus(duration),
            policies,
            scope: None,
            source_identity,
            tags,
        };
        let (issued, row) =
            self.issue(Principal { name: role, unique_id: unique_id.clone(), session: None }, session)?;
        self.gate.write(ctx, Op::AssumeRole, &address, TakeSession { row, unique_id, duration, also }).await?;
        Ok(issued)
    }

    /// Temporary credentials for a user who calls with its own access key.
    ///
    /// # Errors
    /// When the caller has no access key of its own, or a policy denies it.
    pub async fn session_token(&self, ctx: &Ctx, duration: Option<Duration>) -> Result<Issued> {
        let caller = caller(ctx)?;
        if caller.session.is_some() {
            return Err(Error::new(Reason::AccessDenied, "Cannot call GetSessionToken with session credentials"));
        }
        let duration = duration.unwrap_or(SESSION_TOKEN_DEFAULT);
        if !(SESSION_MIN..=SESSION_TOKEN_MAX).contains(&duration) {
            return Err(Error::invalid("duration", "900 to 129,600 seconds"));
        }
        let session = Session { id: self.clock.uid(), ..self.session_of(&caller, duration, ctx.now) };
        let (issued, row) = self.issue(Principal::clone(&caller), session)?;
        self.gate.write(ctx, Op::GetSessionToken, &ctx.caller, KeepSession { row }).await?;
        Ok(issued)
    }

    /// Seals a session before it is recorded: what does not fit a token leaves no row.
    fn issue(&self, principal: Principal, session: Session) -> Result<(Issued, SessionRow)> {
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

    /// The unique id of a user or role, if there is one.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn unique_id(&self, name: &PrincipalName) -> Result<Option<Arc<str>>> {
        Ok(self.store.snapshot().await?.tx().principal(name).await?.map(|row| row.unique_id))
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// When it is nobody, or no longer somebody.
    pub async fn caller_identity(&self, ctx: &Ctx) -> Result<Arc<Principal>> {
        self.identified(ctx, Op::GetCallerIdentity).await
    }

    /// The caller of an operation that is about nobody else.
    async fn identified(&self, ctx: &Ctx, op: Op) -> Result<Arc<Principal>> {
        Ok(self.gate.read::<Identified>(ctx, op, &ctx.caller).await?.allowed().0.clone())
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

    fn token_for(&self, principal: &Principal, kind: Kind, ttl: Duration, now: Timestamp) -> Result<Token> {
        let session = self.session_of(principal, ttl, now);
        let expires_at = session.expires_at;
        let claims =
            Claims { kind, principal: principal.name.clone(), unique_id: principal.unique_id.clone(), session };
        Ok(Token { text: Secret::new(self.token_keys()?.seal(&claims)?), expires_at })
    }

    /// A token never outlives the session it was made from, nor has fewer constraints.
    fn session_of(&self, principal: &Principal, ttl: Duration, now: Timestamp) -> Session {
        let end = now.plus(ttl);
        match &principal.session {
            Some(session) => Session { expires_at: session.expires_at.min(end), ..session.clone() },
            None => Session {
                id: self.clock.uid(),
                name: None,
                issued_at: now,
                expires_at: end,
                policies: None,
                scope: None,
                source_identity: None,
                tags: Vec::new(),
            },
        }
    }
}

/// How the audit names who signed a request that was not believed: by the key it claims, if it claims one.
fn signer(request: &sigv4::Request<'_>) -> String {
    match Presented::parse(request) {
        Ok(presented) => format!("{UNPROVEN}:{}", presented.access_key_id),
        Err(identity::Error::MissingAuthenticationToken) => Caller::Anonymous.display(),
        Err(_) => UNPROVEN.to_owned(),
    }
}

/// How the audit names the caller of a proof that was not believed: by the key it claims, if it claims one.
fn claimed(presigned_url: &str) -> String {
    match claimed_key(presigned_url) {
        Some(key) => format!("{UNPROVEN}:{key}"),
        None if presigned_url.is_empty() => Caller::Anonymous.display(),
        None => UNPROVEN.to_owned(),
    }
}

fn caller(ctx: &Ctx) -> Result<Arc<Principal>> {
    match &ctx.caller {
        Caller::Principal(principal) => Ok(principal.clone()),
        Caller::Anonymous | Caller::Replication { .. } | Caller::System(_) => {
            Err(Error::new(Reason::CallerUnknown, "this call needs the credentials of a user or role session"))
        }
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
    if passed.len() > SESSION_TAGS_MAX {
        return Err(Error::invalid("tags", format!("at most {SESSION_TAGS_MAX}")));
    }
    let own = caller.session.iter().flat_map(|session| &session.tags);
    let mut tags: Vec<SessionTag> = own.filter(|tag| tag.is_transitive()).cloned().collect();
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

fn checked_duration(request: &AssumeRole, chained: bool) -> Result<Duration> {
    let duration = request.duration.unwrap_or(SESSION_DEFAULT);
    if duration < SESSION_MIN {
        return Err(Error::invalid("duration", "at least 900 seconds"));
    }
    if chained && duration > CHAINED_MAX {
        let text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(Error::invalid("duration", text));
    }
    if request.role.kind != PrincipalKind::Role {
        return Err(Error::invalid("role_arn", "arn:aws:iam::<account>:role/<name>"));
    }
    Ok(duration)
}

fn checked_policies(policies: &[String]) -> Result<Option<Vec<Arc<str>>>> {
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
