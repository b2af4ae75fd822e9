//! Tags that do not move, and what a lock keeps.

use crate::harness::{Answer, Http, MANIFEST, Organization, Region, eventually};
use crate::tenants::{allow, code, http_of, repository, user};
use http::{Method, StatusCode};
use std::sync::Arc;
use transship::error::Reason;
use transship::names::{Digest, Protected, Tag, TagMutability};

/// A manifest of an artifact whose only blob is the empty JSON object, which differs by `mark`.
fn manifest(mark: &str) -> String {
    let empty =
        serde_json::json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2});
    serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b", "config": empty,
        "layers": [empty], "annotations": {"mark": mark}})
    .to_string()
}

async fn put(http: &Http, repository: &str, tag: &str, mark: &str) -> Answer {
    let path = format!("/v2/{repository}/manifests/{tag}");
    http.call(Method::PUT, &path, &[("content-type", MANIFEST)], manifest(mark)).await
}

async fn delete(http: &Http, repository: &str, reference: &str) -> Answer {
    http.call(Method::DELETE, &format!("/v2/{repository}/manifests/{reference}"), &[], "").await
}

async fn choose(region: &Region, text: &str) {
    let (admin, address) = (region.admin("dev").await, repository(region, "dev", "app"));
    let row = region.app().set_tag_mutability(&admin, &address, TagMutability::parse(text).unwrap()).await.unwrap();
    assert_eq!(row.tag_mutability.to_string(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_moves_or_stays_as_its_repository_says_and_no_tag_is_special() {
    let region = Region::start().await;
    let (app, http) = (format!("{}/app", region.account("dev")), region.http("dev").await);
    http.push_blob(&app, b"{}").await;
    let tags = ["latest", "v1", "v1.0", "dev-1"];
    for tag in tags {
        assert_eq!(put(&http, &app, tag, "first").await.status, StatusCode::CREATED);
    }
    let cases = [
        ("IMMUTABLE", vec![]),
        ("IMMUTABLE_WITH_EXCLUSION latest dev-*", vec!["latest", "dev-1"]),
        ("MUTABLE_WITH_EXCLUSION v* latest", vec!["dev-1"]),
        ("MUTABLE_WITH_EXCLUSION *.*", vec!["latest", "v1", "dev-1"]),
        ("MUTABLE", tags.to_vec()),
    ];
    for (mode, movable) in cases {
        choose(&region, mode).await;
        for tag in tags {
            let before = http.get(&format!("/v2/{app}/manifests/{tag}")).await.body;
            let moved = put(&http, &app, tag, mode).await;
            let after = http.get(&format!("/v2/{app}/manifests/{tag}")).await.body;
            if movable.contains(&tag) {
                assert_eq!((moved.status, after != before), (StatusCode::CREATED, true), "{mode}: {tag}");
                continue;
            }
            assert_eq!((moved.status, code(&moved)), (StatusCode::BAD_REQUEST, "TAG_INVALID".to_owned()), "{mode}");
            let whose = if mode == "IMMUTABLE" { "repository" } else { "tag" };
            let text = format!("cannot be overwritten because the {whose} is immutable");
            assert!(moved.text().contains(&text), "{}", moved.text());
            assert_eq!(after, before, "{mode}: {tag} stayed");
        }
        // To push the same image again changes nothing, and a new tag is always free.
        let path = format!("/v2/{app}/manifests/v1");
        let same = http.get(&path).await.body;
        assert_eq!(
            http.call(Method::PUT, &path, &[("content-type", MANIFEST)], same).await.status,
            StatusCode::CREATED
        );
        let new = mode.replace([' ', '*'], "_");
        assert_eq!(put(&http, &app, &new, "first").await.status, StatusCode::CREATED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_set_an_immutable_tag_at_once_one_does() {
    let region = Region::start().await;
    let (app, http) = (format!("{}/app", region.account("dev")), Arc::new(region.http("dev").await));
    http.push_blob(&app, b"{}").await;
    choose(&region, "IMMUTABLE").await;
    for round in 0..8 {
        let pushers = (0..32).map(|at| {
            let (http, app) = (http.clone(), app.clone());
            tokio::spawn(async move {
                let mark = format!("{round} {at}");
                let answer = put(&http, &app, &format!("v{round}"), &mark).await;
                (answer.status, Digest::of(manifest(&mark).as_bytes()).to_string())
            })
        });
        let answers: Vec<_> = futures::future::join_all(pushers).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).collect();
        assert_eq!(won.len(), 1, "one of 32 sets the tag");
        assert!(answers.iter().all(|(status, _)| matches!(status.as_u16(), 201 | 400)));
        let kept = http.get(&format!("/v2/{app}/manifests/v{round}")).await;
        assert_eq!(kept.header("docker-content-digest"), won[0].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_tag_stays_where_it_points_until_the_lock_is_removed() {
    let region = Region::start().await;
    let (app, http, admin) =
        (format!("{}/app", region.account("dev")), region.http("dev").await, region.admin("dev").await);
    let address = repository(&region, "dev", "app");
    http.push_blob(&app, b"{}").await;
    let digest = put(&http, &app, "v1", "first").await.header("docker-content-digest").to_owned();
    put(&http, &app, "other", "first").await;
    let tag = Protected::Tag(Tag::parse("v1").unwrap());
    let lock = async |object| region.app().create_lock(&admin, &address, object, "in production".to_owned()).await;
    let missing = lock(Protected::Tag(Tag::parse("v2").unwrap())).await.unwrap_err();
    assert_eq!(missing.reason, Reason::ImageNotFound);
    lock(tag.clone()).await.unwrap();
    assert_eq!(lock(tag.clone()).await.unwrap_err().reason, Reason::AlreadyExists);
    for refused in [
        put(&http, &app, "v1", "second").await,
        delete(&http, &app, "v1").await,
        // The image goes with all its tags, the locked one too.
        delete(&http, &app, &digest).await,
    ] {
        assert_eq!((refused.status, code(&refused)), (StatusCode::CONFLICT, "DENIED".to_owned()));
        assert!(refused.text().contains("kept by a lock on tag v1 (in production)"), "{}", refused.text());
    }
    let removed = region.app().delete_repository(&admin, &address, true).await.unwrap_err();
    assert_eq!(removed.reason, Reason::Locked);
    // Nothing else is kept.
    assert_eq!(put(&http, &app, "other", "second").await.status, StatusCode::CREATED);
    assert_eq!(delete(&http, &app, "other").await.status, StatusCode::ACCEPTED);
    region.app().delete_lock(&admin, &address, tag.clone()).await.unwrap();
    assert_eq!(region.app().delete_lock(&admin, &address, tag).await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(delete(&http, &app, &digest).await.status, StatusCode::ACCEPTED);
    region.app().delete_repository(&admin, &address, true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_image_keeps_what_it_needs_and_a_locked_repository_all_its_images() {
    let region = Region::start().await;
    let (app, http, admin) =
        (format!("{}/app", region.account("dev")), region.http("dev").await, region.admin("dev").await);
    let address = repository(&region, "dev", "app");
    let child = http.push_image(&app, "", &[b"arm64"]).await;
    let size = http.get(&format!("/v2/{app}/manifests/{child}")).await.body.len();
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": MANIFEST, "digest": child, "size": size}]});
    let index = http.put_manifest(&app, "v1", "application/vnd.oci.image.index.v1+json", &index.to_string()).await;
    let object = Protected::Digest(Digest::parse(&index).unwrap());
    region.app().create_lock(&admin, &address, object.clone(), String::new()).await.unwrap();
    for kept in [&index, &child] {
        assert_eq!(delete(&http, &app, kept).await.status, StatusCode::CONFLICT, "{kept}");
    }
    assert_eq!(delete(&http, &app, "v1").await.status, StatusCode::ACCEPTED, "the image is locked, not its tags");
    region.app().delete_lock(&admin, &address, object).await.unwrap();

    http.push_blob(&app, b"{}").await;
    put(&http, &app, "v2", "first").await;
    region.app().create_lock(&admin, &address, Protected::Repository, String::new()).await.unwrap();
    for kept in [index.as_str(), child.as_str(), "v2"] {
        let refused = delete(&http, &app, kept).await;
        assert!(refused.text().contains("kept by a lock on the repository;"), "{}", refused.text());
    }
    assert_eq!(region.app().delete_repository(&admin, &address, true).await.unwrap_err().reason, Reason::Locked);
    assert_eq!(put(&http, &app, "v2", "second").await.status, StatusCode::CREATED, "pushing goes on");
    let locks = region.app().list_locks(&admin, &address, None, transship::names::PageSize::clamp(100)).await.unwrap();
    assert_eq!(locks.iter().map(|lock| &lock.object).collect::<Vec<_>>(), [&Protected::Repository]);
    assert!(locks[0].creator.ends_with(":user/admin"), "{}", locks[0].creator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_set_and_ended_by_those_who_may_for_the_tags_for_which_they_may() {
    let region = Region::start().await;
    let (app, http) = (format!("{}/app", region.account("dev")), region.http("dev").await);
    let address = repository(&region, "dev", "app");
    http.push_blob(&app, b"{}").await;
    for tag in ["v1", "dev-1"] {
        put(&http, &app, tag, tag).await;
    }
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": ["transship:CreateLock", "transship:DeleteLock"], "Resource": "*",
        "Condition": {"ForAnyValue:StringLike": {"ecr:ImageTag": "dev-*"}}}});
    let keeper = region.caller(user(&region, "dev", "keeper", &policy.to_string()).await).await;
    let tag = |tag: &str| Protected::Tag(Tag::parse(tag).unwrap());
    region.app().create_lock(&keeper, &address, tag("dev-1"), String::new()).await.unwrap();
    for object in [tag("v1"), Protected::Repository, Protected::Digest(Digest::of(manifest("v1").as_bytes()))] {
        let refused = region.app().create_lock(&keeper, &address, object, String::new()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::AccessDenied);
    }
    // To be allowed to delete images is not to be allowed to unlock them.
    let cleaner = user(&region, "dev", "cleaner", &allow(&["ecr:*"], "*")).await;
    assert_eq!(delete(&http_of(&region, &cleaner).await, &app, "dev-1").await.status, StatusCode::CONFLICT);
    let cleaner = region.caller(cleaner).await;
    let refused = region.app().delete_lock(&cleaner, &address, tag("dev-1")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AccessDenied);
    region.app().delete_lock(&keeper, &address, tag("dev-1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicated_move_of_a_tag_that_is_immutable_here_is_a_conflict_that_is_told() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    crate::replication::carry(home, away, "", "").await;
    let (http, there) = (home.http("dev").await, away.http("prod").await);
    let first = http.push_image(&format!("{dev}/app"), "v1", &[b"first"]).await;
    crate::replication::arrival(&there, &format!("{prod}/app"), "v1").await;
    let (admin, address) = (away.admin("prod").await, repository(away, "prod", "app"));
    away.app().set_tag_mutability(&admin, &address, TagMutability::Immutable).await.unwrap();
    http.push_image(&format!("{dev}/app"), "v1", &[b"second"]).await;
    http.push_image(&format!("{dev}/app"), "v2", &[b"goes on"]).await;
    crate::replication::arrival(&there, &format!("{prod}/app"), "v2").await;
    let kept = there.get(&format!("/v2/{prod}/app/manifests/v1")).await;
    assert_eq!(kept.header("docker-content-digest"), first);
    let admin = home.admin("dev").await;
    let status = eventually("the answers", async || {
        let status = home.app().replication_status(&admin, dev).await.unwrap().remove(0);
        (status.pending == 0).then_some(status)
    })
    .await;
    assert_eq!(status.failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_chooses_and_shows_what_moves_what_stays_and_who_sees_it() {
    let region = Region::start().await;
    let (app, http) = (format!("{}/app", region.account("dev")), region.http("dev").await);
    let run = async |arguments: &[&str]| -> serde_json::Value {
        let told = crate::dry_runs::told(&region, "dev", arguments).await;
        if told.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&told).unwrap() }
    };
    let made = run(&["repo", "create", "app", "--tag-mutability", "immutable", "--except", "dev-*"]).await;
    assert_eq!(
        (&made["tags"], &made["except"][0], &made["visibility"]),
        (&"immutable".into(), &"dev-*".into(), &"private".into())
    );
    let chosen = run(&["repo", "set-tag-mutability", "app", "mutable"]).await;
    assert_eq!((&chosen["tags"], &chosen["except"]), (&"mutable".into(), &serde_json::json!([])));
    let opened = run(&["repo", "set-visibility", "app", "public"]).await;
    assert_eq!(opened["visibility"], "public");
    let digest = http.push_image(&app, "v1", &[b"layer"]).await;
    for reference in ["v1", &digest, ""] {
        let lock = run(&["lock", "create", "app", reference, "--reason", "kept"]).await;
        assert_eq!((&lock["reference"], &lock["reason"]), (&reference.into(), &"kept".into()));
    }
    let locks = run(&["lock", "list", "app"]).await;
    let references: Vec<_> = locks.as_array().unwrap().iter().map(|lock| lock["reference"].as_str().unwrap()).collect();
    assert_eq!(references, ["", &digest, "v1"]);
    for reference in ["v1", &digest, ""] {
        run(&["lock", "delete", "app", reference]).await;
    }
    assert_eq!(run(&["lock", "list", "app"]).await, serde_json::json!([]));
    run(&["repo", "delete", "app", "--force"]).await;
}
