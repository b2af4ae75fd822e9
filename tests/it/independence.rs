//! A region stands alone: with home gone it still knows who is who, and with the wire cut it says how far it is behind.

use crate::harness::{Http, Organization};
use crate::replication::{arrival, carry};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use transship::identity::{Endpoint, sign};
use transship::names::{PrincipalKind, PrincipalName, RoleName};

#[tokio::test(flavor = "multi_thread")]
async fn with_home_gone_and_its_folder_moved_the_other_region_logs_in_authorizes_and_serves() {
    let mut organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    {
        let [home, away] = &organization.regions[..] else { panic!("two regions") };
        carry(home, away, "", "").await;
        let (dev, prod) = (home.account("dev"), home.account("prod"));
        let admin = home.admin("prod").await;
        let trust = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{prod}:user/admin"}},"Action":"sts:AssumeRole"}}}}"#
        );
        let role = RoleName::parse("runner").unwrap();
        home.app().create_role(&admin, prod, &role, &trust, 3_600).await.unwrap();
        let name = PrincipalName { account: prod, kind: PrincipalKind::Role, name: "runner".into() };
        let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Resource":"*"}}"#;
        home.app().put_principal_policy(&admin, name.clone(), "pull", policy).await.unwrap();
        home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"bytes"]).await;
        arrival(&away.http("prod").await, &format!("{prod}/app"), "v1").await;
        crate::harness::eventually("the role in the other region", async || away.app().unique_id(&name).await.unwrap())
            .await;
    }
    let home = organization.regions.remove(0);
    let folder = home.folder.clone();
    let left = home.leave().await;
    let moved = folder.path().join("moved");
    std::fs::rename(folder.path().join("data"), &moved).unwrap();

    let away = &organization.regions[0];
    let prod = away.account("prod");
    let request =
        crate::tenants::asking(&PrincipalName { account: prod, kind: PrincipalKind::Role, name: "runner".into() });
    let assumed = away.app().assume_role(&away.admin("prod").await, request).await.unwrap();
    let endpoint = Endpoint::parse(&away.base).unwrap();
    let credentials = sign::Credentials {
        access_key_id: &assumed.credentials.access_key_id,
        secret: &assumed.credentials.secret,
        session_token: Some(&assumed.credentials.session_token),
    };
    let (app, region) = (away.app().clone(), away.app().settings().region.clone());
    let organization_uid = app.token_keys().unwrap().organization();
    let url = sign::presign_get_caller_identity(
        &endpoint,
        &region,
        &credentials,
        app.clock().now(),
        Duration::from_secs(60),
        organization_uid,
        Some(transship::clock::Clock::system().uid()),
    );
    let (token, principal) = app.exchange_token(&app.system("test"), &url, &[endpoint]).await.unwrap();
    let ctx = transship::ctx::Ctx { caller: transship::ctx::Caller::Principal(principal), ..app.system("test") };
    assert!(ctx.caller.display().ends_with("assumed-role/runner/night"));
    let password = app.authorization_token(&ctx).await.unwrap();
    let http = Http::new(&away.base, Some(password.text.expose().clone()));
    assert_eq!(http.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK);
    assert_eq!(http.get(&format!("/v2/{prod}/app/tags/list")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(Http::new(&away.base, Some(token.text.expose().clone())).get("/v2/").await.status, StatusCode::OK);
    drop(left);
    drop(Arc::clone(&folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_wire_cut_lag_grows_and_nothing_arrives_until_it_is_mended() {
    let organization = Organization::with_cuts(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let http = home.http("dev").await;
    let there = away.http("prod").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"before"]).await;
    arrival(&there, &format!("{prod}/app"), "v1").await;
    organization.cuts[1].cut();
    http.push_image(&format!("{dev}/app"), "v2", &[b"while it is cut"]).await;
    let status = async || home.app().replication_status(&home.admin("dev").await, dev).await.unwrap().remove(0);
    let first = crate::harness::eventually("lag", async || {
        let status = status().await;
        (status.pending == 1 && status.lag > Duration::from_millis(300) && status.last_error.is_some())
            .then_some(status.lag)
    })
    .await;
    crate::harness::eventually("more lag", async || {
        (status().await.lag > first + Duration::from_secs(1)).then_some(())
    })
    .await;
    assert_eq!(there.get(&format!("/v2/{prod}/app/manifests/v2")).await.status, StatusCode::NOT_FOUND);
    organization.cuts[1].mend();
    arrival(&there, &format!("{prod}/app"), "v2").await;
    crate::harness::eventually("no lag", async || (status().await.lag == Duration::ZERO).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_hears_nothing_of_home_for_too_long_honours_no_session_until_it_does() {
    let organization = Organization::with_cuts(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let password = away.password("dev").await;
    let (here, there) = (home.http("dev").await, Http::new(&away.base, Some(password)));
    organization.cuts.iter().for_each(crate::harness::Cut::cut);
    away.app().clock().advance(Duration::from_secs(3_590));
    let stale = away.app().directory_staleness().as_secs();
    assert!((3_590..3_600).contains(&stale), "{stale}");
    assert_eq!(there.get("/v2/").await.status, StatusCode::OK);
    away.app().clock().advance(Duration::from_secs(11));
    let refused = there.get("/v2/").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text().contains("has heard nothing of the home region"), "{}", refused.text());
    assert_eq!((here.get("/v2/").await.status, home.app().directory_staleness()), (StatusCode::OK, Duration::ZERO));
    // An access key is no session: it is as good as what this region knows of it.
    let (id, secret) = home.access_key("dev");
    let key = crate::aws::Key { id, secret: transship::secret::Secret::new(secret), token: None };
    let call = crate::aws::Call { service: "ecr", operation: "DescribeRepositories", body: "{}".to_owned() };
    let signed = call.send_in(&away.base, "eu-west-1", away.app().clock().now(), Some(&key)).await;
    assert_eq!(signed.status, StatusCode::OK, "{}", signed.text());
    organization.cuts.iter().for_each(crate::harness::Cut::mend);
    crate::harness::eventually("the session again", async || {
        (there.get("/v2/").await.status == StatusCode::OK).then_some(())
    })
    .await;
}
