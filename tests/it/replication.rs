//! Replication between two regions over mutual TLS.

use crate::harness::{Answer, Http, Organization, Region, eventually};
use http::{Method, StatusCode};
use transship::domain::replication::rules::{NewRule, Status};
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

/// A rule from dev at `home` to prod at `away`, with prod's consent.
pub async fn carry(home: &Region, away: &Region, repository_prefix: &str, tag_pattern: &str) {
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    away.app().put_registry_policy(&away.admin("prod").await, prod, &consent(dev), false).await.unwrap();
    let rule = NewRule {
        repository_prefix: repository_prefix.to_owned(),
        tag_pattern: tag_pattern.to_owned(),
        destinations: vec![Destination { region: away.app().settings().region.clone(), account: prod }],
    };
    home.app().create_rule(&home.admin("dev").await, dev, rule).await.unwrap();
}

/// Waits until a tag can be pulled.
pub async fn arrival(http: &Http, repository: &str, tag: &str) -> Answer {
    eventually(&format!("{repository}:{tag}"), async || {
        let got = http.get(&format!("/v2/{repository}/manifests/{tag}")).await;
        (got.status == StatusCode::OK).then_some(got)
    })
    .await
}

/// The status of dev's one route, once the source has taken the answers to all that it sent.
async fn settled(home: &Region) -> Status {
    let admin = home.admin("dev").await;
    eventually("a status with nothing pending", async || {
        let status = home.app().replication_status(&admin, home.account("dev")).await.unwrap().remove(0);
        (status.pending == 0).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_in_another_account_and_region_under_another_key_with_a_receipt() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    carry(home, away, "team-a/", "v*").await;

    let layer: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let source = format!("{dev}/team-a/app");
    let http = home.http("dev").await;
    let image = http.push_image(&source, "v1.0", &[&layer, b"small"]).await;
    http.push_image(&source, "dev-1", &[b"not covered by the rule"]).await;

    let replica = format!("{prod}/team-a/app");
    let there = away.http("prod").await;
    let got = arrival(&there, &replica, "v1.0").await;
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
    let status = settled(home).await;
    assert_eq!((status.failed, status.last_error), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_replicates_to_another_account_of_its_own_region_by_the_same_path() {
    let organization = Organization::start(&["us-east-1"]).await;
    let [home] = &organization.regions[..] else { panic!("one region") };
    carry(home, home, "", "").await;
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let image = home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"bytes"]).await;
    let got = arrival(&home.http("prod").await, &format!("{prod}/app"), "v1").await;
    assert_eq!(got.header("docker-content-digest"), image);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_consent_is_told_in_words_and_the_image_arrives_once_it_is_given() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    away.app().delete_registry_policy(&away.admin("prod").await, prod).await.unwrap();
    home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"bytes"]).await;
    let status = async || home.app().replication_status(&home.admin("dev").await, dev).await.unwrap().remove(0);
    let told = eventually("the refusal in the status", async || status().await.last_error).await;
    assert!(told.0.contains("ecr:ReplicateImage") || told.0.contains("ecr:CreateRepository"), "{}", told.0);
    crate::operations::denied(away, "dev", "refused-peers.txt").await;
    let there = away.http("prod").await;
    assert_ne!(there.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK);
    away.app().put_registry_policy(&away.admin("prod").await, prod, &consent(dev), false).await.unwrap();
    arrival(&there, &format!("{prod}/app"), "v1").await;
    eventually("a clean status", async || status().await.last_error.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_arrives_with_its_children_and_a_referrer_follows_its_subject() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "v*").await;
    let (source, replica) = (format!("{}/app", home.account("dev")), format!("{}/app", home.account("prod")));
    let http = home.http("dev").await;
    let (one, two) = (http.push_image(&source, "", &[b"amd64"]).await, http.push_image(&source, "", &[b"arm64"]).await);
    let describe = |digest: &str| {
        serde_json::json!({"mediaType": crate::harness::MANIFEST, "digest": digest, "size": 400,
            "platform": {"os": "linux", "architecture": "any"}})
    };
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [describe(&one), describe(&two)]});
    let digest = http.put_manifest(&source, "v1", media_type, &index.to_string()).await;
    let empty = http.push_blob(&source, b"{}").await;
    let signature = serde_json::json!({"schemaVersion": 2, "mediaType": crate::harness::MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}, "layers": [],
        "subject": {"mediaType": media_type, "digest": digest, "size": index.to_string().len()}});
    http.put_manifest(&source, "", crate::harness::MANIFEST, &signature.to_string()).await;
    let there = away.http("prod").await;
    arrival(&there, &replica, "v1").await;
    for child in [&one, &two] {
        assert_eq!(there.get(&format!("/v2/{replica}/manifests/{child}")).await.status, StatusCode::OK);
    }
    eventually("the referrer", async || {
        let list = there.get(&format!("/v2/{replica}/referrers/{digest}")).await.text();
        list.contains("vnd.example.signature").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_set_at_the_destination_is_never_moved_in_silence() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let theirs = away.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[b"set here"]).await;
    carry(home, away, "", "").await;
    let http = home.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"set there"]).await;
    http.push_image(&format!("{dev}/app"), "v2", &[b"goes on"]).await;
    let there = away.http("prod").await;
    arrival(&there, &format!("{prod}/app"), "v2").await;
    let kept = there.get(&format!("/v2/{prod}/app/manifests/v1")).await;
    assert_eq!(kept.header("docker-content-digest"), theirs);
    let status = settled(home).await;
    assert_eq!(status.failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_deleted_and_set_again_moves_the_replica_too() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let (source, replica) = (format!("{}/app", home.account("dev")), format!("{}/app", home.account("prod")));
    let (http, there) = (home.http("dev").await, away.http("prod").await);
    http.push_image(&source, "v1", &[b"first"]).await;
    arrival(&there, &replica, "v1").await;
    let deleted = http.call(Method::DELETE, &format!("/v2/{source}/manifests/v1"), &[], "").await;
    assert_eq!(deleted.status, StatusCode::ACCEPTED);
    let second = http.push_image(&source, "v1", &[b"second"]).await;
    eventually("the second image", async || {
        let got = there.get(&format!("/v2/{replica}/manifests/v1")).await;
        (got.header("docker-content-digest") == second).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_made_again_does_not_carry_what_was_pushed_while_there_was_none() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let (dev, admin) = (home.account("dev"), home.admin("dev").await);
    let (source, replica) = (format!("{dev}/app"), format!("{}/app", home.account("prod")));
    let (http, there) = (home.http("dev").await, away.http("prod").await);
    http.push_image(&source, "before", &[b"one"]).await;
    arrival(&there, &replica, "before").await;
    let size = transship::names::PageSize::clamp(10);
    let rules = home.app().list_rules(&admin, dev, None, size).await.unwrap();
    home.app().delete_rule(&admin, dev, rules[0].id).await.unwrap();
    http.push_image(&source, "between", &[b"two"]).await;
    carry(home, away, "", "").await;
    http.push_image(&source, "after", &[b"three"]).await;
    arrival(&there, &replica, "after").await;
    assert_eq!(there.get(&format!("/v2/{replica}/manifests/between")).await.status, StatusCode::NOT_FOUND);
}
