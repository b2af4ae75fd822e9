//! Federation: an identity token of an issuer that an account trusts becomes a session of a role of that account.
//!
//! The token proves who its bearer is, to its issuer's word; what that is good for is decided by the role's trust policy,
//! and by the role's own policies at every use. As a registry's password a token is shown again with every request, so
//! what it proved is remembered for as long as it is good. Whether the account still trusts the issuer, whether the role
//! lets the bearer in from where it calls, and whether its session was revoked is asked every time.

use super::App;
use super::sessions::{Bounds, Issued, check_role, checked_duration, checked_policies, joined_tags};
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, WebIdentity};
use crate::error::{Error, Reason, Result};
use crate::gate::{Role, RoleAddress};
use crate::identity::aws::{self, AwsSts};
use crate::identity::issuers::{Issuers, Provider};
use crate::identity::{self, Claims, Directory, Kind, jwt};
use crate::names::{AccountId, Issuer, PolicyRef, PrincipalName, SessionName, SessionTag};
use crate::ops::Op;
use crate::secret::Secret;
use sha2::Digest as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Logins that are remembered: some kilobytes each.
const LOGINS_MAX: usize = 4_096;
/// How long a request waits for another that shows the same token: longer than AWS is asked.
const TURN_TIMEOUT: Duration = Duration::from_secs(15);
/// Characters of an issuer that nobody knows which are told.
const ISSUER_SHOWN: usize = 80;

/// Which role to take with an identity token, under which constraints.
#[derive(Clone, Debug)]
pub struct AssumeRoleWithWebIdentity {
    /// The role.
    pub role: PrincipalName,
    /// The session's name.
    pub session_name: SessionName,
    /// The token, a signed JWT.
    pub token: Secret<String>,
    /// How long; an hour unless set.
    pub duration: Option<Duration>,
    /// Session policies.
    pub policies: Vec<String>,
    /// Managed policies of the role's account, as session policies.
    pub managed: Vec<PolicyRef>,
}

/// A session that was given for an identity token.
pub struct Federated {
    /// The session.
    pub issued: Issued,
    /// Whose token it was.
    pub identity: Arc<WebIdentity>,
}

/// A token that was believed.
struct Believed {
    identity: WebIdentity,
    tags: Vec<SessionTag>,
    source_identity: Option<SessionName>,
    /// When the token ends.
    expires_at: Timestamp,
}

/// What identity tokens proved that are shown as passwords, by the hash of role and token.
#[derive(Default)]
pub(super) struct Logins {
    known: Mutex<HashMap<[u8; 32], Login>>,
    /// Turns of requests that show the same token, which can be believed once; only while some of them is under way.
    turns: Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone)]
struct Login {
    claims: Claims,
    /// Who its bearer is, and which role it took: asked again each time.
    identity: Arc<WebIdentity>,
    address: RoleAddress,
    until: Timestamp,
}

impl Logins {
    fn get(&self, key: &[u8; 32], now: Timestamp) -> Option<Login> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|login| login.until > now).cloned()
    }

    /// The turn of a token: requests that show it at once wait for the one that proves it.
    fn turn(&self, key: &[u8; 32]) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| Arc::strong_count(turn) > 1);
        all.entry(*key).or_default().clone()
    }

    /// Remembers one more; when there is no room, those that ended are forgotten, and if none has, the one that ends first:
    /// whoever shows that token again proves itself again.
    fn put(&self, key: [u8; 32], login: Login, now: Timestamp) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= LOGINS_MAX {
            all.retain(|_, login| login.until > now);
        }
        if all.len() >= LOGINS_MAX {
            let first = all.iter().min_by_key(|(_, login)| login.until).map(|(key, _)| *key);
            first.and_then(|first| all.remove(&first));
        }
        all.insert(key, login);
    }
}

impl App {
    /// Has the keys of issuers come from there.
    pub fn issuers_from(&self, issuers: Arc<dyn Issuers>) {
        // A second call is a defect of the composition root, and the first stays.
        let _ = self.issuers.set(issuers);
    }

    /// Has AWS STS say there who somebody is.
    pub fn aws_identities_from(&self, sts: Arc<dyn AwsSts>) {
        // As above.
        let _ = self.aws.set(sts);
    }

    /// Takes a session of a role with an identity token of an issuer that the role's account trusts.
    ///
    /// # Errors
    /// When the token is not believed, the role's trust policy does not let its bearer in, or a constraint is malformed.
    pub async fn assume_role_with_web_identity(
        &self,
        ctx: &Ctx,
        request: AssumeRoleWithWebIdentity,
    ) -> Result<Federated> {
        self.meter.admit_address(ctx)?;
        let (role, name) = (request.role.clone(), request.session_name.clone());
        let believed = self.believe(role.account, request.token.expose(), ctx.now).await;
        let believed = believed.inspect_err(|error| {
            self.gate.unbelieved(ctx, Op::AssumeRoleWithWebIdentity, &claimed(request.token.expose()), error);
        })?;
        let duration = checked_duration(request.duration, false)?;
        let policies = (checked_policies(&request.policies)?, request.managed);
        Ok(self.federate(ctx, role, name, believed, duration, policies).await?.0)
    }

