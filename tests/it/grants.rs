//! What a grant opens and what it leaves shut: tags and everything they reach, from when until when, for whom, and in
//! which words a refusal is told.

use crate::harness::{Answer, Http, MANIFEST, Region};
use crate::tenants::{self, GIBIBYTE, Slow, books, code, grant, push_gibibyte, repository, told};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::time::Duration;
use transship::authz::eval::Outcome;
use transship::names::{Digest, PageSize};
use transship::store::grants::GrantAction::{Pull, Push};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Gives prod, as an account, something on dev's repository `app`; answers the grant's id.
async fn give(region: &Region, tags: &str, actions: &[transship::store::grants::GrantAction]) -> transship::names::Uid {
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let new = grant(prod.as_str(), "app", tags, actions);
    region.app().create_grant(&region.admin("dev").await, dev, new).await.unwrap().id
}

async fn index(http: &Http, repository: &str, tag: &str, children: &[&str]) -> String {
    let describe = |digest: &&str| serde_json::json!({"mediaType": MANIFEST, "digest": digest, "size": 400});
    let manifests: Vec<_> = children.iter().map(describe).collect();
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    http.put_manifest(repository, tag, INDEX, &text).await
}

/// A signature of an image, pushed by digest.
async fn sign(http: &Http, repository: &str, subject: &str, blob: &str) -> String {
    let text = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.signature",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": blob, "size": 4}],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 400},
    });
    http.put_manifest(repository, "", MANIFEST, &text.to_string()).await
}

/// GET, HEAD and a range of what lies below a repository.
async fn pulls(http: &Http, repository: &str, below: &str) -> Vec<Answer> {
    let path = format!("/v2/{repository}/{below}");
    let mut answers = vec![http.get(&path).await];
    answers.push(http.call(Method::GET, &path, &[("range", "bytes=0-1")], Bytes::new()).await);
    if !below.starts_with("referrers") {
        answers.push(http.call(Method::HEAD, &path, &[], Bytes::new()).await);
    }
    answers
}

fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_on_some_tags_opens_what_they_reach_and_nothing_that_only_others_reach() {
    let region = Region::start().await;
    let app = format!("{}/app", region.account("dev"));
    let dev = region.http("dev").await;
    let released = dev.push_image(&app, "v1.0", &[b"shared", b"released"]).await;
    let built = dev.push_image(&app, "dev-1", &[b"shared", b"built"]).await;
    let one = dev.push_image(&app, "", &[b"child of the released"]).await;
    let two = dev.push_image(&app, "", &[b"child of the built"]).await;
    let both = dev.push_image(&app, "", &[b"child of both"]).await;
    let loose = dev.push_image(&app, "", &[b"no tag at all"]).await;
    let public = index(&dev, &app, "v1.0-multi", &[&one, &both]).await;
    let private = index(&dev, &app, "dev-multi", &[&two, &both]).await;
    let (blessing, curse) = (dev.push_blob(&app, b"yes!").await, dev.push_blob(&app, b"no!!").await);
    let signed = sign(&dev, &app, &released, &blessing).await;
    let cursed = sign(&dev, &app, &built, &curse).await;
    let pending = dev.push_blob(&app, b"pushed, in no image yet").await;
    // A second name of the released image that the grant does not cover.
    let text = dev.get(&format!("/v2/{app}/manifests/v1.0")).await.text();
    dev.put_manifest(&app, "dev-alias", MANIFEST, &text).await;
    give(&region, "v1*", &[Pull]).await;

    let prod = region.http("prod").await;
    let mut served: Vec<String> =
        ["v1.0", "v1.0-multi", &released, &public, &one, &both, &signed].map(|name| format!("manifests/{name}")).into();
    let reached: [&[u8]; 6] = [b"{}", b"shared", b"released", b"child of the released", b"child of both", b"yes!"];
    served.extend(reached.map(|bytes| format!("blobs/{}", digest(bytes))));
    served.extend([&released, &public].map(|image| format!("referrers/{image}")));
    for below in &served {
        for answer in pulls(&prod, &app, below).await {
            assert!(answer.status.is_success(), "{below}: {} {}", answer.status, answer.text());
        }
    }
    let mut refused: Vec<String> = ["dev-1", "dev-multi", "dev-alias", &built, &private, &two, &cursed, &loose]
        .map(|name| format!("manifests/{name}"))
        .into();
    let hidden: [&[u8]; 4] = [b"built", b"child of the built", b"no!!", b"no tag at all"];
    refused.extend(hidden.map(|bytes| format!("blobs/{}", digest(bytes))));
    refused.extend([&built, &private, &loose].map(|image| format!("referrers/{image}")));
    refused.push(format!("blobs/{pending}"));
    for below in &refused {
        for answer in pulls(&prod, &app, below).await {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{below}: {}", answer.text());
        }
    }
    // What is hidden and what is not there read the same; a tag under the pattern may be missing openly.
    let unseen = digest(b"never pushed");
    for (hidden, missing) in [
        ("manifests/dev-1".to_owned(), "manifests/dev-9".to_owned()),
        (format!("manifests/{built}"), format!("manifests/{unseen}")),
        (format!("referrers/{built}"), format!("referrers/{unseen}")),
        (format!("blobs/{}", digest(b"built")), format!("blobs/{unseen}")),
    ] {
        let (hidden, missing) = (pulls(&prod, &app, &hidden).await, pulls(&prod, &app, &missing).await);
        let names = [built.as_str(), &unseen, &digest(b"built"), "dev-1", "dev-9"];
        let all = |answers: &[Answer]| answers.iter().map(|answer| told(answer, &names)).collect::<Vec<_>>();
        assert_eq!(all(&hidden), all(&missing));
    }
    assert_eq!(prod.get(&format!("/v2/{app}/manifests/v1.9")).await.status, StatusCode::NOT_FOUND);
    let referrers = prod.get(&format!("/v2/{app}/referrers/{released}")).await.text();
    assert!(referrers.contains(&signed) && !referrers.contains(&cursed), "{referrers}");
    let tags = prod.get(&format!("/v2/{app}/tags/list")).await;
    assert!(tags.text().contains(r#""tags":["v1.0","v1.0-multi"]"#), "{}", tags.text());
    let paged = prod.get(&format!("/v2/{app}/tags/list?n=1")).await;
    assert!(
        paged.text().contains(r#""tags":["v1.0"]"#) && paged.header("link").contains("last=v1.0"),
        "{}",
        paged.text()
    );
    let address = repository(&region, "dev", "app");
    let ctx = region.admin("prod").await;
    let page = region.app().list_images(&ctx, &address, "", PageSize::clamp(100)).await.unwrap();
    let mut listed: Vec<(String, Vec<String>)> = page
        .images
        .iter()
        .map(|image| (image.manifest.digest.to_string(), image.tags.iter().map(ToString::to_string).collect()))
        .collect();
    listed.sort();
    let mut expected = vec![
        (released.clone(), vec!["v1.0".to_owned()]),
        (public, vec!["v1.0-multi".to_owned()]),
        (one, Vec::new()),
        (both, Vec::new()),
        (signed, Vec::new()),
    ];
    expected.sort();
    assert_eq!(listed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_grant_reaches_follows_the_tags() {
    let region = Region::start().await;
    let app = format!("{}/app", region.account("dev"));
    let dev = region.http("dev").await;
    let old = dev.push_image(&app, "v1", &[b"old"]).await;
    let new = dev.push_image(&app, "dev-1", &[b"new"]).await;
    give(&region, "v1*", &[Pull]).await;
    let prod = region.http("prod").await;
    let status = async |below: String| prod.get(&format!("/v2/{app}/{below}")).await.status.as_u16();
    let seen = async || {
        [
            status(format!("manifests/{old}")).await,
            status(format!("blobs/{}", digest(b"old"))).await,
            status(format!("manifests/{new}")).await,
            status(format!("blobs/{}", digest(b"new"))).await,
        ]
    };
    assert_eq!(seen().await, [200, 200, 403, 403]);
    let text = dev.get(&format!("/v2/{app}/manifests/dev-1")).await.text();
    dev.put_manifest(&app, "v1", MANIFEST, &text).await;
    assert_eq!(seen().await, [403, 403, 200, 200]);
    dev.call(Method::DELETE, &format!("/v2/{app}/manifests/v1"), &[], Bytes::new()).await;
    assert_eq!(seen().await, [403, 403, 403, 403]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_in_force_from_its_start_to_its_end_or_its_revocation() {
    let region = Region::start().await;
    let (app, dev) = (format!("{}/app", region.account("dev")), region.account("dev"));
    region.http("dev").await.push_image(&app, "v1", &[b"layer"]).await;
    let clock = region.app().clock().clone();
    let (hour, minute) = (Duration::from_secs(3_600), Duration::from_secs(60));
    let mut new = grant(region.account("prod").as_str(), "app", "*", &[Pull]);
    new.not_before = Some(clock.now().plus(hour));
    new.not_after = Some(clock.now().plus(hour * 2));
    region.app().create_grant(&region.admin("dev").await, dev, new.clone()).await.unwrap();
    let prod = region.http("prod").await;
    let status = async || prod.get(&format!("/v2/{app}/manifests/v1")).await.status.as_u16();
    assert_eq!(status().await, 403, "it is scheduled");
    clock.advance(hour + minute);
    assert_eq!(status().await, 200, "it is active");
    clock.advance(hour);
    assert_eq!(status().await, 403, "it has expired");
    let late = region.app().create_grant(&region.admin("dev").await, dev, new).await.unwrap_err();
    assert!(late.message.contains("expire_time"), "{late}");
    let id = give(&region, "*", &[Pull]).await;
    assert_eq!(status().await, 200, "a new one is active at once");
    let foreign = region.app().revoke_grant(&region.admin("prod").await, dev, id).await.unwrap_err();
    assert_eq!(foreign.reason.as_str(), "ACCESS_DENIED", "the grantee may not revoke");
    region.app().revoke_grant(&region.admin("dev").await, dev, id).await.unwrap();
    assert_eq!(status().await, 403, "it is revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_push_takes_the_tags_it_covers_and_nothing_else() {
    let region = Region::start().await;
    let (dev, app) = (region.account("dev"), format!("{}/app", region.account("dev")));
    let theirs = region.http("dev").await.push_image(&app, "dev-1", &[b"theirs"]).await;
    let (admin, prod) = (region.admin("dev").await, region.account("prod"));
    region.app().create_grant(&admin, dev, grant(prod.as_str(), "ap*", "v1*", &[Push])).await.unwrap();
    let http = region.http("prod").await;
    let pushed = http.push_image(&app, "v1.5", &[b"ours"]).await;
    let text = region.http("dev").await.get(&format!("/v2/{app}/manifests/v1.5")).await.text();
    assert_eq!(digest(text.as_bytes()), pushed);
    let before = books(&region);
    for reference in ["dev-1", "dev-9", "latest"] {
        let path = format!("/v2/{app}/manifests/{reference}");
        let put = http.call(Method::PUT, &path, &[("content-type", MANIFEST)], text.clone()).await;
        assert_eq!((put.status, code(&put).as_str()), (StatusCode::FORBIDDEN, "DENIED"), "{reference}");
    }
    let both = format!("/v2/{app}/manifests/{pushed}?tag=v1.6&tag=dev-1");
    let put = http.call(Method::PUT, &both, &[("content-type", MANIFEST)], text.clone()).await;
    assert_eq!(put.status, StatusCode::FORBIDDEN, "one of two tags is not covered");
    for (method, below) in [
        (Method::DELETE, "manifests/v1.5".to_owned()),
        (Method::DELETE, format!("manifests/{theirs}")),
        (Method::DELETE, format!("blobs/{}", digest(b"ours"))),
        (Method::GET, "manifests/v1.5".to_owned()),
        (Method::GET, "tags/list".to_owned()),
        (Method::GET, format!("blobs/{}", digest(b"theirs"))),
    ] {
        let answer = http.call(method.clone(), &format!("/v2/{app}/{below}"), &[], Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {below}");
    }
    // The pattern covers repositories that are not there; to push into them is not to make them.
    let path = format!("/v2/{dev}/apart/blobs/uploads/");
    let missing = http.call(Method::POST, &path, &[], Bytes::new()).await;
    assert_eq!((missing.status, code(&missing).as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    assert_eq!(http.call(Method::POST, &format!("/v2/{dev}/other/blobs/uploads/"), &[], "").await.status, 403);
    before.unchanged(&books(&region), "a push beyond the grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_a_role_is_for_that_role_and_not_for_its_successor() {
    let region = Region::start().await;
    let (dev, app) = (region.account("dev"), format!("{}/app", region.account("dev")));
    region.http("dev").await.push_image(&app, "v1", &[b"layer"]).await;
    let anybody = tenants::trust(&format!("arn:aws:iam::{}:root", region.account("prod")), None);
    let policy = tenants::allow(tenants::PULL, "*");
    let runner = tenants::role(&region, "prod", "runner", &anybody, &policy).await;
    let other = tenants::role(&region, "prod", "other", &anybody, &policy).await;
    let unknown = grant("arn:aws:iam::111122223333:role/nobody", "app", "*", &[Pull]);
    let refused = region.app().create_grant(&region.admin("dev").await, dev, unknown).await.unwrap_err();
    assert_eq!(refused.reason.as_str(), "NOT_FOUND");
    let to_role = grant(runner.arn().as_str(), "app", "*", &[Pull]);
    region.app().create_grant(&region.admin("dev").await, dev, to_role).await.unwrap();
    let path = format!("/v2/{app}/manifests/v1");
    let first = tenants::http_of(&region, &runner).await;
    assert_eq!(first.get(&path).await.status, StatusCode::OK);
    assert_eq!(tenants::http_of(&region, &other).await.get(&path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(region.http("prod").await.get(&path).await.status, StatusCode::FORBIDDEN, "not even the admin");

    region.app().delete_principal(&region.admin("prod").await, runner.clone()).await.unwrap();
    assert_eq!(first.get(&path).await.status, StatusCode::UNAUTHORIZED, "a role that is gone is nobody");
    let again = tenants::role(&region, "prod", "runner", &anybody, &policy).await;
    assert_eq!(again, runner);
    assert_eq!(first.get(&path).await.status, StatusCode::UNAUTHORIZED, "its tokens do not come back with its name");
    let successor = tenants::http_of(&region, &again).await;
    assert_eq!(successor.get(&path).await.status, StatusCode::FORBIDDEN, "the name inherits nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_an_account_needs_the_accounts_own_allow_too() {
    let region = Region::start().await;
    let app = format!("{}/app", region.account("dev"));
    region.http("dev").await.push_image(&app, "v1", &[b"layer"]).await;
    give(&region, "*", &[Pull]).await;
    let path = format!("/v2/{app}/manifests/v1");
    let idle = tenants::user(&region, "prod", "idle", &tenants::allow(&["ecr:GetAuthorizationToken"], "*")).await;
    let busy = tenants::user(&region, "prod", "busy", &tenants::allow(tenants::PULL, "*")).await;
    let elsewhere = tenants::allow(tenants::PULL, "arn:aws:ecr:us-east-1:111122223333:repository/*");
    let other = tenants::user(&region, "prod", "other", &elsewhere).await;
    assert_eq!(tenants::http_of(&region, &idle).await.get(&path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(tenants::http_of(&region, &busy).await.get(&path).await.status, StatusCode::OK);
    let token = region.app().authorization_token(&region.caller(other).await).await;
    assert_eq!(token.unwrap_err().reason.as_str(), "ACCESS_DENIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_the_statement_to_the_resources_own_account_and_to_nobody_else() {
    let region = Region::start().await;
    let (dev, app) = (region.account("dev"), format!("{}/app", region.account("dev")));
    region.http("dev").await.push_image(&app, "v1", &[b"layer"]).await;
    give(&region, "*", &[Pull]).await;
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "FreezeForAudit", "Effect": "Deny", "Principal": "*", "Action": "ecr:BatchGetImage", "Resource": "*"},
    ]});
    let address = repository(&region, "dev", "app");
    region.app().set_repository_policy(&region.admin("dev").await, &address, &policy.to_string(), false).await.unwrap();
    let path = format!("/v2/{app}/manifests/v1");
    let arn = format!("arn:aws:ecr:us-east-1:{dev}:repository/app");

    let own = region.http("dev").await.get(&path).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN);
    let sentence = format!(
        "User: arn:aws:iam::{dev}:user/admin is not authorized to perform: ecr:BatchGetImage on resource: {arn} with an \
         explicit deny in a resource-based policy"
    );
    assert!(own.text().contains(&sentence), "{}", own.text());
    assert!(own.text().contains("FreezeForAudit") && own.text().contains("statement 1"), "{}", own.text());

    let prod = region.account("prod");
    let foreign = region.http("prod").await.get(&path).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let sentence = format!(
        "User: arn:aws:iam::{prod}:user/admin is not authorized to perform: ecr:BatchGetImage on resource: {arn} because \
         no resource-based policy allows the ecr:BatchGetImage action"
    );
    assert!(foreign.text().contains(&sentence), "{}", foreign.text());
    assert!(!foreign.text().contains("Freeze") && !foreign.text().contains("statement"), "{}", foreign.text());
    // The same sentence as for a repository that is not there.
    let absent = region.http("prod").await.get(&format!("/v2/{dev}/bpp/manifests/v1")).await;
    assert_eq!(told(&foreign, &["app", "bpp"]), told(&absent, &["app", "bpp"]));

    let idle = tenants::user(&region, "dev", "idle", &tenants::allow(&["ecr:GetAuthorizationToken"], "*")).await;
    let idle = tenants::http_of(&region, &idle).await.get(&format!("/v2/{app}/tags/list")).await;
    assert!(idle.text().contains("no identity policy allows it"), "{}", idle.text());
    let asked = region.app();
    let principal = region.admin("prod").await;
    let question = asked.explain_access(&principal, &dev_admin(&region), "pull", &address, None).await.unwrap_err();
    assert_eq!(question.reason.as_str(), "ACCESS_DENIED", "an explanation is the resource's account's alone");
    assert!(!question.metadata.contains_key("statement"));
    let admin = region.admin("dev").await;
    let answer = asked.explain_access(&admin, &prod_admin(&region), "pull", &address, None).await.unwrap();
    assert!(answer.statement.unwrap().contains("FreezeForAudit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_names_no_policy_of_another_account() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    give(&region, "*", &[Pull]).await;
    let (app, address) = (region.app(), tenants::repository(&region, "dev", "app"));
    let deny = r#"{"Version":"2012-10-17","Statement":{"Sid":"Told","Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let barred = tenants::user(&region, "prod", "barred", deny).await.arn();
    let local = tenants::user(&region, "dev", "local", deny).await.arn();
    let asker = region.admin("dev").await;
    let explain = async |principal| {
        let answer = app.explain_access(&asker, principal, "pull", &address, None).await.unwrap();
        (answer.outcome, answer.statement.unwrap())
    };
    let hidden = format!("a policy of account {prod} decided; ask there which");
    assert_eq!(explain(&barred).await, (Outcome::ExplicitDeny, hidden.clone()));
    let theirs = prod_admin(&region);
    assert_eq!(explain(&theirs).await, (Outcome::Allow, hidden));
    let (_, own) = explain(&local).await;
    assert!(own.contains("\"given\"") && own.contains("Told"), "{own}");
}

fn dev_admin(region: &Region) -> transship::names::Arn {
    transship::names::Arn::parse(&format!("arn:aws:iam::{}:user/admin", region.account("dev"))).unwrap()
}

fn prod_admin(region: &Region) -> transship::names::Arn {
    transship::names::Arn::parse(&format!("arn:aws:iam::{}:user/admin", region.account("prod"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_grant_cuts_a_slow_pull_of_a_large_blob_within_five_seconds() {
    let region = Region::start().await;
    let (dev, app) = (region.account("dev"), format!("{}/app", region.account("dev")));
    let http = region.http("dev").await;
    push_gibibyte(&region, &app, &region.password("dev").await).await;
    let config = http.push_blob(&app, b"{}").await;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": GIBIBYTE, "size": 1 << 30}],
    });
    http.put_manifest(&app, "v1", MANIFEST, &manifest.to_string()).await;
    let id = give(&region, "v1*", &[Pull]).await;
    let password = region.password("prod").await;
    let mut pull = Slow::open(&region, &format!("/v2/{app}/blobs/{GIBIBYTE}"), &password).await;
    assert_eq!(pull.length, 1 << 30);
    assert!(pull.until(4 << 20).await, "the pull is served while the grant stands");
    region.app().revoke_grant(&region.admin("dev").await, dev, id).await.unwrap();
    pull.breaks_within_five_seconds().await;
}

/// What lies under each of two names reads the same, once the names are taken out.
fn alike(hidden: &[Answer], missing: &[Answer], names: &[&str]) {
    let all = |answers: &[Answer]| answers.iter().map(|answer| told(answer, names)).collect::<Vec<_>>();
    assert_eq!(all(hidden), all(missing));
}

/// Every manifest that would bring what it names under a tag of the pusher's own.
async fn namings(http: &Http, repository: &str, blob: &str, image: &str) -> Vec<Answer> {
    let config = |digest: &str| serde_json::json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2});
    let layer = |kind: &str| {
        serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config(&digest(b"{}")),
            "layers": [{"mediaType": kind, "digest": blob, "size": 5}]})
    };
    let subject = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/x",
        "config": config(&digest(b"{}")), "layers": [],
        "subject": {"mediaType": MANIFEST, "digest": image, "size": 400}});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{"mediaType": MANIFEST, "digest": image, "size": 400}]});
    let whole = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config(blob), "layers": []});
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let mut answers = Vec::new();
    for (kind, body) in [
        (MANIFEST, layer("application/vnd.oci.image.layer.v1.tar")),
        (MANIFEST, whole),
        (MANIFEST, subject),
        (INDEX, index),
        (MANIFEST, layer(foreign)),
    ] {
        let text = body.to_string();
        for reference in ["v1-mine".to_owned(), digest(text.as_bytes())] {
            let path = format!("/v2/{repository}/manifests/{reference}");
            answers.push(http.call(Method::PUT, &path, &[("content-type", kind)], text.clone()).await);
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_to_see_what_other_tags_hide_by_naming_it() {
    let region = Region::start().await;
    let app = format!("{}/app", region.account("dev"));
    let dev = region.http("dev").await;
    dev.push_image(&app, "v1.0", &[b"shared"]).await;
    let built = dev.push_image(&app, "dev-1", &[b"shared", b"built"]).await;
    give(&region, "v1*", &[Pull, Push]).await;
    let prod = region.http("prod").await;
    let (hidden, unseen) = (digest(b"built"), digest(b"never pushed"));
    let names = [hidden.as_str(), &unseen, &built];

    let known = namings(&prod, &app, &hidden, &built).await;
    let statuses: Vec<u16> = known.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [400, 400, 400, 400, 400, 400, 400, 400, 201, 201], "a foreign layer may be missing");
    for answer in &known[..8] {
        assert_eq!(code(answer), "MANIFEST_BLOB_UNKNOWN", "{}", answer.text());
    }
    let left: Vec<Answer> = known.into_iter().take(8).collect();
    let unknown: Vec<Answer> = namings(&prod, &app, &unseen, &unseen).await.into_iter().take(8).collect();
    alike(&left, &unknown, &names);
    // Whoever may push is not stopped by what it cannot see: both read as missing, and the bytes are sent.
    let head = async |blob: &str| prod.call(Method::HEAD, &format!("/v2/{app}/blobs/{blob}"), &[], "").await;
    alike(&[head(&hidden).await], &[head(&unseen).await], &names);
    assert_eq!(head(&hidden).await.status, StatusCode::NOT_FOUND);
    assert_eq!(head(&digest(b"shared")).await.status, StatusCode::OK);
    for below in [format!("blobs/{hidden}"), format!("manifests/{built}"), format!("referrers/{built}")] {
        for answer in pulls(&prod, &app, &below).await.iter().take(2) {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{below}: {}", answer.text());
        }
    }
    // A repository that takes manifests with missing content takes none that may come to show what is hidden.
    let admin = region.admin("dev").await;
    region.app().set_sparse_manifests(&admin, &repository(&region, "dev", "app"), Some(true)).await.unwrap();
    for blob in [&hidden, &unseen] {
        let answers = namings(&prod, &app, blob, blob).await;
        assert!(answers[..8].iter().all(|answer| answer.status == StatusCode::BAD_REQUEST), "{blob}");
    }
    region.app().set_sparse_manifests(&admin, &repository(&region, "dev", "app"), Some(false)).await.unwrap();
    let within = format!("/v2/{app}/blobs/uploads/?mount={hidden}&from={app}");
    assert_eq!(prod.call(Method::POST, &within, &[], "").await.status, StatusCode::ACCEPTED, "no mount of it either");

    // Who brings the bytes may name them, and so may who sees them; a multi-platform image is brought by digest first.
    let own = prod.push_image(&app, "v1.1", &[b"shared", b"built", b"ours"]).await;
    let child = prod.push_image(&app, "", &[b"for arm"]).await;
    index(&prod, &app, "v1.1-multi", &[&own, &child]).await;
    assert_eq!(prod.get(&format!("/v2/{app}/blobs/{hidden}")).await.status, StatusCode::OK, "it had these bytes");
    assert_eq!(prod.get(&format!("/v2/{app}/manifests/{child}")).await.status, StatusCode::OK);
    assert_eq!(prod.get(&format!("/v2/{app}/manifests/{built}")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_its_principals_own_and_ends_with_the_lease() {
    let region = Region::start().await;
    let app = format!("{}/app", region.account("dev"));
    region.http("dev").await.push_image(&app, "dev-1", &[b"theirs"]).await;
    give(&region, "v1*", &[Pull, Push]).await;
    let policy = tenants::allow(&["ecr:*"], "*");
    let one = tenants::user(&region, "prod", "first", &policy).await;
    let first = tenants::http_of(&region, &one).await;
    let second = tenants::http_of(&region, &tenants::user(&region, "prod", "second", &policy).await).await;
    let put = async |http: &Http, tag: &str, layer: &[u8]| {
        let text = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "text/x", "digest": digest(layer), "size": layer.len()}, "layers": []});
        let path = format!("/v2/{app}/manifests/{tag}");
        http.call(Method::PUT, &path, &[("content-type", MANIFEST)], text.to_string()).await.status.as_u16()
    };
    first.push_blob(&app, b"brought by the first").await;
    first.push_blob(&app, b"theirs").await;
    assert_eq!(put(&second, "v1-b", b"brought by the first").await, 400, "it is not the second's to name");
    assert_eq!(put(&first, "v1-a", b"brought by the first").await, 201);
    assert_eq!(put(&second, "v1-b", b"brought by the first").await, 201, "a tag shows it to both now");
    assert_eq!(put(&second, "v1-c", b"theirs").await, 400);
    region.app().clock().advance(Duration::from_secs(25 * 3_600));
    let first = tenants::http_of(&region, &one).await;
    assert_eq!(put(&first, "v1-c", b"theirs").await, 400, "the claim is over, and the blob is there for dev-1 only");
}
