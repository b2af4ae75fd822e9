//! A blob of one repository is not reached through another repository or account without an allow, and what is
//! forbidden reads exactly as what is missing.

use crate::certificates;
use crate::harness::{Answer, Http, MANIFEST, Organization, Region};
use crate::replication::consent;
use crate::tenants::{self, books, code, told};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::collections::BTreeSet;
use tokio_stream::wrappers::ReceiverStream;
use transship::domain::replication::destination::Arriving;
use transship::domain::replication::{ImageChange, SentManifest};
use transship::names::{AccountId, Digest, Region as RegionName, RepositoryName, Tag};
use transship::pb::replication as pb;
use transship::pb::replication::replicate_request::Frame;
use transship::pb::replication::replicate_response::Frame as Answered;
use transship::store::receipts::Inbound;

/// A blob and a manifest of dev/hidden that nobody else may see.
struct World {
    region: Region,
    blob: String,
    image: String,
}

/// A digest that nobody has ever pushed.
fn unseen() -> String {
    Digest::of(b"nobody has these bytes").to_string()
}

async fn world() -> World {
    let region = Region::start().await;
    let (dev, prod) = (region.http("dev").await, region.http("prod").await);
    let image = dev.push_image(&format!("{}/hidden", region.account("dev")), "v1", &[b"the secret layer"]).await;
    dev.push_image(&format!("{}/beside", region.account("dev")), "v1", &[b"another"]).await;
    prod.push_image(&format!("{}/beside", region.account("prod")), "v1", &[b"a third"]).await;
    World { region, blob: Digest::of(b"the secret layer").to_string(), image }
}

/// A manifest with one layer, its config in every repository here.
fn naming(blob: &str) -> String {
    let config = Digest::of(b"{}");
    serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob, "size": 16}],
    })
    .to_string()
}

/// Every way to ask a repository for a blob or manifest by what names it.
async fn reads(http: &Http, repository: &str, blob: &str, image: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let range: &[(&str, &str)] = &[("range", "bytes=2-5")];
    for (method, below, headers) in [
        (Method::HEAD, format!("blobs/{blob}"), &[][..]),
        (Method::GET, format!("blobs/{blob}"), &[]),
        (Method::GET, format!("blobs/{blob}"), range),
        (Method::DELETE, format!("blobs/{blob}"), &[]),
        (Method::HEAD, format!("manifests/{image}"), &[]),
        (Method::GET, format!("manifests/{image}"), &[]),
        (Method::DELETE, format!("manifests/{image}"), &[]),
        (Method::GET, format!("referrers/{image}"), &[]),
    ] {
        answers.push(http.call(method, &format!("/v2/{repository}/{below}"), headers, Bytes::new()).await);
    }
    answers
}

/// Every way to bring a blob into a repository by its name alone; `from` is where it is said to be, or nothing.
async fn claims(http: &Http, repository: &str, blob: &str, from: &[&str]) -> Vec<Answer> {
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let mut answers = Vec::new();
    for from in from {
        let path = format!("{uploads}?mount={blob}&from={from}");
        answers.push(http.call(Method::POST, &path, &[], Bytes::new()).await);
    }
    answers.push(http.call(Method::POST, &format!("{uploads}?digest={blob}"), &[], Bytes::new()).await);
    let opened = http.call(Method::POST, &uploads, &[], Bytes::new()).await;
    let path = format!("{}?digest={blob}", opened.header("location"));
    answers.push(http.call(Method::PUT, &path, &[], Bytes::new()).await);
    for reference in ["v9".to_owned(), Digest::of(naming(blob).as_bytes()).to_string()] {
        let path = format!("/v2/{repository}/manifests/{reference}");
        answers.push(http.call(Method::PUT, &path, &[("content-type", MANIFEST)], naming(blob)).await);
    }
    answers
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status.as_u16()).collect()
}

