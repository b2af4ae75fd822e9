//! The trust broker: proves who a caller is, and hands out tokens that say so.
//!
//! A token carries identity and constraints, never permissions; what its holder may do is judged at every use. A
//! session can be ended in any region, and ends in every connected one within seconds.

use super::App;
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, Mfa, Principal, Session};
use crate::error::{Error, Reason, Result};
use crate::gate::Identified;
pub use crate::gate::Stood;
use crate::identity::proof::{Expected, claimed_key};
use crate::identity::sigv4::{self, Presented};
use crate::identity::{self, AccessKey, Claims, Endpoint, Kind, Shown, TokenKeys};
use crate::names::PrincipalName;
use crate::ops::Op;
use crate::secret::Secret;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a bearer token from a proof lasts.
const BEARER_TTL: Duration = Duration::from_secs(3_600);
/// How long a scoped registry token lasts.
const REGISTRY_TOKEN_TTL: Duration = Duration::from_secs(300);
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
        Ok(self.look(claims).await?.is_some())
    }
}

/// Who somebody says it is.
enum Claimed {
    Nothing,
    Token(Secret<String>),
    Role(PrincipalName),
}

/// The directory, which keeps what it saw of the principal: what is answered next can be read on the same snapshot.
struct Looked<'a> {
    app: &'a App,
    stood: Mutex<Option<Stood>>,
}

#[async_trait]
impl identity::Directory for Looked<'_> {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>> {
        self.app.access_key(id).await
    }

    async fn stand(&self, claims: &Claims) -> Result<bool> {
        let stood = self.app.look(claims).await?;
        let stands = stood.is_some();
        *self.stood.lock().unwrap_or_else(PoisonError::into_inner) = stood;
        Ok(stands)
    }
}

impl App {
    /// The principal of claims as it stands; `None` if it is gone, or its session was cut off. Every token passes here.
    async fn look(&self, claims: &Claims) -> Result<Option<Stood>> {
        self.check_freshness()?;
        let (name, session) = (&claims.principal, (claims.session.id, claims.session.issued_at));
        let mut snapshot = self.store.snapshot().await?;
        let standing = snapshot.tx().standing(name, Some(session)).await?;
        let standing = standing.filter(|it| *it.unique_id == *claims.unique_id && !it.revoked);
        Ok(standing.map(|standing| Stood::new(snapshot, name.clone(), session, standing)))
    }

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

    /// The caller of what a request shows, for an operation; nobody if it shows nothing. With it comes the snapshot on which
    /// a token's holder was found, for the one read that answers the request: whoever does not read at once drops it.
    ///
    /// # Errors
    /// As [`App::caller_of_token`], or what was wrong with the credential's form; audited.
    pub async fn identify(
        &self,
        ctx: &Ctx,
        op: Op,
        shown: Result<Option<Shown>, identity::Error>,
        allowed: &[Kind],
    ) -> Result<(Caller, Option<Stood>)> {
        let looked = Looked { app: self, stood: Mutex::default() };
        let (claimed, believed) = match shown {
            Ok(None) => (Claimed::Nothing, Ok(Caller::Anonymous)),
            Ok(Some(Shown::Token(text))) if text.expose() == NOBODY => (Claimed::Nothing, Ok(Caller::Anonymous)),
            Ok(Some(Shown::WebIdentity(role, token))) => {
                let believed = self.log_in(ctx, &role, &token).await;
                (Claimed::Role(role), believed)
            }
            Ok(Some(Shown::Token(text))) => {
                let (keys, now) = (self.token_keys()?, self.clock.now());
                let believed = identity::from_token(text.expose(), allowed, &looked, &keys, now).await;
                (Claimed::Token(text), believed)
            }
            Err(error) => (Claimed::Nothing, Err(error.into())),
        };
        let caller = believed.map_err(|error| self.unbelieved(ctx, op, &self.named(&claimed), error))?;
        self.meter.admit(ctx, &caller)?;
        Ok((caller, looked.stood.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    /// How the audit names who was not believed.
    fn named(&self, claimed: &Claimed) -> String {
        let holder = |text: &Secret<String>| self.token_keys().ok()?.holder(text.expose());
        match claimed {
            Claimed::Nothing => UNPROVEN.to_owned(),
            Claimed::Token(text) => holder(text).unwrap_or_else(|| UNPROVEN.to_owned()),
            Claimed::Role(role) => format!("{UNPROVEN}:{}", role.arn()),
        }
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

    pub(super) fn token_for(&self, principal: &Principal, kind: Kind, ttl: Duration, now: Timestamp) -> Result<Token> {
        let session = self.session_of(principal, ttl, now);
        let expires_at = session.expires_at;
        let claims =
            Claims { kind, principal: principal.name.clone(), unique_id: principal.unique_id.clone(), session };
        Ok(Token { text: Secret::new(self.token_keys()?.seal(&claims)?), expires_at })
    }

    /// A token never outlives the session it was made from, nor has fewer constraints.
    pub(super) fn session_of(&self, principal: &Principal, ttl: Duration, now: Timestamp) -> Session {
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
                bounds: Vec::new(),
                source_identity: None,
                tags: Vec::new(),
                provider: None,
                mfa: Mfa::Unasked,
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

/// The user or role that calls.
pub(super) fn caller(ctx: &Ctx) -> Result<Arc<Principal>> {
    match &ctx.caller {
        Caller::Principal(principal) => Ok(principal.clone()),
        Caller::Anonymous | Caller::WebIdentity(_) | Caller::Replication { .. } | Caller::System(_) => {
            Err(Error::new(Reason::CallerUnknown, "this call needs the credentials of a user or role session"))
        }
    }
}
