//! The end of many sessions at once: those of a user, of a role, and what a grant gave to any; here and in every region.

use crate::grpc::{channel, log_in, under};
use crate::harness::{Http, Organization, Region, eventually};
use crate::tenants::{self, PULL, Slow, allow, asking, command, grant, trust};
use std::time::{Duration, Instant};
use tonic::Code;
use transship::domain::revocations::Of;
use transship::error::Reason;
use transship::names::{Digest, PrincipalKind, PrincipalName, Uid};
use transship::pb::trust as pb;
use transship::pb::trust::revoke_sessions_request::Of as Asked;
use transship::pb::trust::trust_service_client::TrustServiceClient;
use transship::store::grants::GrantAction;

/// A role of prod that prod's admin may take, and that may pull.
async fn runner(region: &Region, name: &str) -> PrincipalName {
    let admin = format!("arn:aws:iam::{}:user/admin", region.account("prod"));
    tenants::role(region, "prod", name, &trust(&admin, None), &allow(PULL, "*")).await
}

/// The bearer token of a new session of a role.
async fn session(region: &Region, role: &PrincipalName) -> String {
    let issued = region.app().assume_role(&region.admin("prod").await, asking(role)).await.unwrap();
    tenants::bearer(region, &issued).await.0
}

async fn status(region: &Region, token: &str, path: &str) -> u16 {
    Http::new(&region.base, Some(token.to_owned())).get(path).await.status.as_u16()
}