    /// The caller who shows an identity token as its password, and the role it wants as its user name.
    ///
    /// # Errors
    /// As [`App::assume_role_with_web_identity`].
    pub(super) async fn log_in(&self, ctx: &Ctx, role: &PrincipalName, token: &Secret<String>) -> Result<Caller> {
        let key: [u8; 32] = sha2::Sha256::digest(format!("{}\0{}", role.arn(), token.expose())).into();
        if let Some(caller) = self.remembered(ctx, &key).await? {
            return Ok(caller);
        }
        self.meter.admit_address(ctx)?;
        let mut turn = None;
        if aws::is_proof(token.expose()) {
            let waited = tokio::time::timeout(TURN_TIMEOUT, self.logins.turn(&key).lock_owned()).await;
            turn = Some(waited.map_err(|_| Error::new(Reason::Unavailable, "this proof is being checked; try again"))?);
            // Who waited finds what the first one proved.
            if let Some(caller) = self.remembered(ctx, &key).await? {
                return Ok(caller);
            }
        }
        let believed = self.believe(role.account, token.expose(), ctx.now).await?;
        let name = name_of(&believed.identity.subject);
        let (duration, until) = (checked_duration(None, false)?, believed.expires_at);
        let (Federated { issued, identity }, address) =
            self.federate(ctx, role.clone(), name, believed, duration, (None, Vec::new())).await?;
        let Some(session) = issued.principal.session else {
            return Err(Error::internal("a session of a role without a session"));
        };
        let unique_id = issued.principal.unique_id.clone();
        let until = until.min(session.expires_at);
        let claims = Claims { kind: Kind::Registry, principal: role.clone(), unique_id, session };
        self.logins.put(key, Login { claims: claims.clone(), identity, address, until }, ctx.now);
        drop(turn);
        Ok(claims.into_caller())
    }

    /// The caller of a token that was believed before, if it still is.
    async fn remembered(&self, ctx: &Ctx, key: &[u8; 32]) -> Result<Option<Caller>> {
        match self.logins.get(key, ctx.now) {
            Some(login) => self.still_logged_in(ctx, &login).await,
            None => Ok(None),
        }
    }

    /// The caller of a token that was believed before, if its issuer and the role still let it in, from here and now; `None`
    /// if the role is another since then.
    async fn still_logged_in(&self, ctx: &Ctx, login: &Login) -> Result<Option<Caller>> {
        let Login { claims, identity, address, .. } = login;
        let provider = self.store.snapshot().await?.tx().oidc_provider(identity.account, &identity.issuer).await?;
        if !provider.is_some_and(|row| row.client_ids.contains(&identity.audience)) {
            return Err(identity::Error::ProviderUnknown { issuer: identity.issuer.to_string() }.into());
        }
        let asking = Ctx { caller: Caller::WebIdentity(identity.clone()), ..ctx.clone() };
        let role = self.gate.look::<Role>(&asking, Op::AssumeRoleWithWebIdentity, address).await?;
        if role.allowed().0.unique_id != claims.unique_id {
            return Ok(None);
        }
        drop(role);
        match self.stand(claims).await? {
            true => Ok(Some(claims.clone().into_caller())),
            false => Err(identity::Error::InvalidClientTokenId.into()),
        }
    }

    async fn federate(
        &self,
        ctx: &Ctx,
        role: PrincipalName,
        session_name: SessionName,
        believed: Believed,
        duration: Duration,
        (policies, managed): (Option<Vec<Arc<str>>>, Vec<PolicyRef>),
    ) -> Result<(Federated, RoleAddress)> {
        check_role(&role)?;
        let identity = Arc::new(believed.identity);
        let source_identity: Option<Arc<str>> = believed.source_identity.map(|name| name.as_str().into());
        let bounds = Bounds {
            duration,
            policies,
            managed,
            tags: joined_tags(Vec::new(), &believed.tags)?,
            source_identity: source_identity.clone(),
            provider: Some(identity.provider().as_str().into()),
            code: None,
        };
        let tags = believed.tags;
        let address = RoleAddress { role, session_name, external_id: None, tags, source_identity, mfa: None };
        let ctx = Ctx { caller: Caller::WebIdentity(identity.clone()), ..ctx.clone() };
        let issued = self.take(&ctx, Op::AssumeRoleWithWebIdentity, address.clone(), bounds).await?;
        Ok((Federated { issued, identity }, address))
    }

