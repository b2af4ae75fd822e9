//! Identities of AWS: a presigned `GetCallerIdentity` as an identity token. Another region of ours stands for AWS STS, for it
//! verifies signatures and answers as AWS does.

use crate::federation::{code, now, shown};
use crate::harness::Region;
use crate::tenants::{self, allow};
use http::StatusCode;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use transship::clock::Timestamp;
use transship::identity::{Endpoint, aws, sign};
use transship::names::{Issuer, PrincipalName, Region as RegionName, Uid};
use transship::secret::Secret;

/// A region whose AWS STS is there.
async fn trusting(sts: &str) -> Region {
    Region::configured(&format!("[sts]\nkind = \"aws\"\nendpoint = \"{sts}\"\n")).await
}

/// Has dev let identities of AWS in, and makes a role for the one of this ARN.
async fn role_for(region: &Region, subject: &str) -> PrincipalName {
    let (ctx, dev) = (region.admin("dev").await, region.account("dev"));
    let clients = vec![aws::AUDIENCE.to_owned()];
    region.app().put_oidc_provider(&ctx, dev, Issuer::parse(aws::ISSUER).unwrap(), clients, None).await.unwrap();
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::{dev}:oidc-provider/sts.amazonaws.com")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {"sts.amazonaws.com:sub": subject}}}});
    tenants::role(region, "dev", "from-aws", &trust.to_string(), &allow(&["ecr:*"], "*")).await
}

/// Keys of a region that stands for AWS.
struct Keys {
    id: String,
    secret: Secret<String>,
}

impl Keys {
    async fn of(aws: &Region, user: &PrincipalName) -> Self {
        let admin = aws.admin("dev").await;
        let made = aws.app().create_access_key(&admin, user.clone()).await.unwrap();
        Self { id: made.id, secret: made.secret }
    }

    /// A proof for STS there, for an organization; each lasts a second longer, so that no two are the same.
    fn token(&self, sts: &str, organization: Uid, at: Timestamp) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let credentials = sign::Credentials { access_key_id: &self.id, secret: &self.secret, session_token: None };
        let (endpoint, region) = (Endpoint::parse(sts).unwrap(), RegionName::parse("us-east-1").unwrap());
        let life = Duration::from_secs(60 + MADE.fetch_add(1, Ordering::Relaxed));
        aws::token(&sign::presign_get_caller_identity(&endpoint, &region, &credentials, at, life, organization, None))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_somebody_to_aws_takes_the_role_that_names_it() {
    let sts = Region::start().await;
    let user = tenants::user(&sts, "dev", "builder", &allow(&["ecr:*"], "*")).await;
    let other = tenants::user(&sts, "dev", "other", &allow(&["*"], "*")).await;
    let region = trusting(&sts.base).await;
    let role = role_for(&region, user.arn().as_str()).await;
    let organization = region.app().token_keys().unwrap().organization();
    let clock = transship::clock::Clock::system();
    let (keys, strange) = (Keys::of(&sts, &user).await, Keys::of(&sts, &other).await);
    let token = |keys: &Keys| keys.token(&sts.base, organization, clock.now());

    let first = token(&keys);
    assert_eq!(code(&region, &role, &first).await, "ok");
    assert_eq!(code(&region, &role, &first).await, "400 InvalidIdentityToken", "a proof is believed once");
    assert_eq!(code(&region, &role, &token(&strange)).await, "403 AccessDenied", "the trust policy names another");

    // As a password it is shown again and again, by many at once.
    let password = token(&keys);
    let all = futures::future::join_all((0..8).map(|_| shown(&region, &role, &password, "/v2/"))).await;
    assert!(all.iter().all(|status| *status == StatusCode::OK), "{all:?}");
    assert_ne!(shown(&region, &role, &token(&strange), "/v2/").await, StatusCode::OK);

    // Not for this organization, with a wrong secret, too old, for another place, or no proof at all.
    let wrong = Keys { id: keys.id.clone(), secret: Secret::new("wrong".to_owned()) };
    let old = Timestamp::from_secs(now(&region) - 120);
    for (bad, why) in [
        (keys.token(&sts.base, clock.uid(), clock.now()), "400 InvalidIdentityToken"),
        (token(&wrong), "400 InvalidIdentityToken"),
        (keys.token(&sts.base, organization, old), "400 ExpiredTokenException"),
        (keys.token(&region.base, organization, clock.now()), "400 InvalidIdentityToken"),
        (aws::PREFIX.to_owned(), "400 InvalidIdentityToken"),
    ] {
        assert_eq!(code(&region, &role, &bad).await, why, "{bad}");
        assert_ne!(shown(&region, &role, &bad, "/v2/").await, StatusCode::OK, "{bad}");
    }

    // The account lets nobody of AWS in any more: not even who is in.
    let (ctx, dev) = (region.admin("dev").await, region.account("dev"));
    region.app().delete_oidc_provider(&ctx, dev, Issuer::parse(aws::ISSUER).unwrap()).await.unwrap();
    assert_eq!(code(&region, &role, &token(&keys)).await, "400 InvalidIdentityToken");
    assert_ne!(shown(&region, &role, &password, "/v2/").await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_aws_takes_no_such_proof() {
    let region = Region::start().await;
    let role = role_for(&region, "arn:aws:iam::210987654321:user/eve").await;
    assert_ne!(code(&region, &role, &aws::token("https://sts.us-east-1.amazonaws.com/?x")).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_for_identities_of_aws_says_which() {
    let region = Region::start().await;
    let (admin, dev) = (region.admin("dev").await, region.account("dev"));
    let name = transship::names::RoleName::parse("open").unwrap();
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::{dev}:oidc-provider/sts.amazonaws.com")},
        "Action": "sts:AssumeRoleWithWebIdentity"}});
    let refused = region.app().create_role(&admin, dev, &name, &trust.to_string(), 3_600).await.unwrap_err();
    assert!(refused.message.contains("sts.amazonaws.com:sub"), "{refused}");
}

/// A server that answers each request with these bytes.
async fn answering(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = vec![0; 8_192];
            let _ = socket.read(&mut asked).await;
            let _ = socket.write_all(bytes.as_bytes()).await;
        }
    });
    url
}

