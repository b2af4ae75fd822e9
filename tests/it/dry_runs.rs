//! What is only validated changes nothing and invents nothing; what is repeated answers as the first time.

use crate::grpc::{channel, log_in, under};
use crate::harness::Region;
use crate::tenants::{books, trust};
use transship::pb::identity::identity_service_client::IdentityServiceClient;
use transship::pb::identity::{CreateRoleRequest, CreateUserRequest, ListPrincipalsRequest};
use transship::pb::keys::key_service_client::KeyServiceClient;
use transship::pb::keys::{CreateKeyRequest, SetKeyStateRequest, key};

/// What the command line prints, called as the admin of an account.
pub async fn told(region: &Region, account: &str, arguments: &[&str]) -> String {
    let ran = crate::tenants::command(region, account, arguments).await;
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_no_key_and_shows_none() {
    let region = Region::start().await;
    let admin = region.admin("dev").await;
    let known = region.app().create_key(&admin, region.account("dev"), "known").await.unwrap().arn;
    let id = known.resource().strip_prefix("key/").unwrap();
    let me = trust(&format!("arn:aws:iam::{}:user/admin", region.account("dev")), None);
    crate::tenants::role(&region, "dev", "builder", &me, &crate::tenants::allow(&["ecr:*"], "*")).await;
    let before = books(&region);
    let runs: [&[&str]; 9] = [
        &["account", "create", "third"],
        &["user", "create", "fresh"],
        &["user", "create-key", "admin"],
        &["mfa-device", "create", "admin", "phone"],
        &["role", "assume", "builder"],
        &["repo", "create", "app"],
        &["key", "create"],
        &["key", "disable", id],
        &["key", "enable", id],
    ];
    for arguments in runs {
        let text = told(&region, "dev", &[arguments, &["--dry-run"]].concat()).await;
        before.unchanged(&books(&region), &arguments.join(" "));
        for invented in ["AKIA", "ASIA", "AIDA", "unmade", "otpauth"] {
            assert!(!text.contains(invented), "{arguments:?}: {text}");
        }
        if arguments[..2] == ["repo", "create"] || arguments[..2] == ["key", "create"] {
            assert!(!text.contains(":kms:"), "{arguments:?}: {text}");
        }
        if let Ok(shown) = serde_json::from_str::<serde_json::Value>(&text) {
            assert!(shown["secret_access_key"].as_str().is_none_or(str::is_empty), "{arguments:?}: {text}");
        }
    }
    // And the same calls are carried out when they are meant.
    assert!(told(&region, "dev", &["user", "create-key", "admin"]).await.contains("AKIA"));
    assert!(told(&region, "dev", &["repo", "create", "app"]).await.contains(":kms:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_validated_by_the_kms_that_has_it() {
    let region = Region::start().await;
    let (token, dev) = (log_in(&region, "dev").await, region.account("dev"));
    let mut keys = KeyServiceClient::new(channel(&region).await);
    let parent = format!("accounts/{dev}");
    let made = keys.create_key(under(&token, CreateKeyRequest { parent, ..Default::default() })).await.unwrap();
    let name = made.into_inner().key.unwrap().name;
    let state = key::State::Disabled.into();
    let request = |name: &str| SetKeyStateRequest { name: name.to_owned(), state, validate_only: true };
    let would = keys.set_key_state(under(&token, request(&name))).await.unwrap().into_inner().key.unwrap();
    assert_eq!((would.name.as_str(), would.state()), (name.as_str(), key::State::Disabled));
    let none = format!("accounts/{dev}/keys/00000000-0000-4000-8000-000000000000");
    let missing = keys.set_key_state(under(&token, request(&none))).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_that_is_made_twice_under_one_request_id_has_the_id_it_was_stored_with() {
    let region = Region::start().await;
    let (token, dev) = (log_in(&region, "dev").await, region.account("dev"));
    let mut identity = IdentityServiceClient::new(channel(&region).await);
    let parent = format!("accounts/{dev}");
    let user = CreateUserRequest {
        parent: parent.clone(),
        user_id: "fresh".to_owned(),
        request_id: region.app().clock().uid().to_string(),
        validate_only: false,
    };
    let role = CreateRoleRequest {
        parent: parent.clone(),
        role_id: "fresh".to_owned(),
        trust_policy: trust(&format!("arn:aws:iam::{dev}:user/admin"), None),
        request_id: region.app().clock().uid().to_string(),
        ..Default::default()
    };
    let mut answers = Vec::new();
    for _ in 0..2 {
        let user = identity.create_user(under(&token, user.clone())).await.unwrap().into_inner().user.unwrap();
        let role = identity.create_role(under(&token, role.clone())).await.unwrap().into_inner().role.unwrap();
        answers.push([user, role]);
    }
    assert_eq!(answers[0], answers[1]);
    let list = ListPrincipalsRequest { parent, ..Default::default() };
    let stored = identity.list_principals(under(&token, list)).await.unwrap().into_inner().principals;
    for made in &answers[0] {
        assert!(stored.iter().any(|row| row.name == made.name && row.unique_id == made.unique_id), "{made:?}");
    }
    // The id is bound to what was asked for.
    let other = CreateRoleRequest {
        max_session_duration: Some(prost_types::Duration { seconds: 7_200, nanos: 0 }),
        ..role.clone()
    };
    let refused = identity.create_role(under(&token, other)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
}
