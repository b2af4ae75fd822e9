use super::*;
use crate::clock::Clock;
use crate::ctx::Session;
use crate::error::Reason;
use crate::names::{AccountId, PrincipalKind, Region, SessionName, Uid};
use canonical::sha256;
use http::{Method, Uri};
use std::time::Duration;

const KEY: &str = "AKIAAAAAAAAAAAAAAAAA";

/// One user with a key, one role; switches for what may change under a living session.
struct Fixture {
    keys: TokenKeys,
    secret: Secret<String>,
    revoked: Vec<Uid>,
    role_id: &'static str,
    directory_fails: bool,
}

#[async_trait]
impl Directory for Fixture {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>> {
        if self.directory_fails {
            return Err(crate::error::Error::new(Reason::Unavailable, "the store does not answer"));
        }
        let key =
            AccessKey { secret: self.secret.clone(), principal: user(), unique_id: Arc::from("AIDAAAAAAAAAAAAAAAAAA") };
        Ok((id == KEY).then_some(key))
    }

    async fn stand(&self, claims: &Claims) -> Result<bool> {
        let known = claims.principal == role() && *claims.unique_id == *self.role_id;
        Ok(known && !self.revoked.contains(&claims.session.id))
    }
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_790_208_000)
}

fn user() -> PrincipalName {
    PrincipalName { account: AccountId::from_seed(1), kind: PrincipalKind::User, name: Arc::from("ada") }
}

fn role() -> PrincipalName {
    PrincipalName { account: AccountId::from_seed(2), kind: PrincipalKind::Role, name: Arc::from("deployer") }
}

fn organization() -> Uid {
    Uid::from_bytes([7; 16])
}

fn region() -> Region {
    Region::parse("us-east-1").unwrap()
}

fn fixture() -> Fixture {
    let key = TokenKey { id: 1, secret: Secret::new([1; 32]) };
    Fixture {
        keys: TokenKeys::new(organization(), key, Vec::new(), Clock::system()),
        secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        revoked: Vec::new(),
        role_id: "AROAAAAAAAAAAAAAAAAAA",
        directory_fails: false,
    }
}

fn claims(kind: Kind) -> Claims {
    Claims {
        kind,
        principal: role(),
        unique_id: Arc::from("AROAAAAAAAAAAAAAAAAAA"),
        session: Session {
            id: Uid::from_bytes([3; 16]),
            name: Some(SessionName::parse("ci-run").unwrap()),
            issued_at: now(),
            expires_at: now().plus(Duration::from_secs(3_600)),
            policies: Some(vec![Arc::from("{}")]),
            scope: None,
            bounds: Vec::new(),
            source_identity: None,
            tags: Vec::new(),
            provider: None,
            mfa: crate::ctx::Mfa::Unasked,
        },
    }
}

impl Fixture {
    async fn token(&self, text: &str, allowed: &[Kind]) -> Result<String> {
        Ok(from_token(text, allowed, self, &self.keys, now()).await?.display())
    }

    async fn signature(&self, key: &str, secret: &Secret<String>, token: Option<&Secret<String>>) -> Result<String> {
        self.signature_for("ecr", now(), key, secret, token).await
    }

    /// Signs for `ecr` now; verifies for some service at some time.
    async fn signature_for(
        &self,
        service: &str,
        at: Timestamp,
        key: &str,
        secret: &Secret<String>,
        token: Option<&Secret<String>>,
    ) -> Result<String> {
        let region = region();
        let uri: Uri = "https://registry.example/".parse().unwrap();
        let mut sent = HeaderMap::new();
        let target = Target { region: &region, service: "ecr" };
        let request = Request { method: &Method::POST, uri: &uri, headers: &sent, payload: sha256(b"{}").into() };
        let credentials = sign::Credentials { access_key_id: key, secret, session_token: token };
        let added = sign::headers(&request, &credentials, &target, now()).unwrap();
        sent.extend(added);
        let request = Request { method: &Method::POST, uri: &uri, headers: &sent, payload: sha256(b"{}").into() };
        let target = Target { service, ..target };
        Ok(from_signature(&request, &target, self, &self.keys, at).await?.display())
    }

    async fn proof(&self, url: &str, replays: &ReplayCache, at: Timestamp) -> Result<String> {
        let (region, endpoints) = (region(), [Endpoint::parse("https://registry.example").unwrap()]);
        let expected = proof::Expected { endpoints: &endpoints, region: &region, organization: organization() };
        Ok(from_proof(url, &expected, replays, self, &self.keys, at).await?.display())
    }

