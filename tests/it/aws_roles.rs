//! Roles of AWS that the broker takes. Another region of ours stands for AWS STS, which holds external ids and session
//! policies as AWS does; moto, which holds neither, is what a role must not be like.

use crate::aws::{Call, Key};
use crate::harness::{Organization, Region, eventually};
use crate::tenants::{self, allow, now, trust};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use transship::ctx::Ctx;
use transship::domain::aws_roles::NewAwsRole;
use transship::error::{Error, Reason};
use transship::identity::Endpoint;
use transship::identity::aws::Place;
use transship::identity::aws_roles::{Asked, AwsCredentials, AwsRoles};
use transship::names::{AwsRoleName, AwsRoleRef, PageSize, PrincipalName, Region as RegionName, RoleArn, SessionName};
use transship::secret::Secret;
use transship::upstream::{Broker, Credentials};

fn place(endpoint: &str) -> Place {
    Place { endpoint: Endpoint::parse(endpoint).unwrap(), region: RegionName::parse("us-east-1").unwrap() }
}

/// A region that stands for AWS, with a user that is the broker there.
pub struct Aws {
    pub region: Region,
    broker: PrincipalName,
}

impl Aws {
    /// Starts it, and has a region's broker be somebody there.
    pub async fn of(region: &Region) -> Self {
        let aws = Region::start().await;
        let broker = tenants::user(&aws, "dev", "broker", &allow(&["sts:AssumeRole"], "*")).await;
        let made = aws.app().create_access_key(&aws.admin("dev").await, broker.clone()).await.unwrap();
        let credentials = Credentials { access_key_id: made.id, secret_access_key: made.secret };
        region.app().aws_roles_from(Arc::new(Broker::new(&place(&aws.base), Some(credentials)).await));
        Self { region: aws, broker }
    }

    /// A role there which trusts the broker, with this external id or without any.
    async fn role(&self, name: &str, external_id: Option<&str>) -> RoleArn {
        let condition = external_id.map(|id| json!({"StringEquals": {"sts:ExternalId": id}}));
        let trusting = trust(self.broker.arn().as_str(), condition);
        let role = tenants::role(&self.region, "prod", name, &trusting, &allow(&["ecr:*", "iam:*"], "*")).await;
        RoleArn::parse(role.arn().as_str()).unwrap()
    }

    /// The ARN of a role there that is made later.
    fn arn(&self, name: &str) -> RoleArn {
        RoleArn::parse(&format!("arn:aws:iam::{}:role/{name}", self.region.account("prod"))).unwrap()
    }

    /// Registers a role there for dev, as dev's admin, and has it be let to the broker as it must be.
    pub async fn registered(&self, region: &Region, name: &str) -> AwsRoleRef {
        let (admin, role) = (region.admin("dev").await, named(region, name));
        let row = region.app().put_aws_role(&admin, role.clone(), new(self.arn(name))).await.unwrap();
        self.role(name, Some(&row.external_id)).await;
        region.app().verify_aws_role(&now(region, &admin), &role).await.unwrap();
        role
    }

    /// How many sessions of prod's were taken there.
    async fn taken(&self) -> usize {
        let (admin, prod) = (self.region.admin("prod").await, self.region.account("prod"));
        self.region.app().list_sessions(&admin, prod, None, PageSize::clamp(1_000)).await.unwrap().len()
    }
}

fn named(region: &Region, name: &str) -> AwsRoleRef {
    AwsRoleRef { account: region.account("dev"), name: AwsRoleName::parse(name).unwrap() }
}

fn new(arn: RoleArn) -> NewAwsRole {
    NewAwsRole { arn, policy: allow(&["ecr:DescribeRegistry"], "*"), duration_secs: 900 }
}

