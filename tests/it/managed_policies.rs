//! Managed policies: attached they give, as boundaries they bound, passed to a session they narrow it.

use crate::aws::{Call, Key};
use crate::harness::{Organization, Region, eventually};
use crate::tenants::{self, allow, asking, now, repository, trust};
use serde_json::json;
use std::collections::BTreeMap;
use transship::ctx::Ctx;
use transship::domain::federated_users::GetFederationToken;
use transship::domain::follow::{Entry, Stream};
use transship::domain::sessions::AssumeRole;
use transship::error::{Error, Reason};
use transship::names::{FederatedName, PolicyName, PolicyRef, PrincipalName};
use transship::secret::Secret;
use transship::store::directory::{Policy, PrincipalRow};
use transship::store::managed_policies::{Attachment, Purpose};

fn policy(region: &Region, account: &str, name: &str) -> PolicyRef {
    PolicyRef { account: region.account(account), name: PolicyName::parse(name).unwrap() }
}

async fn made(region: &Region, account: &str, name: &str, document: &str) -> PolicyRef {
    let policy = policy(region, account, name);
    region.app().create_policy(&region.admin(account).await, policy.clone(), document).await.unwrap();
    policy
}

/// What somebody is told who asks for a repository of dev's.
async fn reads(region: &Region, ctx: &Ctx) -> Result<(), Error> {
    let address = repository(region, "dev", "app");
    region.app().get_repository(&now(region, ctx), &address).await.map(drop)
}

/// A region with a repository `app` of dev's, and a user of dev's without rights of its own.
async fn with_user() -> (Region, PrincipalName) {
    let region = Region::start().await;
    region.http("dev").await.push_image(&format!("{}/app", region.account("dev")), "v1", &[b"layer"]).await;
    let user = tenants::user(&region, "dev", "ann", &allow(&["ecr:DescribeRegistry"], "*")).await;
    (region, user)
}