    fn url(&self, key: &str, secret: &Secret<String>, token: Option<&Secret<String>>) -> String {
        let credentials = sign::Credentials { access_key_id: key, secret, session_token: token };
        let endpoint = Endpoint::parse("https://registry.example").unwrap();
        let life = Duration::from_secs(60);
        sign::presign_get_caller_identity(
            &endpoint,
            &region(),
            &credentials,
            now(),
            life,
            organization(),
            Some(Uid::from_bytes([9; 16])),
        )
    }
}

fn code(result: Result<String>) -> (Reason, String, Option<String>) {
    let error = result.expect_err("refused");
    (error.reason, error.message, error.metadata.get("code").cloned())
}

const SESSION: &str = "arn:aws:sts::100000000002:assumed-role/deployer/ci-run";
const USER: &str = "arn:aws:iam::100000000001:user/ada";

#[tokio::test]
async fn a_user_signs_with_its_key() {
    let fixture = fixture();
    assert_eq!(fixture.signature(KEY, &fixture.secret, None).await.unwrap(), USER);
}

#[tokio::test]
async fn a_signature_holds_for_its_time_and_service() {
    let fixture = fixture();
    for (service, seconds, expected) in
        [("ecr", 300, None), ("ecr", 301, Some("RequestTimeTooSkewed")), ("sts", 0, Some("IncompleteSignature"))]
    {
        let at = now().plus(Duration::from_secs(seconds));
        let result = fixture.signature_for(service, at, KEY, &fixture.secret, None).await;
        assert_eq!(result.is_ok(), expected.is_none(), "{service} {seconds}");
        let given = result.err().map(|error| error.metadata["code"].clone());
        assert_eq!(given.as_deref(), expected, "{service} {seconds}");
    }
}

#[tokio::test]
async fn an_unknown_key_and_a_wrong_secret_look_the_same() {
    let fixture = fixture();
    let wrong = Secret::new("wrong".to_owned());
    let unknown = code(fixture.signature("AKIABBBBBBBBBBBBBBBB", &fixture.secret, None).await);
    assert_eq!(unknown.2.as_deref(), Some("SignatureDoesNotMatch"));
    assert_eq!(code(fixture.signature(KEY, &wrong, None).await), unknown);
    assert_eq!(code(fixture.signature("ASIAAAAAAAAAAAAAAAAA", &wrong, None).await), unknown);
    assert_eq!(
        code(fixture.signature("AKIABBBBBBBBBBBBBBBB", &decoy(), None).await),
        unknown,
        "the decoy admits no one"
    );
}

#[tokio::test]
async fn a_session_signs_with_its_own_key_pair_and_token() {
    let fixture = fixture();
    let issued = fixture.keys.temporary_credentials(&claims(Kind::Session)).unwrap();
    let (id, secret, token) = (issued.access_key_id.as_str(), &issued.secret, &issued.session_token);
    assert_eq!(fixture.signature(id, secret, Some(token)).await.unwrap(), SESSION);

    let mut other = claims(Kind::Session);
    other.session.id = Uid::from_bytes([4; 16]);
    let other = fixture.keys.temporary_credentials(&other).unwrap();
    let bearer = Secret::new(fixture.keys.seal(&claims(Kind::Bearer)).unwrap());
    let registry = Secret::new(fixture.keys.seal(&claims(Kind::Registry)).unwrap());
    let junk = Secret::new("junk".to_owned());
    let invalid = "InvalidClientTokenId";
    let mismatch = "SignatureDoesNotMatch";
    for (what, id, secret, token, expected) in [
        ("no token", id, secret, None, mismatch),
        ("junk", id, secret, Some(&junk), invalid),
        ("a bearer token", id, secret, Some(&bearer), invalid),
        ("a registry token", id, secret, Some(&registry), invalid),
        ("another session's token", id, secret, Some(&other.session_token), invalid),
        ("another session's key id", other.access_key_id.as_str(), secret, Some(token), invalid),
        ("another session's secret", id, &other.secret, Some(token), mismatch),
        ("a user's key with a token", KEY, &fixture.secret, Some(token), invalid),
        ("the decoy", id, &decoy(), Some(&junk), invalid),
    ] {
        let refused = code(fixture.signature(id, secret, token).await);
        assert_eq!((refused.0, refused.2.as_deref()), (Reason::CallerUnknown, Some(expected)), "{what}");
    }
}

