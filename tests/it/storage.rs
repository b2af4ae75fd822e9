//! What the collector did and what is damaged, over gRPC and on the command line; for the operator and for nobody else.

use crate::grpc::{channel, log_in, under};
use crate::harness::Region;
use crate::scrub::{files, flip};
use crate::tenants;
use http::{Method, StatusCode};
use serde_json::Value;
use transship::names::Digest;
use transship::pb::storage::storage_service_client::StorageServiceClient;
use transship::pb::storage::{CollectRequest, Collected, GetReportRequest, ListQuarantinesRequest};

/// What the command line prints and how it ends, called as the admin of an account.
async fn told(region: &Region, account: &str, arguments: &[&str]) -> (Value, i32) {
    let ran = tenants::command(region, account, &[&["storage"], arguments].concat()).await;
    let text = String::from_utf8(ran.stdout).unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| String::from_utf8(ran.stderr).unwrap().into());
    (value, ran.status.code().unwrap())
}

/// A region that collects only when it is told to.
async fn quiet() -> Region {
    Region::configured("[limits]\nsweep_secs = 86400\nlink_lease_secs = 1\nupload_ttl_secs = 1\ncollect_grace_secs = 0")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_the_collector_then_does_and_its_report_tells() {
    let region = quiet().await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    http.push_image(&app, "v1", &[b"kept"]).await;
    for bytes in [&b"loose"[..], b"loose too"] {
        http.push_blob(&app, bytes).await;
    }
    let opened = http.call(Method::POST, &format!("/v2/{app}/blobs/uploads/"), &[], "").await;
    http.call(Method::PATCH, opened.header("location"), &[], "part").await;
    region.app().clock().advance(std::time::Duration::from_secs(60));

    let (would, code) = told(&region, "dev", &["collect", "--dry-run"]).await;
    let counts = serde_json::json!({"uploads": 1, "links": 2, "condemned": 2, "objects": 0, "bytes": 0, "errors": 0});
    assert_eq!((&would, code), (&counts, 0));
    let (report, _) = told(&region, "dev", &["report"]).await;
    assert_eq!(report["collector"]["runs"], 0, "a dry run is none");

    let (did, code) = told(&region, "dev", &["collect"]).await;
    // Without a grace what is condemned goes in the same run.
    let counts = serde_json::json!({"uploads": 1, "links": 2, "condemned": 2, "objects": 2, "bytes": 14, "errors": 0});
    assert_eq!((&did, code), (&counts, 0));
    let (nothing, _) = told(&region, "dev", &["collect"]).await;
    assert_eq!(nothing["objects"], 0);
    let (report, _) = told(&region, "dev", &["report"]).await;
    let collector = &report["collector"];
    assert_eq!((&collector["runs"], &collector["total"]), (&1.into(), &counts), "what did nothing is not told");
    assert_eq!((&collector["newest"][0]["collected"], &collector["newest"][0]["last_error"]), (&counts, &"".into()));
    assert!(collector["newest"][0]["started"].is_string(), "{collector}");
    assert_eq!(http.get(&format!("/v2/{app}/blobs/{}", Digest::of(b"kept"))).await.status, StatusCode::OK);
    let digest = Digest::of(b"loose");
    assert_eq!(http.get(&format!("/v2/{app}/blobs/{digest}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_told_and_holds_up_nothing_else() {
    let region = quiet().await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    for bytes in [&b"stuck"[..], b"goes"] {
        http.push_blob(&app, bytes).await;
    }
    let stuck = files(&region).remove(&Digest::of(b"stuck").to_string()).unwrap();
    // A folder is no file, and is not removed as one.
    std::fs::remove_file(&stuck).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    region.app().clock().advance(std::time::Duration::from_secs(60));
    let (did, code) = told(&region, "dev", &["collect"]).await;
    assert_eq!((&did["condemned"], &did["objects"], &did["errors"], code), (&2.into(), &1.into(), &1.into(), 1));
    std::fs::remove_dir(&stuck).unwrap();
    let (did, code) = told(&region, "dev", &["collect"]).await;
    assert_eq!((&did["objects"], &did["errors"], code), (&1.into(), &0.into(), 0), "it is tried again");
    let (report, _) = told(&region, "dev", &["report"]).await;
    assert_eq!((&report["collector"]["runs"], &report["collector"]["total"]["errors"]), (&2.into(), &1.into()));
    assert_ne!(report["collector"]["newest"][1]["last_error"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_scrubs_a_region_and_a_tenant_its_repository_and_both_read_what_is_damaged() {
    let region = quiet().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let (ours, theirs) = (vec![1; 90_000], vec![2; 90_000]);
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[&ours]).await;
    region.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[&theirs]).await;
    let (sound, code) = told(&region, "dev", &["scrub"]).await;
    assert_eq!(
        (&sound["objects"], &sound["bytes"], &sound["damage"], code),
        (&4.into(), &180_004.into(), &Value::Array(vec![]), 0)
    );
    for blob in [&ours, &theirs] {
        flip(&files(&region)[&Digest::of(blob).to_string()], 400_000);
    }
    // Prod is not the operator: the region is not its to read, its repository is.
    for refused in [&["scrub"][..], &["report"], &["collect"], &["quarantine"]] {
        let (text, code) = told(&region, "prod", refused).await;
        assert_eq!(code, 4, "{refused:?}: {text}");
    }
    let (found, code) = told(&region, "prod", &["scrub", "--repository", "app"]).await;
    let digest = Digest::of(&theirs).to_string();
    assert_eq!((&found["objects"], &found["damage"][0]["digest"], code), (&2.into(), &digest.clone().into(), 1));
    assert_eq!(found["damage"][0]["repository"], format!("accounts/{prod}/repositories/app"));
    assert_eq!(found["damage"].as_array().unwrap().len(), 1, "nothing of another tenant");
    let (again, code) = told(&region, "prod", &["scrub", "--repository", "app"]).await;
    assert_eq!((&again["damage"][0]["digest"], &again["bytes"], code), (&digest.clone().into(), &2.into(), 1));
    assert!(again["damage"][0]["reason"].as_str().unwrap().contains("set aside since"), "{again}");
    let (found, code) = told(&region, "dev", &["scrub"]).await;
    assert_eq!((found["damage"].as_array().unwrap().len(), code), (1, 1), "the other is known already");
    let (list, code) = told(&region, "dev", &["quarantine"]).await;
    let states: Vec<_> = list.as_array().unwrap().iter().map(|row| (&row["repository"], &row["state"])).collect();
    let (a, b) =
        (format!("accounts/{prod}/repositories/app").into(), format!("accounts/{dev}/repositories/app").into());
    let state = "quarantined".into();
    assert_eq!((states, code), (vec![(&a, &state), (&b, &state)], 0));
    let (repairs, code) = told(&region, "prod", &["repair", "app"]).await;
    assert_eq!((&repairs[0]["digest"], code), (&digest.into(), 1));
    assert!(repairs[0]["error"].as_str().unwrap().contains("no other copy"), "{repairs}");
    region.http("prod").await.push_blob(&format!("{prod}/app"), &theirs).await;
    let (report, _) = told(&region, "dev", &["report"]).await;
    let scrubber = &report["scrubber"];
    assert_eq!(
        (&scrubber["damaged"], &scrubber["repaired"], &scrubber["quarantined"]),
        (&2.into(), &1.into(), &1.into())
    );
    let (list, _) = told(&region, "dev", &["quarantine"]).await;
    assert_eq!((&list[0]["state"], &list[0]["from"]), (&"repaired".into(), &"a push".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_damaged_blobs_join_without_a_gap_and_a_strange_token_is_refused() {
    let region = quiet().await;
    let app = format!("{}/app", region.account("dev"));
    let layers: Vec<Vec<u8>> = (1..=5).map(|seed| vec![seed; 1_000]).collect();
    let pushed: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    region.http("dev").await.push_image(&app, "v1", &pushed).await;
    for path in files(&region).into_values() {
        flip(&path, 8 * 50);
    }
    crate::scrub::scrub(&region).await;
    let token = log_in(&region, "dev").await;
    let mut storage = StorageServiceClient::new(channel(&region).await);
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListQuarantinesRequest { page_size: 2, page_token };
        let page = storage.list_quarantines(under(&token, request)).await.unwrap().into_inner();
        found.extend(page.quarantines.into_iter().map(|row| row.digest));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    found.sort();
    let expected: Vec<String> = files(&region).into_keys().collect();
    assert_eq!(found, expected);
    let strange = ListQuarantinesRequest { page_size: 2, page_token: "AQ".to_owned() };
    let refused = storage.list_quarantines(under(&token, strange)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_of_the_collector_tells_how_far_it_is() {
    let region = quiet().await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    for number in 0..501_u32 {
        http.push_blob(&app, &number.to_be_bytes()).await;
    }
    region.app().clock().advance(std::time::Duration::from_secs(60));
    let token = log_in(&region, "dev").await;
    let mut storage = StorageServiceClient::new(channel(&region).await);
    let mut told = storage.collect(under(&token, CollectRequest::default())).await.unwrap().into_inner();
    let mut objects = Vec::new();
    while let Some(message) = told.message().await.unwrap() {
        objects.push(message.collected.unwrap().objects);
    }
    assert_eq!(objects, [500, 501], "once a round, and at the end");
    let report = storage.get_report(under(&token, GetReportRequest {})).await.unwrap().into_inner();
    let total = Collected { links: 501, condemned: 501, objects: 501, bytes: 2_004, ..Default::default() };
    assert_eq!((report.run_count, report.runs.len(), report.total), (1, 1, Some(total)));
}