fn all_told(answers: &[Answer], names: &[&str]) -> Vec<String> {
    answers.iter().map(|answer| told(answer, names)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_repository_of_the_account_does_not_hold_it_though_its_owner_may_do_everything() {
    let World { region, blob, image } = world().await;
    let (http, beside) = (region.http("dev").await, format!("{}/beside", region.account("dev")));
    let unseen = unseen();
    let known = reads(&http, &beside, &blob, &image).await;
    assert_eq!(statuses(&known), [404, 404, 404, 404, 404, 404, 404, 200]);
    assert!(known[7].text().contains("\"manifests\":[]"), "{}", known[7].text());
    let unknown = reads(&http, &beside, &unseen, &unseen).await;
    let names = [blob.as_str(), &image, &unseen];
    assert_eq!(all_told(&known, &names), all_told(&unknown, &names));

    let from = format!("{}/absent", region.account("dev"));
    let known = claims(&http, &beside, &blob, &[&from]).await;
    assert_eq!(statuses(&known), [202, 400, 400, 400, 400]);
    let codes: Vec<String> = known[1..].iter().map(code).collect();
    assert_eq!(codes, ["DIGEST_INVALID", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"]);
    let unknown = claims(&http, &beside, &unseen, &[&from]).await;
    assert_eq!(all_told(&known, &names), all_told(&unknown, &names));
    let media_type = "application/vnd.oci.image.index.v1+json";
    for digest in [&image, &unseen] {
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type,
            "manifests": [{"mediaType": MANIFEST, "digest": digest, "size": 400}]});
        let path = format!("/v2/{beside}/manifests/v9");
        let put = http.call(Method::PUT, &path, &[("content-type", media_type)], index.to_string()).await;
        assert_eq!((put.status, code(&put).as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"), "{digest}");
    }
    assert_eq!(http.call(Method::HEAD, &format!("/v2/{beside}/blobs/{blob}"), &[], "").await.status, 404);
    assert_eq!(http.get(&format!("/v2/{beside}/manifests/v9")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_without_a_source_finds_only_what_its_caller_may_read() {
    let World { region, blob, .. } = world().await;
    let (dev, unseen) = (region.account("dev"), unseen());
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": "ecr:*", "Resource": format!("arn:aws:ecr:us-east-1:{dev}:repository/beside")},
    ]});
    let tight = tenants::user(&region, "dev", "tight", &policy.to_string()).await;
    let tight = tenants::http_of(&region, &tight).await;
    let (beside, names) = (format!("{dev}/beside"), [blob.as_str(), &unseen]);
    let known = claims(&tight, &beside, &blob, &[""]).await;
    assert_eq!(statuses(&known), [202, 400, 400, 400, 400]);
    assert_eq!(all_told(&known, &names), all_told(&claims(&tight, &beside, &unseen, &[""]).await, &names));
    let owner = region.http("dev").await;
    assert_eq!(statuses(&claims(&owner, &beside, &unseen, &[""]).await)[0], 202);
    assert_eq!(statuses(&claims(&owner, &beside, &blob, &[""]).await)[0], 201);
    assert_eq!(owner.get(&format!("/v2/{beside}/blobs/{blob}")).await.body, "the secret layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_cannot_tell_a_forbidden_repository_from_a_missing_one() {
    let World { region, blob, image } = world().await;
    let (http, dev, unseen) = (region.http("prod").await, region.account("dev").to_string(), unseen());
    let nobody = AccountId::from_seed(7).to_string();
    let names = [blob.as_str(), &image, &unseen, &dev, &nobody, "hidden", "absent"];
    let ask = async |repository: String, blob: &str, image: &str| {
        let mut answers = reads(&http, &repository, blob, image).await;
        for below in ["manifests/v1", "manifests/v2", "tags/list"] {
            answers.push(http.get(&format!("/v2/{repository}/{below}")).await);
        }
        answers.extend(claims(&http, &repository, blob, &["", &format!("{}/beside", region.account("prod"))]).await);
        assert_eq!(statuses(&answers[..answers.len() - 3]), vec![403; answers.len() - 3], "{repository}");
        // The PUT that follows a refused POST has no upload to go to.
        let refused: Vec<Answer> = answers.into_iter().filter(|answer| answer.status == 403).collect();
        all_told(&refused, &names)
    };
    let forbidden = ask(format!("{dev}/hidden"), &blob, &image).await;
    assert!(forbidden.len() >= 16, "{}", forbidden.len());
    assert_eq!(forbidden, ask(format!("{dev}/hidden"), &unseen, &unseen).await, "a digest that is not there");
    assert_eq!(forbidden, ask(format!("{dev}/absent"), &blob, &image).await, "a repository that is not there");
    assert_eq!(forbidden, ask(format!("{nobody}/absent"), &blob, &image).await, "an account that is not there");
    for line in &forbidden {
        assert!(!line.contains("statement") && !line.contains("size"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_mount_is_an_ordinary_upload_whether_its_source_is_there_or_not() {
    let World { region, blob, image } = world().await;
    let (http, dev, unseen) = (region.http("prod").await, region.account("dev"), unseen());
    let beside = format!("{}/beside", region.account("prod"));
    let (hidden, absent) = (format!("{dev}/hidden"), format!("{dev}/absent"));
    let known = claims(&http, &beside, &blob, &["", &hidden, &absent]).await;
    assert_eq!(statuses(&known), [202, 202, 202, 400, 400, 400, 400]);
    let unknown = claims(&http, &beside, &unseen, &["", &hidden, &absent]).await;
    let names = [blob.as_str(), &image, &unseen];
    assert_eq!(all_told(&known, &names), all_told(&unknown, &names));
    let plain: Vec<String> = all_told(&known[..3], &names);
    assert!(plain.iter().all(|line| *line == plain[0]), "{plain:?}");
    assert_eq!(statuses(&reads(&http, &beside, &blob, &image).await), [404, 404, 404, 404, 404, 404, 404, 200]);
    // Bytes that another tenant has already are received as bytes that nobody has.
    let had =
        http.call(Method::POST, &format!("/v2/{beside}/blobs/uploads/?digest={blob}"), &[], "the secret layer").await;
    let (new, bytes) = (Digest::of(b"a fresher layer!").to_string(), "a fresher layer!");
    let fresh = http.call(Method::POST, &format!("/v2/{beside}/blobs/uploads/?digest={new}"), &[], bytes).await;
    assert_eq!(told(&had, &[&blob]), told(&fresh, &[&new]));
    assert_eq!(had.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_needs_the_right_to_read_its_source() {
    let World { region, blob, .. } = world().await;
    let dev = region.account("dev");
    let target = format!("arn:aws:ecr:us-east-1:{dev}:repository/beside");
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": "ecr:*", "Resource": target},
    ]});
    let pusher = tenants::user(&region, "dev", "pusher", &policy.to_string()).await;
    let http = tenants::http_of(&region, &pusher).await;
    let path = format!("/v2/{dev}/beside/blobs/uploads/?mount={blob}&from={dev}/hidden");
    let held = async || http.call(Method::HEAD, &format!("/v2/{dev}/beside/blobs/{blob}"), &[], "").await.status;
    assert_eq!(http.call(Method::POST, &path, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(held().await, StatusCode::NOT_FOUND);
    // Knowing that it is there is not yet the right to read it.
    let source = format!("arn:aws:ecr:us-east-1:{dev}:repository/hidden");
    for (actions, status) in [
        (&["ecr:BatchCheckLayerAvailability"][..], StatusCode::ACCEPTED),
        (&["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"], StatusCode::CREATED),
    ] {
        let given = tenants::allow(actions, &source);
        region.app().put_principal_policy(&region.admin("dev").await, pusher.clone(), "source", &given).await.unwrap();
        assert_eq!(http.call(Method::POST, &path, &[], "").await.status, status, "{actions:?}");
    }
    assert_eq!(held().await, StatusCode::OK);
}

/// What a source account sends that has a manifest but not its bytes.
fn sent(repository: &str, seq: i64, blob: &str) -> ImageChange {
    let config =
        serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob, "size": 16});
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    let text = manifest.to_string();
    let digest = Digest::of(text.as_bytes());
    let manifest = SentManifest { digest, media_type: MANIFEST.to_owned(), bytes: text.into() };
    ImageChange {
        seq,
        repository: RepositoryName::parse(repository).unwrap(),
        tag: Some((Tag::parse("stolen").unwrap(), 1)),
        manifests: vec![manifest],
    }
}

const SECRET: &[u8] = b"prod's own bytes";

/// Prod has a blob in `vault` and consents to dev's images.
async fn vault(region: &Region) {
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    region.app().put_registry_policy(&region.admin("prod").await, prod, &consent(dev), false).await.unwrap();
    let http = region.http("prod").await;
    http.push_image(&format!("{prod}/vault"), "v1", &[SECRET]).await;
    http.push_image(&format!("{prod}/replica"), "v1", &[b"something else"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicated_manifest_does_not_link_what_its_source_never_brought() {
    let region = Region::start().await;
    vault(&region).await;
    let (app, prod) = (region.app(), region.account("prod"));
    let (http, secret) = (region.http("prod").await, Digest::of(SECRET).to_string());
    let source_region = RegionName::parse("eu-west-1").unwrap();
    let inbound = Inbound { source_region, source: region.account("dev"), destination: prod };
    let arriving = Arriving { inbound, epoch: 1 };
    app.welcome(&arriving).await.unwrap();
    let before = books(&region);
    let mut answers = Vec::new();
    // In a repository that lacks the blob, in the very one that holds it; then one that nobody has.
    for (seq, repository, blob) in [(1, "replica", &secret), (2, "vault", &secret), (3, "vault", &unseen())] {
        let change = sent(repository, seq, blob);
        let needed = app.needed_blobs(&arriving, std::slice::from_ref(&change)).await.remove(0).1.unwrap();
        let asked: Vec<String> = needed.iter().map(|blob| blob.digest.to_string()).collect();
        assert_eq!(asked, [blob.as_str()], "the bytes must travel to {repository}");
        let refused = app.apply_change(&arriving, 0, &change, &BTreeSet::new()).await.map(drop).unwrap_err();
        answers.push((refused.reason, refused.message.replace(blob.as_str(), "<blob>")));
        let got = http.get(&format!("/v2/{prod}/{repository}/manifests/stolen")).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(answers[0], answers[2], "a blob that another repository holds reads as one that nobody has");
    assert_eq!(answers[1], answers[2], "a blob that this repository holds reads as one that nobody has");
    before.unchanged(&books(&region), "a manifest without its bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_it_sent_a_blob_and_did_not_gets_neither_link_nor_receipt() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    vault(home).await;
    let (dev, prod) = (home.account("dev").to_string(), home.account("prod").to_string());
    let mut peer = certificates::transport(home, &organization.ca(), &certificates::own(away)).await.unwrap();
    let (frames, waiting) = tokio::sync::mpsc::channel(4);
    let send = async |frame| frames.send(pb::ReplicateRequest { frame: Some(frame) }).await.unwrap();
    send(Frame::Hello(pb::Hello { protocol: 1, source_account: dev, destination_account: prod.clone(), epoch: 1 }))
        .await;
    let mut answers = peer.replicate(ReceiverStream::new(waiting)).await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().frame.unwrap();
    assert!(matches!(next().await, Answered::Welcome(_)));
    let secret = Digest::of(SECRET).to_string();
    let mut refusals = Vec::new();
    for blob in [&secret, &unseen()] {
        // A refusal of what must travel is retryable, and a retry begins with the same change.
        let change = sent("vault", 1, blob);
        send(Frame::Changes(pb::Changes { shard: 0, changes: vec![change.into()] })).await;
        let Answered::Need(need) = next().await else { panic!("a need was expected") };
        assert_eq!(need.blobs.iter().map(|blob| &blob.digest).collect::<Vec<_>>(), [blob]);
        send(Frame::BlobsSent(pb::BlobsSent { missing: Vec::new() })).await;
        let Answered::Refused(refused) = next().await else { panic!("a refusal was expected") };
        assert!(refused.retryable, "{}", refused.message);
        let missing = vec![blob.clone()];
        send(Frame::Changes(pb::Changes { shard: 0, changes: vec![sent("vault", 1, blob).into()] })).await;
        assert!(matches!(next().await, Answered::Need(_)));
        send(Frame::BlobsSent(pb::BlobsSent { missing })).await;
        let Answered::Refused(lost) = next().await else { panic!("a refusal was expected") };
        assert!(!lost.retryable, "{}", lost.message);
        refusals.push([refused, lost].map(|refused| refused.message.replace(blob.as_str(), "<blob>")));
    }
    assert_eq!(refusals[0], refusals[1], "the answers tell whether the destination holds a blob");
    let got = home.http("prod").await.get(&format!("/v2/{prod}/vault/manifests/stolen")).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
}