#[tokio::test]
async fn each_kind_of_token_opens_its_own_doors_only() {
    let fixture = fixture();
    let signature: &[Kind] = &[];
    for (kind, registry, grpc) in
        [(Kind::Session, false, false), (Kind::Registry, true, false), (Kind::Bearer, true, true)]
    {
        let text = fixture.keys.seal(&claims(kind)).unwrap();
        assert_eq!(fixture.token(&text, Kind::ON_REGISTRY).await.is_ok(), registry, "{kind:?}");
        assert_eq!(fixture.token(&text, Kind::ON_GRPC).await.is_ok(), grpc, "{kind:?}");
        let refused = code(fixture.token(&text, signature).await);
        assert_eq!(refused, code(fixture.token("ts1.junk", Kind::ON_GRPC).await), "{kind:?}");
    }
    let text = fixture.keys.seal(&claims(Kind::Bearer)).unwrap();
    assert_eq!(fixture.token(&text, Kind::ON_GRPC).await.unwrap(), SESSION);
}

#[tokio::test]
async fn a_session_ends_when_revoked_expired_or_its_principal_is_made_anew() {
    let text = fixture().keys.seal(&claims(Kind::Bearer)).unwrap();
    let invalid = code(fixture().token("ts1.junk", Kind::ON_GRPC).await);

    let revoked = Fixture { revoked: vec![Uid::from_bytes([3; 16])], ..fixture() };
    assert_eq!(code(revoked.token(&text, Kind::ON_GRPC).await), invalid);
    let recreated = Fixture { role_id: "AROABBBBBBBBBBBBBBBBB", ..fixture() };
    assert_eq!(code(recreated.token(&text, Kind::ON_GRPC).await), invalid);

    for fixture in [revoked, recreated] {
        let issued = fixture.keys.temporary_credentials(&claims(Kind::Session)).unwrap();
        let signed = fixture.signature(&issued.access_key_id, &issued.secret, Some(&issued.session_token)).await;
        assert_eq!(code(signed), invalid);
    }

    let mut old = claims(Kind::Session);
    old.session.expires_at = now();
    let fixture = fixture();
    let issued = fixture.keys.temporary_credentials(&old).unwrap();
    let signed = fixture.signature(&issued.access_key_id, &issued.secret, Some(&issued.session_token)).await;
    let expired = code(signed);
    assert_eq!((expired.0, expired.2.as_deref()), (Reason::CredentialsExpired, Some("ExpiredToken")));
}

#[tokio::test]
async fn a_proof_is_accepted_once() {
    let (fixture, replays) = (fixture(), ReplayCache::default());
    let url = fixture.url(KEY, &fixture.secret, None);
    assert_eq!(fixture.proof(&url, &replays, now()).await.unwrap(), USER);
    assert_eq!(code(fixture.proof(&url, &replays, now()).await).1, Error::Replayed.to_string());

    let issued = fixture.keys.temporary_credentials(&claims(Kind::Session)).unwrap();
    let url = fixture.url(&issued.access_key_id, &issued.secret, Some(&issued.session_token));
    assert_eq!(fixture.proof(&url, &replays, now()).await.unwrap(), SESSION);
}

#[tokio::test]
async fn a_refused_proof_is_not_remembered() {
    let (fixture, replays) = (fixture(), ReplayCache::with_capacity(1));
    let wrong = Secret::new("wrong".to_owned());
    for _ in 0..3 {
        let refused = code(fixture.proof(&fixture.url(KEY, &wrong, None), &replays, now()).await);
        assert_eq!(refused.2.as_deref(), Some("SignatureDoesNotMatch"));
    }
    let url = fixture.url(KEY, &fixture.secret, None);
    let late = now().plus(Duration::from_secs(61));
    assert_eq!(code(fixture.proof(&url, &replays, late).await).2.as_deref(), Some("RequestTimeTooSkewed"));
    assert!(fixture.proof(&url, &replays, now().plus(Duration::from_secs(60))).await.is_ok());
    let issued = fixture.keys.temporary_credentials(&claims(Kind::Session)).unwrap();
    let url = fixture.url(&issued.access_key_id, &issued.secret, Some(&issued.session_token));
    assert_eq!(code(fixture.proof(&url, &replays, now()).await).0, Reason::Throttled);
}

#[tokio::test]
async fn a_failing_directory_is_no_refusal() {
    let fixture = Fixture { directory_fails: true, ..fixture() };
    assert_eq!(code(fixture.signature(KEY, &fixture.secret, None).await).0, Reason::Unavailable);
}