const READ: &[&str] = &["ecr:DescribeRepositories"];

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_policy_gives_until_it_is_detached_and_changes_for_all() {
    let (region, user) = with_user().await;
    let (admin, ctx) = (region.admin("dev").await, region.caller(user.clone()).await);
    let app = region.app();
    assert_eq!(reads(&region, &ctx).await.unwrap_err().reason, Reason::AccessDenied);
    let reader = made(&region, "dev", "reader", &allow(READ, "*")).await;
    app.attach_policy(&admin, user.clone(), &reader).await.unwrap();
    reads(&region, &ctx).await.unwrap();
    let used = app.delete_policy(&admin, reader.clone()).await.unwrap_err();
    assert_eq!(used.reason, Reason::InUse);
    assert!(used.message.contains("detach it first"), "{used}");
    app.update_policy(&admin, reader.clone(), &allow(&["ecr:DescribeImages"], "*")).await.unwrap();
    assert_eq!(reads(&region, &ctx).await.unwrap_err().reason, Reason::AccessDenied, "another document");
    app.update_policy(&admin, reader.clone(), &allow(READ, "*")).await.unwrap();
    reads(&region, &ctx).await.unwrap();
    app.detach_policy(&admin, user.clone(), &reader).await.unwrap();
    assert_eq!(reads(&region, &ctx).await.unwrap_err().reason, Reason::AccessDenied);
    assert_eq!(app.detach_policy(&admin, user.clone(), &reader).await.unwrap_err().reason, Reason::NotFound);
    app.delete_policy(&admin, reader.clone()).await.unwrap();
    assert_eq!(app.attach_policy(&admin, user, &reader).await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_made_once_and_changed_only_under_their_own_permission() {
    let (region, user) = with_user().await;
    let (admin, dev) = (region.admin("dev").await, region.account("dev"));
    let reader = made(&region, "dev", "reader", &allow(READ, "*")).await;
    let again = region.app().create_policy(&admin, reader.clone(), &allow(&["*"], "*")).await.unwrap_err();
    assert_eq!(again.reason, Reason::AlreadyExists);
    let absent = policy(&region, "dev", "absent");
    assert_eq!(
        region.app().update_policy(&admin, absent, &allow(READ, "*")).await.unwrap_err().reason,
        Reason::NotFound
    );
    // Who may make policies may not therefore change those there are, nor may who attaches to roles attach to users.
    let rights = allow(&["iam:CreatePolicy", "iam:AttachRolePolicy", "iam:PutRolePolicy"], "*");
    let maker = tenants::user(&region, "dev", "maker", &rights).await;
    let ctx = region.caller(maker).await;
    region.app().create_policy(&ctx, policy(&region, "dev", "own"), &allow(READ, "*")).await.unwrap();
    for denied in [
        region.app().update_policy(&ctx, reader.clone(), &allow(&["*"], "*")).await.map(drop).unwrap_err(),
        region.app().attach_policy(&ctx, user.clone(), &reader).await.unwrap_err(),
        region.app().put_principal_policy(&ctx, user.clone(), "more", &allow(&["*"], "*")).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(denied.reason, Reason::AccessDenied);
    }
    // Of another account nothing is attached.
    let foreign = made(&region, "prod", "reader", &allow(READ, "*")).await;
    assert_eq!(region.app().attach_policy(&admin, user, &foreign).await.unwrap_err().reason, Reason::InvalidArgument);
    let malformed = region.app().create_policy(&admin, policy(&region, "dev", "bad"), "{}").await.unwrap_err();
    assert_eq!(malformed.reason, Reason::MalformedPolicy);
    let rows = region.app().list_policies(&admin, dev, "", transship::names::PageSize::clamp(0)).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.policy.name.to_string()).collect();
    assert_eq!(names, ["own", "reader"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boundary_bounds_what_is_given_and_gives_nothing() {
    let (region, user) = with_user().await;
    let (admin, ctx, app) = (region.admin("dev").await, region.caller(user.clone()).await, region.app());
    let bound = made(&region, "dev", "bound", &allow(READ, "*")).await;
    app.put_boundary(&admin, user.clone(), &bound).await.unwrap();
    assert_eq!(reads(&region, &ctx).await.unwrap_err().reason, Reason::AccessDenied, "a boundary gives nothing");
    app.put_principal_policy(&admin, user.clone(), "given", &allow(&["*"], "*")).await.unwrap();
    reads(&region, &ctx).await.unwrap();
    let beyond = app.list_accounts(&now(&region, &ctx), "", transship::names::PageSize::clamp(0)).await.unwrap_err();
    assert!(
        beyond.message.ends_with("because no permissions boundary allows the organizations:ListAccounts action"),
        "{beyond}"
    );
    // Sessions that are made of it are bounded too.
    let issued = app.session_token(&now(&region, &ctx), None, None).await.unwrap();
    let (_, session) = tenants::bearer(&region, &issued).await;
    reads(&region, &session).await.unwrap();
    let narrow = allow(&["ecr:DescribeImages"], "*");
    app.update_policy(&admin, bound.clone(), &narrow).await.unwrap();
    for ctx in [&ctx, &session] {
        let refused = reads(&region, ctx).await.unwrap_err();
        assert!(refused.message.contains("no permissions boundary allows"), "{refused}");
        assert!(refused.metadata["statement"].contains("no boundary policy allows it"), "{refused:?}");
    }
    assert_eq!(app.delete_policy(&admin, bound).await.unwrap_err().reason, Reason::InUse);
    app.delete_boundary(&admin, user.clone()).await.unwrap();
    reads(&region, &ctx).await.unwrap();
    assert_eq!(app.delete_boundary(&admin, user).await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_policies_narrow_sessions_by_their_arns() {
    let (region, _) = with_user().await;
    let (dev, app) = (region.account("dev"), region.app());
    let me = trust(&format!("arn:aws:iam::{dev}:user/admin"), None);
    let role = tenants::role(&region, "dev", "wide", &me, &allow(&["*"], "*")).await;
    let read = made(&region, "dev", "read", &allow(READ, "*")).await;
    let other = made(&region, "dev", "other", &allow(&["ecr:DescribeImages"], "*")).await;
    let admin = region.admin("dev").await;
    let session = async |managed: Vec<PolicyRef>, policies: Vec<String>| {
        let request = AssumeRole { managed, policies, ..asking(&role) };
        let issued = app.assume_role(&now(&region, &admin), request).await?;
        Ok::<_, Error>(tenants::bearer(&region, &issued).await.1)
    };
    let narrow = session(vec![read.clone()], Vec::new()).await.unwrap();
    reads(&region, &narrow).await.unwrap();
    let listed = app.list_accounts(&narrow, "", transship::names::PageSize::clamp(0)).await.unwrap_err();
    assert!(listed.message.contains("because no session policy allows"), "{listed}");
    // They are OR-ed with each other and with those in line, and a session keeps what it was given.
    let both = session(vec![other.clone()], vec![allow(READ, "*")]).await.unwrap();
    reads(&region, &both).await.unwrap();
    let without = session(vec![other.clone()], Vec::new()).await.unwrap();
    assert_eq!(reads(&region, &without).await.unwrap_err().reason, Reason::AccessDenied);
    app.update_policy(&admin, other, &allow(READ, "*")).await.unwrap();
    assert_eq!(reads(&region, &without).await.unwrap_err().reason, Reason::AccessDenied);
    // A federated user has what both allow.
    let name = FederatedName::parse("carol").unwrap();
    let request =
        GetFederationToken { name, policies: vec![], managed: vec![read.clone()], duration: None, tags: vec![] };
    let issued = app.federation_token(&now(&region, &admin), request).await.unwrap();
    reads(&region, &tenants::bearer(&region, &issued).await.1).await.unwrap();
    // What is missing, foreign, too many or too long is refused.
    let foreign = made(&region, "prod", "read", &allow(READ, "*")).await;
    let actions: Vec<String> = (0..200).map(|n| format!("ecr:Describe{n}")).collect();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    let long = made(&region, "dev", "long", &allow(&actions, "*")).await;
    for (managed, reason) in [
        (vec![policy(&region, "dev", "absent")], Reason::NotFound),
        (vec![foreign], Reason::InvalidArgument),
        (vec![read; 11], Reason::InvalidArgument),
        (vec![long], Reason::PackedPolicyTooLarge),
    ] {
        assert_eq!(session(managed, Vec::new()).await.unwrap_err().reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_arns_on_the_aws_wire_are_all_read_or_refused() {
    let (region, _) = with_user().await;
    let dev = region.account("dev");
    let me = trust(&format!("arn:aws:iam::{dev}:user/admin"), None);
    tenants::role(&region, "dev", "wide", &me, &allow(&["*"], "*")).await;
    made(&region, "dev", "read", &allow(READ, "*")).await;
    let (id, secret) = region.access_key("dev");
    let key = Key { id, secret: Secret::new(secret), token: None };
    let arn = |name: &str| format!("arn%3Aaws%3Aiam%3A%3A{dev}%3Apolicy%2F{name}");
    for (more, told) in [
        (format!("&PolicyArns.member.1.arn={}", arn("read")), "<PackedPolicySize>"),
        ("&PolicyArns=".to_owned(), "<SessionToken>"),
        (format!("&PolicyArns.member.1.arn={}", arn("absent")), "ValidationError"),
        (format!("&PolicyArns.member.2.arn={}", arn("read")), "ValidationError"),
        (format!("&PolicyArns={}", arn("read")), "ValidationError"),
        ("&PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FReadOnlyAccess".to_owned(), "ValidationError"),
    ] {
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A{dev}%3Arole%2Fwide&RoleSessionName=s1{more}"
        );
        let answer = Call { service: "sts", operation: "AssumeRole", body }.to(&region, Some(&key)).await;
        assert!(answer.text().contains(told), "{more}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boundaries_and_attached_policies_hold_in_every_region() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (admin, app) = (home.admin("dev").await, home.app());
    let user = tenants::user(home, "dev", "ann", &allow(&["ecr:GetAuthorizationToken"], "*")).await;
    let reader = made(home, "dev", "reader", &allow(&["ecr:DescribeRegistry"], "*")).await;
    app.attach_policy(&admin, user.clone(), &reader).await.unwrap();
    let asks = async || {
        away.app().unique_id(&user).await.unwrap()?;
        let ctx = away.caller(user.clone()).await;
        Some(away.app().registry_settings(&ctx, away.account("dev")).await.map(drop).map_err(|error| error.message))
    };
    eventually("what is attached", async || asks().await?.ok()).await;
    let bound = made(home, "dev", "bound", &allow(&["ecr:GetAuthorizationToken"], "*")).await;
    app.put_boundary(&admin, user.clone(), &bound).await.unwrap();
    let told = eventually("the boundary", async || asks().await?.err()).await;
    assert!(told.contains("no permissions boundary allows"), "{told}");
    app.delete_boundary(&admin, user.clone()).await.unwrap();
    app.delete_policy(&admin, bound).await.unwrap();
    eventually("no boundary", async || asks().await?.ok()).await;
    let refused = away.app().create_policy(&away.admin("dev").await, policy(away, "dev", "x"), &allow(READ, "*")).await;
    assert_eq!(refused.unwrap_err().reason, Reason::NotHomeRegion);
    assert_eq!(json!(reader.arn().as_str()), format!("arn:aws:iam::{}:policy/reader", home.account("dev")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_policy_that_is_not_known_yet_denies_all_and_a_boundary_binds_whom_its_bearer_makes() {
    let (region, user) = with_user().await;
    let (admin, ctx, app) = (region.admin("dev").await, region.caller(user.clone()).await, region.app());
    app.put_principal_policy(&admin, user.clone(), "given", &allow(&["*"], "*")).await.unwrap();
    let bound = made(&region, "dev", "bound", &allow(&["sts:*", "ecr:DescribeImages"], "*")).await;
    app.put_boundary(&admin, user.clone(), &bound).await.unwrap();
    let name = FederatedName::parse("carol").unwrap();
    let policies = vec![allow(&["*"], "*")];
    let request = GetFederationToken { name, policies, managed: vec![], duration: None, tags: vec![] };
    let issued = app.federation_token(&now(&region, &ctx), request).await.unwrap();
    let refused = reads(&region, &tenants::bearer(&region, &issued).await.1).await.unwrap_err();
    assert!(refused.message.contains("no permissions boundary allows"), "{refused}");
    app.delete_boundary(&admin, user.clone()).await.unwrap();
    reads(&region, &ctx).await.unwrap();
    // As a region hears of it whose first message ends before the policy.
    let row = PrincipalRow {
        unique_id: app.unique_id(&user).await.unwrap().unwrap(),
        name: user.clone(),
        trust_policy: None,
        trust_bindings: BTreeMap::new(),
        max_session_secs: 3_600,
        created_at: app.clock().now(),
    };
    let given = Policy { name: "given".to_owned(), document: allow(&["*"], "*") };
    let guard = Attachment { purpose: Purpose::Permissions, policy: PolicyName::parse("guard").unwrap() };
    let heard = vec![Entry::Principal(row, vec![given], vec![guard])];
    app.learn(Stream::Directory, &app.settings().region, heard, 0).await.unwrap();
    assert_eq!(reads(&region, &ctx).await.unwrap_err().reason, Reason::AccessDenied);
    made(&region, "dev", "guard", &allow(READ, "*")).await;
    reads(&region, &ctx).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_on_one_role_or_policy_is_denied_on_that_one() {
    let (region, user) = with_user().await;
    let (dev, app, admin) = (region.account("dev"), region.app(), region.admin("dev").await);
    let me = trust(&format!("arn:aws:iam::{dev}:user/admin"), None);
    let guarded = tenants::role(&region, "dev", "guarded", &me, &allow(READ, "*")).await;
    let other = tenants::role(&region, "dev", "other", &me, &allow(READ, "*")).await;
    let bound = made(&region, "dev", "bound", &allow(READ, "*")).await;
    let free = made(&region, "dev", "free", &allow(READ, "*")).await;
    for role in [&guarded, &other] {
        app.put_boundary(&admin, role.clone(), &bound).await.unwrap();
    }
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iam:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:DeleteRolePermissionsBoundary", "Resource": guarded.arn().as_str()},
        {"Effect": "Deny", "Action": "iam:CreatePolicyVersion", "Resource": bound.arn().as_str()}]});
    app.put_principal_policy(&admin, user.clone(), "given", &policy.to_string()).await.unwrap();
    let ctx = region.caller(user).await;
    assert_eq!(app.delete_boundary(&ctx, guarded).await.unwrap_err().reason, Reason::AccessDenied);
    app.delete_boundary(&ctx, other).await.unwrap();
    let wider = allow(&["*"], "*");
    assert_eq!(app.update_policy(&ctx, bound, &wider).await.map(drop).unwrap_err().reason, Reason::AccessDenied);
    app.update_policy(&ctx, free, &wider).await.unwrap();
}