    /// Who the bearer of a token is, if its issuer is trusted by the account and the token is the issuer's.
    async fn believe(&self, account: AccountId, text: &str, now: Timestamp) -> Result<Believed> {
        // Which issuers and roles are trusted is home's word, as much as which sessions have ended.
        self.check_freshness()?;
        if aws::is_proof(text) {
            return self.believe_aws(account, text, now).await;
        }
        let unverified = jwt::Unverified::parse(text)?;
        let named = unverified.issuer()?;
        let trusted = match Issuer::parse(named) {
            Ok(issuer) => self.store.snapshot().await?.tx().oidc_provider(account, &issuer).await?,
            Err(_) => None,
        };
        let Some(row) = trusted else {
            let issuer = named.chars().take(ISSUER_SHOWN).collect();
            return Err(identity::Error::ProviderUnknown { issuer }.into());
        };
        let issuers = self
            .issuers
            .get()
            .ok_or_else(|| Error::new(Reason::Unavailable, "this server has no way to ask issuers for their keys"))?;
        let provider = Provider { issuer: row.issuer.clone(), ca_pem: row.ca_pem.map(Arc::from) };
        let key = issuers.key(&provider, unverified.key_id()).await?;
        let key = key.ok_or(identity::Error::InvalidIdentityToken { what: "its issuer has no key of its kid" })?;
        let claims = unverified.verify(&key)?;
        let audience = claims.check(&row.client_ids, now)?;
        Ok(Believed {
            tags: claims.session_tags()?,
            source_identity: claims.source_identity()?,
            expires_at: claims.expires_at()?,
            identity: WebIdentity {
                account,
                issuer: row.issuer,
                subject: claims.subject()?.to_owned(),
                audience,
                claims: claims.plain(),
            },
        })
    }

    /// Who made a proof for AWS STS, if the account lets identities of AWS in and AWS says so; each proof is believed once.
    async fn believe_aws(&self, account: AccountId, text: &str, now: Timestamp) -> Result<Believed> {
        let sts = self.aws.get().ok_or_else(|| {
            Error::new(Reason::CallerUnknown, "this server takes no proofs of AWS identities: its [sts] is not aws")
        })?;
        let (organization, place) = (self.token_keys()?.organization(), sts.place());
        // What has to be signed is no secret: a client learns it from its refusal.
        let told = |error: identity::Error| {
            Error::from(error)
                .with("organization", organization)
                .with("sts_endpoint", &place.endpoint)
                .with("sts_region", &place.region)
        };
        let proof = aws::Proof::parse(text, place, organization, now).map_err(told)?;
        let issuer = Issuer::parse(aws::ISSUER)?;
        let trusted = self.store.snapshot().await?.tx().oidc_provider(account, &issuer).await?;
        let Some(row) = trusted else {
            return Err(identity::Error::ProviderUnknown { issuer: issuer.to_string() }.into());
        };
        if !row.client_ids.iter().any(|id| id == aws::AUDIENCE) {
            return Err(identity::Error::AudienceUnknown.into());
        }
        let identity = sts.caller_identity(&proof, organization).await.map_err(told)?;
        self.proofs.admit(proof.presented(), now).map_err(|error| match error {
            identity::Error::Replayed => {
                identity::Error::InvalidIdentityToken { what: "it was used before; sign a new one" }
            }
            other => other,
        })?;
        Ok(Believed {
            tags: Vec::new(),
            source_identity: None,
            expires_at: proof.presented().usable_until(),
            identity: WebIdentity {
                account,
                issuer,
                audience: aws::AUDIENCE.to_owned(),
                claims: identity.claims(),
                subject: identity.subject,
            },
        })
    }
}

/// How the audit names the bearer of a token that was not believed: by the issuer it claims, if that can be one.
fn claimed(token: &str) -> String {
    if aws::is_proof(token) {
        return format!("unproven:{}", aws::AUDIENCE);
    }
    let issuer = jwt::Unverified::parse(token).ok().and_then(|token| Issuer::parse(token.issuer().ok()?).ok());
    issuer.map_or_else(|| "unproven".to_owned(), |issuer| format!("unproven:{}", issuer.id()))
}

/// A session's name out of the bearer's: what no such name has becomes a dash.
fn name_of(subject: &str) -> SessionName {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(*c);
    let name: String = subject.chars().map(|c| if fits(&c) { c } else { '-' }).take(64).collect();
    SessionName::parse(&name).unwrap_or_else(|_| SessionName::parse("web-identity").expect("a name"))
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_session_is_named_after_the_bearer() {
        let named = |subject: &str| name_of(subject).to_string();
        assert_eq!(named("repo:acme/app:ref:refs/heads/main"), "repo-acme-app-ref-refs-heads-main");
        assert_eq!(named("a"), "web-identity");
        assert_eq!(named(&"\u{e9}".repeat(100)), "-".repeat(64));
    }
}
