//! Control policies: what the organization lets its accounts do, and lets be done to what is theirs.

use crate::harness::{Http, Organization, Region, eventually};
use crate::tenants::{self, allow, grant, now, repository};
use http::StatusCode;
use serde_json::json;
use transship::domain::follow::{Entry, Stream};
use transship::error::Reason;
use transship::names::{PageSize, PolicyName};
use transship::store::control_policies::{ControlPolicyKey, ControlTarget, Controlled};
use transship::store::grants::GrantAction;

fn key(target: ControlTarget, controlled: Controlled, name: &str) -> ControlPolicyKey {
    ControlPolicyKey { target, controlled, name: PolicyName::parse(name).unwrap() }
}

fn deny(action: &str, principal: bool) -> String {
    let mut statement = json!({"Sid": "Bound", "Effect": "Deny", "Action": action, "Resource": "*"});
    if principal {
        statement["Principal"] = json!("*");
    }
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

/// dev is the first account, and so manages the organization.
async fn put(region: &Region, key: &ControlPolicyKey, document: &str) -> Vec<String> {
    let admin = region.admin("dev").await;
    region.app().put_control_policy(&admin, key.clone(), document).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_may_not_its_admin_may_not_and_the_management_account_may() {
    let region = Region::start().await;
    let prod = region.account("prod");
    for account in ["dev", "prod"] {
        region.http(account).await.push_image(&format!("{}/app", region.account(account)), "v1", &[b"layer"]).await;
    }
    let describes = async |account: &str| {
        let address = repository(&region, account, "app");
        region.app().get_repository(&region.admin(account).await, &address).await.map(drop)
    };
    let all = key(ControlTarget::Organization, Controlled::Principals, "no-describe");
    put(&region, &all, &deny("ecr:DescribeRepositories", false)).await;
    describes("dev").await.unwrap();
    let refused = describes("prod").await.unwrap_err();
    assert!(refused.message.ends_with("with an explicit deny in a service control policy"), "{refused}");
    assert!(refused.metadata["statement"].contains("no-describe"), "{refused:?}");
    // The rest goes on: who only denies need not list what is allowed.
    assert_eq!(region.http("prod").await.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK);
    // A list of what is allowed allows nothing else, at its own level.
    let one = key(ControlTarget::Account(prod), Controlled::Principals, "only-pull");
    put(&region, &one, &allow(tenants::PULL, "*")).await;
    assert_eq!(region.http("prod").await.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK);
    let refused = region.app().list_principals(&region.admin("prod").await, prod, "", PageSize::clamp(0)).await;
    let refused = refused.map(drop).unwrap_err();
    assert!(refused.message.ends_with("with an explicit deny in a service control policy"), "{refused}");
    let admin = region.admin("dev").await;
    for key in [&one, &all] {
        region.app().delete_control_policy(&admin, key.clone()).await.unwrap();
    }
    describes("prod").await.unwrap();
    assert_eq!(region.app().delete_control_policy(&admin, all).await.unwrap_err().reason, Reason::NotFound);
    // Whose the organization is not may not even read what bounds it.
    let foreign = region.admin("prod").await;
    let listed = region.app().list_control_policies(&foreign, "", PageSize::clamp(0)).await;
    assert_eq!(listed.unwrap_err().reason, Reason::AccessDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_done_to_an_accounts_resources_nobody_may() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    region.http("prod").await.push_image(&format!("{prod}/sealed"), "v1", &[b"layer"]).await;
    let image = format!("/v2/{prod}/sealed/manifests/v1");
    let admin = region.admin("prod").await;
    let give = grant(dev.as_str(), "sealed", "*", &[GrantAction::Pull]);
    region.app().create_grant(&admin, prod, give).await.unwrap();
    let (owner, grantee) = (region.http("prod").await, region.http("dev").await);
    let nobody = Http::new(&region.base, None);
    let address = repository(&region, "prod", "sealed");
    region.app().set_visibility(&admin, &address, true).await.unwrap();
    let pulls = async || {
        let mut all = Vec::new();
        for http in [&owner, &grantee, &nobody] {
            all.push(http.get(&image).await.status.as_u16());
        }
        all
    };
    assert_eq!(pulls().await, [200, 200, 200]);
    let bound = key(ControlTarget::Account(prod), Controlled::Resources, "closed");
    put(&region, &bound, &deny("ecr:BatchGetImage", true)).await;
    assert_eq!(pulls().await, [403, 403, 401], "its own admin, another account and the public");
    // To another account a refusal by it reads as any other, and the same as for what is not there.
    let told =
        async |name: &str| tenants::told(&grantee.get(&format!("/v2/{prod}/{name}/manifests/v1")).await, &[name]);
    assert_eq!(told("sealed").await, told("absent").await);
    region.app().delete_control_policy(&region.admin("dev").await, bound).await.unwrap();
    assert_eq!(pulls().await, [200, 200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_hold_is_refused_or_told() {
    let region = Region::start().await;
    let admin = region.admin("dev").await;
    let stranger = ControlTarget::Account(transship::names::AccountId::parse("000000000001").unwrap());
    let put_it = async |key: ControlPolicyKey, document: &str| {
        region.app().put_control_policy(&now(&region, &admin), key, document).await.map(|it| it.1)
    };
    let principals = |target, name: &str| key(target, Controlled::Principals, name);
    let missing = put_it(principals(stranger, "a"), &deny("*", false)).await.unwrap_err();
    assert_eq!(missing.reason, Reason::NotFound);
    let only = json!({"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Principal": "*", "Action": "ecr:*", "Resource": "*"}})
    .to_string();
    let resources = key(ControlTarget::Organization, Controlled::Resources, "a");
    let gives = put_it(resources, &only).await.unwrap_err();
    assert_eq!(gives.reason, Reason::MalformedPolicy, "a resource control policy only denies");
    let named = put_it(principals(ControlTarget::Organization, "a"), &deny("*", true)).await.unwrap_err();
    assert_eq!(named.reason, Reason::MalformedPolicy, "a service control policy names nobody");
    let own = ControlTarget::Account(region.account("dev"));
    let warned = put_it(principals(own, "a"), &deny("ecr:PutImage", false)).await.unwrap();
    assert!(warned.iter().any(|text| text.contains("manages the organization")), "{warned:?}");
    for n in 0..5 {
        let key = principals(ControlTarget::Organization, &format!("p{n}"));
        put_it(key, &deny("ecr:DeleteRepository", false)).await.unwrap();
    }
    let sixth = put_it(principals(ControlTarget::Organization, "p5"), &deny("ecr:PutImage", false)).await.unwrap_err();
    assert_eq!(sixth.reason, Reason::InvalidArgument);
    put_it(principals(ControlTarget::Organization, "p4"), &deny("ecr:PutImage", false)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn control_policies_hold_in_every_region() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let prod = away.account("prod");
    let asks = async || {
        let asked = away.app().registry_settings(&away.admin("prod").await, prod).await;
        asked.map(drop).map_err(|error| error.message)
    };
    asks().await.unwrap();
    let bound = key(ControlTarget::Account(prod), Controlled::Principals, "closed");
    put(home, &bound, &deny("ecr:DescribeRegistry", false)).await;
    let told = eventually("the bound", async || asks().await.err()).await;
    assert!(told.contains("service control policy"), "{told}");
    // A region that begins anew hears of it before whom it binds.
    let all = key(ControlTarget::Organization, Controlled::Principals, "all");
    put(home, &all, &deny("ecr:DeleteRegistryPolicy", false)).await;
    let news = home.app().news(Stream::Directory, 0).await.unwrap();
    let place = |what: &dyn Fn(&Entry) -> bool| news.entries.iter().position(what).unwrap();
    let first = place(&|entry| matches!(entry, Entry::ControlPolicy(row) if row.key == all));
    let second = place(&|entry| matches!(entry, Entry::ControlPolicy(row) if row.key == bound));
    let bearer = place(&|entry| matches!(entry, Entry::Principal(..) | Entry::Account(_) | Entry::TokenKey(..)));
    assert!(first < second && second < bearer, "{first} {second} {bearer}");
    home.app().delete_control_policy(&home.admin("dev").await, bound).await.unwrap();
    eventually("its end", async || asks().await.ok()).await;
}