async fn given(region: &Region, ctx: &Ctx, role: &AwsRoleRef) -> Result<AwsCredentials, Error> {
    region.app().aws_credentials(&now(region, ctx), role).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_used_once_it_is_seen_to_ask_for_the_external_id_and_its_sessions_are_cut_down() {
    let region = Region::start().await;
    let aws = Aws::of(&region).await;
    let (admin, role) = (region.admin("dev").await, named(&region, "logs"));
    let app = region.app();
    let row = app.put_aws_role(&admin, role.clone(), new(aws.arn("logs"))).await.unwrap();
    assert!(row.external_id.starts_with("transship-") && row.verified_at.is_none());
    let early = given(&region, &admin, &role).await.map(drop).unwrap_err();
    assert!(early.message.contains("was not verified yet"), "{early}");
    let verify = async || app.verify_aws_role(&now(&region, &admin), &role).await.map(drop).map_err(|e| e.message);
    assert!(verify().await.unwrap_err().contains("is not let to this server"), "there is no such role yet");
    aws.role("open", None).await;
    app.put_aws_role(&admin, role.clone(), new(aws.arn("open"))).await.unwrap();
    assert!(verify().await.unwrap_err().contains("without an external id"));
    let any = json!({"StringLike": {"sts:ExternalId": "transship-*"}});
    let trusting = trust(aws.broker.arn().as_str(), Some(any));
    tenants::role(&aws.region, "prod", "any", &trusting, &allow(&["ecr:*"], "*")).await;
    app.put_aws_role(&admin, role.clone(), new(aws.arn("any"))).await.unwrap();
    assert!(verify().await.unwrap_err().contains("with any external id"), "another account's would do as well");
    let again = app.put_aws_role(&admin, role.clone(), new(aws.arn("logs"))).await.unwrap();
    assert_eq!(again.external_id, row.external_id, "the external id is the name's");
    aws.role("logs", Some(&row.external_id)).await;
    verify().await.unwrap();

    let credentials = given(&region, &admin, &role).await.unwrap();
    let (id, secret, token) =
        (credentials.access_key_id.clone(), credentials.secret.clone(), credentials.session_token.clone());
    let key = Key { id, secret, token: Some(token) };
    let asks = async |service, operation, body: &str| {
        Call { service, operation, body: body.to_owned() }.to(&aws.region, Some(&key)).await.text()
    };
    let who = asks("sts", "GetCallerIdentity", "Action=GetCallerIdentity&Version=2011-06-15").await;
    let dev = region.account("dev");
    let expected = format!("assumed-role/logs/{dev}-user-admin-");
    assert!(who.contains(&expected), "AWS's logs say for whom: {who}");
    let policy = asks("ecr", "GetRegistryPolicy", "{}").await;
    assert!(policy.contains("no session policy allows"), "the role may, the session may not: {policy}");

    // Another role under the name is another to be verified.
    app.put_aws_role(&admin, role.clone(), new(aws.arn("open"))).await.unwrap();
    assert!(given(&region, &admin, &role).await.map(drop).unwrap_err().message.contains("was not verified yet"));
    app.delete_aws_role(&admin, &role).await.unwrap();
    assert_eq!(given(&region, &admin, &role).await.map(drop).unwrap_err().reason, Reason::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_taken_once_for_all_who_ask_and_again_five_minutes_before_its_end() {
    let region = Region::start().await;
    let aws = Aws::of(&region).await;
    let role = aws.registered(&region, "logs").await;
    let admin = region.admin("dev").await;
    let before = aws.taken().await;
    let all = futures::future::join_all((0..16).map(|_| given(&region, &admin, &role))).await;
    let first = all[0].as_ref().unwrap().access_key_id.clone();
    assert!(all.iter().all(|one| one.as_ref().unwrap().access_key_id == first));
    assert_eq!(given(&region, &admin, &role).await.unwrap().access_key_id, first);
    assert_eq!(aws.taken().await, before + 1);
    // Whoever else asks has a session of its own.
    let rights = allow(&["transship:GetAwsCredentials"], role.arn().as_str());
    let ann = tenants::user(&region, "dev", "ann", &rights).await;
    let other = given(&region, &region.caller(ann).await, &role).await.unwrap();
    assert_ne!(other.access_key_id, first);
    region.app().clock().advance(Duration::from_secs(595));
    assert_eq!(given(&region, &admin, &role).await.unwrap().access_key_id, first);
    region.app().clock().advance(Duration::from_secs(10));
    assert_ne!(given(&region, &admin, &role).await.unwrap().access_key_id, first);
    // What it is cut down to is part of what a session is.
    let narrower = NewAwsRole { policy: allow(&["ecr:DescribeImages"], "*"), ..new(aws.arn("logs")) };
    let held = given(&region, &admin, &role).await.unwrap().access_key_id;
    region.app().put_aws_role(&admin, role.clone(), narrower).await.unwrap();
    assert_ne!(given(&region, &admin, &role).await.unwrap().access_key_id, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_leave_has_no_credentials_and_none_that_allow_everything() {
    let region = Region::start().await;
    let aws = Aws::of(&region).await;
    let role = aws.registered(&region, "logs").await;
    let before = aws.taken().await;
    let elsewhere = allow(&["transship:GetAwsCredentials"], &role.arn().as_str().replace("logs", "other"));
    let ann = tenants::user(&region, "dev", "ann", &elsewhere).await;
    for ctx in [region.caller(ann).await, region.admin("prod").await] {
        assert_eq!(given(&region, &ctx, &role).await.map(drop).unwrap_err().reason, Reason::AccessDenied);
    }
    assert_eq!(aws.taken().await, before, "AWS was not asked");
    let admin = region.admin("dev").await;
    let but =
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}}"#.to_owned();
    for policy in [allow(&["*"], "*"), allow(&["*", "s3:Get*"], "*"), but] {
        let everything = NewAwsRole { policy, ..new(aws.arn("logs")) };
        let refused = region.app().put_aws_role(&admin, named(&region, "all"), everything).await.unwrap_err();
        assert_eq!(refused.reason, Reason::MalformedPolicy);
    }
    let long = NewAwsRole { duration_secs: 3_601, ..new(aws.arn("logs")) };
    let refused = region.app().put_aws_role(&admin, named(&region, "long"), long).await.unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_aws_and_an_aws_that_is_away_are_told_apart() {
    let region = Region::start().await;
    let (admin, role) = (region.admin("dev").await, named(&region, "logs"));
    let arn = RoleArn::parse("arn:aws:iam::210987654321:role/logs").unwrap();
    region.app().put_aws_role(&admin, role.clone(), new(arn)).await.unwrap();
    let verify = async || region.app().verify_aws_role(&now(&region, &admin), &role).await.map(drop).unwrap_err();
    assert_eq!(verify().await.reason, Reason::Unsupported);
    let nobody = format!("http://127.0.0.1:{}", crate::harness::free_port());
    let credentials = Credentials { access_key_id: "AKIA".to_owned(), secret_access_key: Secret::new("s".to_owned()) };
    region.app().aws_roles_from(Arc::new(Broker::new(&place(&nobody), Some(credentials)).await));
    let away = verify().await;
    assert_eq!((away.reason, away.message.as_str()), (Reason::Unavailable, "AWS STS does not answer; try again"));
    assert!(!format!("{away}").contains("127.0.0.1"), "the server's network is its own: {away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_of_aws_are_known_in_every_region() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (admin, role) = (home.admin("dev").await, named(home, "logs"));
    let arn = RoleArn::parse("arn:aws:iam::210987654321:role/logs").unwrap();
    let row = home.app().put_aws_role(&admin, role.clone(), new(arn)).await.unwrap();
    let listed = async || {
        let admin = away.admin("dev").await;
        away.app().list_aws_roles(&admin, away.account("dev"), "", PageSize::clamp(0)).await.unwrap()
    };
    eventually("the role", async || (listed().await == std::slice::from_ref(&row)).then_some(())).await;
    home.app().delete_aws_role(&admin, &role).await.unwrap();
    eventually("its end", async || listed().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_gives_roles_to_anybody_and_so_none_of_its_roles_is_used() {
    let Ok(endpoint) = std::env::var("TRANSSHIP_TEST_KMS_ENDPOINT") else {
        println!("not run: TRANSSHIP_TEST_KMS_ENDPOINT names no server");
        return;
    };
    let credentials = Credentials { access_key_id: "AKIA".to_owned(), secret_access_key: Secret::new("s".to_owned()) };
    let broker = Broker::new(&place(&endpoint), Some(credentials)).await;
    let (role, session_name) =
        (RoleArn::parse("arn:aws:iam::210987654321:role/logs").unwrap(), SessionName::parse("night").unwrap());
    let policy = allow(&["s3:GetObject"], "arn:aws:s3:::logs/*");
    let asked = Asked {
        role: &role,
        session_name: &session_name,
        external_id: Some("mine"),
        policy: &policy,
        duration: Duration::from_secs(900),
    };
    let taken = broker.assume(&asked).await.unwrap();
    assert!(taken.access_key_id.starts_with("ASIA") && taken.expires_at > transship::clock::Clock::system().now());
    let region = Region::start().await;
    region.app().aws_roles_from(Arc::new(broker));
    let (admin, name) = (region.admin("dev").await, named(&region, "logs"));
    region.app().put_aws_role(&admin, name.clone(), new(role)).await.unwrap();
    let refused = region.app().verify_aws_role(&now(&region, &admin), &name).await.unwrap_err();
    assert!(refused.message.contains("without an external id"), "{refused}");
    assert_eq!(given(&region, &admin, &name).await.map(drop).unwrap_err().reason, Reason::InvalidArgument);
}
