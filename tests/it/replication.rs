//! Replication between two regions over mutual TLS.

use crate::harness::{Organization, eventually};
use http::StatusCode;
use transship::domain::replication::rules::NewRule;
use transship::names::RepositoryRef;
use transship::store::rules::Destination;

/// What a destination's registry policy must say for `source` to arrive.
pub fn consent(source: impl std::fmt::Display) -> String {
    serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "Replicas", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{source}:root")},
        "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"], "Resource": "*",
    }]})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_in_another_account_and_region_under_another_key_with_a_receipt() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let policy = consent(dev);
    away.app().put_registry_policy(&away.admin("prod").await, prod, &policy, false).await.unwrap();
    let rule = NewRule {
        repository_prefix: "team-a/".to_owned(),
        tag_pattern: "v*".to_owned(),
        destinations: vec![Destination { region: away.app().settings().region.clone(), account: prod }],
    };
    home.app().create_rule(&home.admin("dev").await, dev, rule).await.unwrap();

    let layer: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let source = format!("{dev}/team-a/app");
    let http = home.http("dev").await;
    let image = http.push_image(&source, "v1.0", &[&layer, b"small"]).await;
    http.push_image(&source, "dev-1", &[b"not covered by the rule"]).await;

    let replica = format!("{prod}/team-a/app");
    let there = away.http("prod").await;
    let got = eventually("the replica", async || {
        let got = there.get(&format!("/v2/{replica}/manifests/v1.0")).await;
        (got.status == StatusCode::OK).then_some(got)
    })
    .await;
    assert_eq!(got.header("docker-content-digest"), image);
    let digest = transship::names::Digest::of(&layer);
    let blob = there.get(&format!("/v2/{replica}/blobs/{digest}")).await;
    assert!(blob.body == layer, "the replica's bytes differ");
    assert_eq!(there.get(&format!("/v2/{replica}/manifests/dev-1")).await.status, StatusCode::NOT_FOUND);

    let name = transship::names::RepositoryName::parse("team-a/app").unwrap();
    let address = RepositoryRef { account: dev, region: home.app().settings().region.clone(), name };
    let size = transship::names::PageSize::clamp(10);
    let receipts = eventually("the receipt", async || {
        let receipts = home.app().list_receipts(&home.admin("dev").await, &address, "", size).await.unwrap();
        (!receipts.is_empty()).then_some(receipts)
    })
    .await;
    assert_eq!(receipts[0].digest.to_string(), image);
    let status = home.app().replication_status(&home.admin("dev").await, dev).await.unwrap();
    assert_eq!((status[0].pending, status[0].failed, status[0].last_error.clone()), (0, 0, None));
}