/// The document that would let eve in, behind whatever is wrong with the answer.
const EVE: &str = r#"{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"210987654321","Arn":"arn:aws:iam::210987654321:user/eve","UserId":"AIDAX"},"ResponseMetadata":{"RequestId":"1"}}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_other_answer_than_that_of_sts_is_believed() {
    let clock = transship::clock::Clock::system();
    let answer = |head: &str, body: &str| -> &'static str {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).leak()
    };
    let json = "content-type: application/json";
    let long = format!("{EVE}{}", " ".repeat(20_000));
    for (bytes, expected) in [
        (answer(&format!("200 OK\r\n{json}"), EVE), "ok"),
        (answer("200 OK\r\ncontent-type: text/xml", EVE), "400 IDPCommunicationError"),
        (answer(&format!("302 Found\r\nlocation: http://127.0.0.1:1/\r\n{json}"), EVE), "400 IDPCommunicationError"),
        (answer(&format!("500 Broken\r\n{json}"), EVE), "400 IDPCommunicationError"),
        (answer(&format!("429 Slowly\r\n{json}"), EVE), "400 IDPCommunicationError"),
        (answer(&format!("403 Forbidden\r\n{json}"), EVE), "400 InvalidIdentityToken"),
        (answer(&format!("200 OK\r\n{json}"), &format!("[{EVE}]")), "400 InvalidIdentityToken"),
        (answer(&format!("200 OK\r\n{json}"), &long), "400 IDPCommunicationError"),
    ] {
        let sts = answering(bytes).await;
        let region = trusting(&sts).await;
        let role = role_for(&region, "arn:aws:iam::210987654321:user/eve").await;
        let keys = Keys { id: "AKIAAAAAAAAAAAAAAAAA".to_owned(), secret: Secret::new("any".to_owned()) };
        let organization = region.app().token_keys().unwrap().organization();
        let token = keys.token(&sts, organization, clock.now());
        assert_eq!(code(&region, &role, &token).await, expected, "{}", &bytes[..60]);
    }
}

/// What a command of the program says as somebody that AWS knows: whether it succeeded, and all that it printed.
async fn command(words: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_transship"));
    command.args(words).env_clear().envs(environment.iter().copied()).env("AWS_EC2_METADATA_DISABLED", "true");
    let told = command.output().await.unwrap();
    let text = [told.stdout, told.stderr].concat();
    (told.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_shows_who_it_is_to_aws_to_the_organization_it_means_and_to_no_other() {
    let sts = Region::start().await;
    let user = tenants::user(&sts, "dev", "builder", &allow(&["ecr:*"], "*")).await;
    let keys = Keys::of(&sts, &user).await;
    let region = trusting(&sts.base).await;
    let role = role_for(&region, user.arn().as_str()).await;
    let (arn, organization) = (role.arn().to_string(), region.app().token_keys().unwrap().organization().to_string());
    let other = transship::clock::Clock::system().uid().to_string();
    let whoami = async |more: &[(&str, &str)]| {
        let known = [
            ("AWS_ACCESS_KEY_ID", keys.id.as_str()),
            ("AWS_SECRET_ACCESS_KEY", keys.secret.expose().as_str()),
            ("TRANSSHIP_AWS_ROLE_ARN", arn.as_str()),
        ];
        let environment: Vec<(&str, &str)> = known.into_iter().chain(more.iter().copied()).collect();
        command(&["whoami", "--endpoint", &region.base, "--output", "json"], &environment).await
    };
    for wrong in [vec![], vec![("TRANSSHIP_ORGANIZATION", other.as_str())]] {
        let (ok, told) = whoami(&wrong).await;
        assert!(!ok && told.contains(&format!("TRANSSHIP_ORGANIZATION={organization}")), "{told}");
    }
    let meant = ("TRANSSHIP_ORGANIZATION", organization.as_str());
    let (ok, told) = whoami(&[meant]).await;
    assert!(ok && told.contains("assumed-role/from-aws/transship"), "{told}");
    let (ok, told) = whoami(&[meant, ("AWS_ACCESS_KEY_ID", "")]).await;
    assert!(!ok && told.contains("there are no credentials of AWS here"), "{told}");
}
