//! The AWS wire: a signed call of it, what its refusals say, and the Rust SDK of AWS STS unmodified.

use crate::harness::{Answer, Region};
use crate::tenants::{allow, repository, role, trust, user};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use transship::clock::Timestamp;
use transship::identity::canonical::sha256;
use transship::identity::sign::{Credentials, headers};
use transship::identity::sigv4::{Request, Target};
use transship::names::Region as RegionName;
use transship::secret::Secret;

/// Who signs: an access key, and the session token beside it if it is temporary.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub secret: Secret<String>,
    pub token: Option<Secret<String>>,
}

/// A call of the AWS wire: its service, its operation, its body.
pub struct Call {
    pub service: &'static str,
    pub operation: &'static str,
    pub body: String,
}

impl Call {
    fn headers(&self, host: &str) -> Vec<(&'static str, String)> {
        let content =
            if self.service == "sts" { "application/x-www-form-urlencoded" } else { "application/x-amz-json-1.1" };
        let mut all = vec![("host", host.to_owned()), ("content-type", content.to_owned())];
        if self.service == "ecr" {
            all.push(("x-amz-target", format!("AmazonEC2ContainerRegistry_V20150921.{}", self.operation)));
        }
        all
    }

    /// Sends it as somebody, signed at a moment, or as nobody.
    pub async fn send(&self, base: &str, now: Timestamp, key: Option<&Key>) -> Answer {
        self.send_in(base, "us-east-1", now, key).await
    }

    /// The same to a region of another name.
    pub async fn send_in(&self, base: &str, region: &str, now: Timestamp, key: Option<&Key>) -> Answer {
        let host = base.strip_prefix("http://").unwrap();
        let mut sent: HeaderMap = HeaderMap::new();
        for (name, value) in self.headers(host) {
            sent.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        if let Some(key) = key {
            let (uri, name): (Uri, _) = ("/".parse().unwrap(), RegionName::parse(region).unwrap());
            let payload = sha256(self.body.as_bytes()).into();
            let request = Request { method: &Method::POST, uri: &uri, headers: &sent, payload };
            let target = Target { region: &name, service: self.service };
            let by = Credentials { access_key_id: &key.id, secret: &key.secret, session_token: key.token.as_ref() };
            let added = headers(&request, &by, &target, now).unwrap();
            sent.extend(added);
        }
        let http = crate::harness::Http::new(base, None);
        let sent: Vec<(&str, &str)> = sent
            .iter()
            .filter(|(name, _)| *name != "host")
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        http.call(Method::POST, "/", &sent, Bytes::from(self.body.clone())).await
    }
}

impl Call {
    /// Sends it to a region, signed by its clock.
    pub async fn to(&self, region: &Region, key: Option<&Key>) -> Answer {
        self.send(&region.base, region.app().clock().now(), key).await
    }
}

/// An image and two roles of dev's; the key of its admin.
pub async fn things(region: &Region) -> Key {
    let (id, secret) = region.access_key("dev");
    region.http("dev").await.push_image(&format!("{}/app", region.account("dev")), "v1", &[b"layer"]).await;
    let me = format!("arn:aws:iam::{}:user/admin", region.account("dev"));
    role(region, "dev", "builder", &trust(&me, None), &allow(&["ecr:*"], "*")).await;
    let prod = format!("arn:aws:iam::{}:root", region.account("prod"));
    role(region, "dev", "plain", &trust(&prod, None), &allow(&["ecr:*"], "*")).await;
    Key { id, secret: Secret::new(secret), token: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_rights_is_refused_with_the_reason_and_what_is_missing_looks_forbidden() {
    let region = Region::start().await;
    things(&region).await;
    let idle = user(&region, "prod", "idle", &allow(&["ecr:*"], "*")).await;
    let admin = region.admin("prod").await;
    let made = region.app().create_access_key(&admin, idle).await.unwrap();
    let key = Key { id: made.id, secret: made.secret, token: None };
    let describe = |name: &str| Call {
        service: "ecr",
        operation: "DescribeRepositories",
        body: serde_json::json!({"registryId": region.account("dev"), "repositoryNames": [name]}).to_string(),
    };
    let told = |answer: &Answer, name: &str| answer.text().replace(name, "NAME");
    let (there, missing) =
        (describe("app").to(&region, Some(&key)).await, describe("none").to(&region, Some(&key)).await);
    assert_eq!(told(&there, "app"), told(&missing, "none"));
    assert!(
        there.text().contains("is not authorized to perform: ecr:DescribeRepositories on resource"),
        "{}",
        there.text()
    );
    let address = repository(&region, "dev", "app");
    assert!(region.app().get_repository(&region.admin("dev").await, &address).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[allow(deprecated, reason = "the field is still what AWS answers")]
async fn the_rust_sdk_of_sts_takes_a_role_and_its_session_is_what_it_was_given() {
    use aws_sdk_sts::config::{BehaviorVersion, Builder, Credentials as Sdk, Region as SdkRegion};
    let region = Region::start().await;
    let key = things(&region).await;
    let client = |id: &str, secret: &str, token: Option<&str>| {
        let credentials = Sdk::new(id, secret, token.map(ToOwned::to_owned), None, "test");
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(SdkRegion::new("us-east-1"))
            .endpoint_url(&region.base)
            .credentials_provider(credentials);
        aws_sdk_sts::Client::from_conf(config.build())
    };
    let sts = client(&key.id, key.secret.expose(), None);
    let dev = region.account("dev");
    let role = format!("arn:aws:iam::{dev}:role/builder");
    let policy = allow(&["ecr:Describe*"], "*");
    let taken = sts.assume_role().role_arn(&role).role_session_name("night").policy(policy).send().await.unwrap();
    assert!(taken.packed_policy_size().is_some_and(|percent| (1..=100).contains(&percent)));
    let given = taken.credentials().unwrap();
    let as_role = client(given.access_key_id(), given.secret_access_key(), Some(given.session_token()));
    let who = as_role.get_caller_identity().send().await.unwrap();
    assert_eq!(who.arn(), Some(format!("arn:aws:sts::{dev}:assumed-role/builder/night").as_str()));
    assert!(who.user_id().is_some_and(|id| id.starts_with("AROA") && id.ends_with(":night")));
    let error = as_role.get_session_token().send().await.unwrap_err();
    assert_eq!(aws_sdk_sts::error::ProvideErrorMetadata::code(&error), Some("AccessDenied"));
    let missing = sts.assume_role().role_arn(format!("{role}s")).role_session_name("night").send().await.unwrap_err();
    assert_eq!(aws_sdk_sts::error::ProvideErrorMetadata::code(&missing), Some("AccessDenied"));
    let own = sts.get_session_token().duration_seconds(900).send().await.unwrap();
    assert!(own.credentials().unwrap().expiration().secs() > 0);
}