/// Runs `transship session revoke`, which must do so.
async fn revoke(region: &Region, account: &str, arguments: &[&str]) {
    let output = command(region, account, &[&["session", "revoke"], arguments].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_a_role_end_in_the_middle_of_their_pulls_and_later_ones_stand() {
    let region = Region::start().await;
    let prod = region.account("prod");
    let layer = vec![3; 96 << 20];
    region.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[&layer]).await;
    let (role, other) = (runner(&region, "runner").await, runner(&region, "other").await);
    let (first, second) = (session(&region, &role).await, session(&region, &role).await);
    let spared = session(&region, &other).await;
    let (path, blob) = (format!("/v2/{prod}/app/manifests/v1"), format!("/v2/{prod}/app/blobs/{}", Digest::of(&layer)));
    let mut pull = Slow::open(&region, &blob, &first).await;
    assert!(pull.until(2 << 20).await);
    // Not another account's, by whatever name; nor one that there is not.
    let foreign = region.admin("dev").await;
    for account in [prod, region.account("dev")] {
        let told = region.app().revoke_sessions(&foreign, account, Of::Principal(role.clone())).await.unwrap_err();
        let expected = if account == prod { Reason::AccessDenied } else { Reason::NotFound };
        assert_eq!(told.reason, expected, "{account}");
    }
    let missing = PrincipalName { name: "missing".into(), ..role.clone() };
    let told = region.app().revoke_sessions(&region.admin("prod").await, prod, Of::Principal(missing)).await;
    assert_eq!(told.unwrap_err().reason, Reason::NotFound);
    let dry = command(&region, "prod", &["--dry-run", "session", "revoke", "--role", "runner"]).await;
    assert!(dry.status.success());
    assert_eq!(status(&region, &first, &path).await, 200, "nothing has been done yet");

    revoke(&region, "prod", &["--role", "runner"]).await;
    for token in [&first, &second] {
        assert_eq!(status(&region, token, &path).await, 401);
    }
    pull.breaks_within_five_seconds().await;
    assert_eq!(status(&region, &spared, &path).await, 200, "another role");
    let later = session(&region, &role).await;
    assert_eq!(status(&region, &later, &path).await, 200, "what was issued afterwards");
    revoke(&region, "prod", &["--principal", other.arn().as_str()]).await;
    assert_eq!((status(&region, &spared, &path).await, status(&region, &later, &path).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_from_a_users_key_ends_and_the_key_stays() {
    let region = Region::start().await;
    let prod = region.account("prod");
    region.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[b"layer"]).await;
    let path = format!("/v2/{prod}/app/manifests/v1");
    let (bearer, password) = (log_in(&region, "prod").await, region.password("prod").await);
    let user = region.admin("prod").await;
    let taken = region.app().session_token(&user, None, None).await.unwrap();
    let (taken, _) = tenants::bearer(&region, &taken).await;
    let before = [bearer, password, taken];
    for token in &before {
        assert_eq!(status(&region, token, &path).await, 200);
    }
    revoke(&region, "prod", &["--user", "admin"]).await;
    for token in &before {
        assert_eq!(status(&region, token, &path).await, 401);
    }
    let again = log_in(&region, "prod").await;
    assert_eq!(status(&region, &again, &path).await, 200);
    // A call that is repeated answers as the first, and ends nothing that was issued in between.
    let mut client = TrustServiceClient::new(channel(&region).await);
    let request = pb::RevokeSessionsRequest {
        parent: format!("accounts/{prod}"),
        of: Some(Asked::Principal(format!("accounts/{prod}/users/missing"))),
        request_id: region.app().clock().uid().to_string(),
        ..Default::default()
    };
    let told = client.revoke_sessions(under(&again, request.clone())).await.unwrap_err();
    assert_eq!(told.code(), Code::NotFound);
    let role = runner(&region, "runner").await;
    let name = Some(Asked::Principal(format!("accounts/{prod}/roles/runner")));
    let request = pb::RevokeSessionsRequest { of: name, ..request };
    let first = client.revoke_sessions(under(&again, request.clone())).await.unwrap().into_inner();
    let between = session(&region, &role).await;
    let second = client.revoke_sessions(under(&again, request.clone())).await.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!(status(&region, &between, &path).await, 200);
    for of in [None, Some(Asked::Principal(format!("accounts/{}/users/admin", region.account("dev"))))] {
        let request = pb::RevokeSessionsRequest { of, request_id: String::new(), ..request.clone() };
        let told = client.revoke_sessions(under(&again, request)).await.unwrap_err();
        assert_eq!(told.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_gives_nothing_more_to_the_sessions_it_was_cut_off_from_and_serves_later_ones() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let layer = vec![3; 96 << 20];
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[&layer]).await;
    region.http("prod").await.push_image(&format!("{prod}/own"), "v1", &[b"own"]).await;
    let role = runner(&region, "runner").await;
    let give = async || {
        let new = grant(role.arn().as_str(), "app", "*", &[GrantAction::Pull]);
        region.app().create_grant(&region.admin("dev").await, dev, new).await.unwrap().id
    };
    let given = give().await;
    let before = session(&region, &role).await;
    let (path, own) = (format!("/v2/{dev}/app/manifests/v1"), format!("/v2/{prod}/own/manifests/v1"));
    let mut pull = Slow::open(&region, &format!("/v2/{dev}/app/blobs/{}", Digest::of(&layer)), &before).await;
    assert!(pull.until(2 << 20).await);
    // It is the giver's to say, and nobody else's.
    let foreign = region.admin("prod").await;
    for (account, reason) in [(dev, Reason::AccessDenied), (prod, Reason::NotFound)] {
        let told = region.app().revoke_sessions(&foreign, account, Of::Grant(given)).await.unwrap_err();
        assert_eq!(told.reason, reason);
    }
    assert_eq!(status(&region, &before, &path).await, 200);

    revoke(&region, "dev", &["--grant", &given.to_string()]).await;
    assert_eq!(status(&region, &before, &path).await, 403);
    assert_eq!(status(&region, &before, &own).await, 200, "the session itself goes on");
    pull.breaks_within_five_seconds().await;
    let later = session(&region, &role).await;
    assert_eq!(status(&region, &later, &path).await, 200);
    give().await;
    assert_eq!(status(&region, &before, &path).await, 200, "another grant is another");
}

/// When each revocation of a region may be forgotten, by what it cuts off.
fn kept(region: &Region) -> Vec<(String, i64)> {
    let path = region.folder.path().join("data/metadata.db");
    let database = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut select = database.prepare("SELECT kind, expires_at FROM revocations ORDER BY kind").unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_in_one_region_they_are_refused_in_all_in_the_middle_of_a_pull_and_for_as_long_as_any_can_last() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let layer = vec![3; 96 << 20];
    home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    home.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[&layer]).await;
    let role = runner(home, "runner").await;
    eventually("the role in the other region", async || away.app().unique_id(&role).await.unwrap()).await;
    let new = grant(role.arn().as_str(), "app", "*", &[GrantAction::Pull]);
    home.app().create_grant(&home.admin("dev").await, dev, new).await.unwrap();
    let token = session(home, &role).await;
    let blob = format!("/v2/{prod}/app/blobs/{}", Digest::of(&layer));
    let mut pull = Slow::open(home, &blob, &token).await;
    assert!(pull.until(2 << 20).await);
    assert_eq!(status(home, &token, &format!("/v2/{dev}/app/manifests/v1")).await, 200);

    // The longest session there is lasts 36 hours; a region that did not issue it must remember as long.
    let longest = Duration::from_secs(129_600);
    let long = home.app().session_token(&home.admin("prod").await, Some(longest), None).await.unwrap();
    away.app().revoke_session(&away.admin("prod").await, prod, long.id).await.unwrap();
    let user = PrincipalName { account: prod, kind: PrincipalKind::User, name: "admin".into() };
    let began = Instant::now();
    away.app().revoke_sessions(&away.admin("prod").await, prod, Of::Principal(role.clone())).await.unwrap();
    eventually("the refusal at home", async || (status(home, &token, "/v2/").await == 401).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    pull.breaks_within_five_seconds().await;
    away.app().revoke_sessions(&away.admin("prod").await, prod, Of::Principal(user)).await.unwrap();
    for region in [home, away] {
        eventually("three revocations", async || (kept(region).len() == 3).then_some(())).await;
        for (kind, until) in kept(region) {
            let end = long.expires_at.micros();
            assert!(until >= end, "{kind} is forgotten {} s before the session ends", (end - until) / 1_000_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_end_is_one_thing_and_must_be_there() {
    let region = Region::start().await;
    let none = Of::Grant(Uid::from_bytes([7; 16]));
    let told = region.app().revoke_sessions(&region.admin("dev").await, region.account("dev"), none).await;
    assert_eq!(told.unwrap_err().reason, Reason::NotFound);
    for arguments in [&["session", "revoke"][..], &["session", "revoke", "--role", "a", "--user", "b"]] {
        assert_eq!(command(&region, "dev", arguments).await.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_of_a_region_refuses_at_once_and_the_other_region_within_five_seconds() {
    let Some(bucket) = crate::bucket::bucket() else { return };
    let Some(url) = crate::push_pull::database().await else {
        return println!("SKIPPED: TRANSSHIP_TEST_POSTGRES names no server");
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, url).unwrap();
    let first = format!(
        "[store]\nkind = \"postgres\"\nurl = \"file:{}\"\n{}",
        secret.display(),
        crate::bucket::section(&bucket)
    );
    let organization = Organization::with_nodes(&["us-east-1", "eu-west-1"], &first, 3).await;
    let [one, other, two, three] = &organization.regions[..] else { panic!("two regions, one of three nodes") };
    let role = runner(one, "runner").await;
    eventually("the role in the other region", async || other.app().unique_id(&role).await.unwrap()).await;
    let prod = one.account("prod");
    for by in [two, other] {
        let token = session(one, &role).await;
        for node in [one, two, three, other] {
            assert_eq!(status(node, &token, "/v2/").await, 200);
        }
        let began = Instant::now();
        by.app().revoke_sessions(&by.admin("prod").await, prod, Of::Principal(role.clone())).await.unwrap();
        if by.base != other.base {
            for node in [one, two, three] {
                assert_eq!(status(node, &token, "/v2/").await, 401, "the nodes share what they know");
            }
        }
        for node in [one, two, three, other] {
            eventually("the refusal", async || (status(node, &token, "/v2/").await == 401).then_some(())).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
