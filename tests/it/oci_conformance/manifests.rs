//! A set of content pushed, listed, read and removed, each step as the specification has it.

use super::blobs::{self, absent, blob_path, read_back};
use super::content::{INDEX, Manifest, Set};
use super::{Place, Report};
use crate::harness::Answer;
use crate::tenants::code;
use http::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;
use transship::names::Digest;

pub async fn all(place: &Place<'_>, set: &Set, report: &mut Report) {
    report.group(set.name);
    push(place, set, report).await;
    listed(place, set, report).await;
    pull(place, set, report).await;
    referrers(place, set, report).await;
    delete(place, set, report).await;
}

fn path(place: &Place<'_>, reference: impl std::fmt::Display) -> String {
    format!("/v2/{}/manifests/{reference}", place.repositories[0])
}

async fn put(place: &Place<'_>, manifest: &Manifest, reference: &str) -> Answer {
    let headers = [("content-type", manifest.media_type)];
    place.client.call(Method::PUT, &path(place, reference), &headers, manifest.bytes.clone()).await
}

async fn push(place: &Place<'_>, set: &Set, report: &mut Report) {
    for (digest, bytes) in &set.blobs {
        blobs::post_put(place, *digest, bytes, report).await;
    }
    for manifest in &set.manifests {
        let tags: Vec<&str> =
            set.tags.iter().filter(|(_, of)| *of == manifest.digest).map(|(tag, _)| tag.as_str()).collect();
        let mut reference = manifest.digest.to_string();
        if set.tag_params {
            let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
            reference = format!("{reference}?{}", query.join("&"));
        }
        let answer = put(place, manifest, &reference).await;
        created(manifest, &answer, "by digest", report);
        if set.tag_params {
            let told: Vec<&str> = answer.headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
            report.check("OCI-Tag names each tag", told == tags, format!("{told:?}"));
        }
    }
    for (tag, digest) in set.tags.iter().filter(|_| !set.tag_params) {
        let manifest = set.manifests.iter().find(|manifest| manifest.digest == *digest).unwrap();
        created(manifest, &put(place, manifest, tag).await, "by tag", report);
    }
}

fn created(manifest: &Manifest, answer: &Answer, how: &str, report: &mut Report) {
    let right = answer.status == StatusCode::CREATED
        && !answer.header("location").is_empty()
        && answer.header("docker-content-digest") == manifest.digest.to_string();
    report.check(format!("manifest put {how}"), right, answer.text());
    if let Some(subject) = manifest.subject {
        report.check("OCI-Subject", answer.header("oci-subject") == subject.to_string(), answer.header("oci-subject"));
    }
}

async fn listed(place: &Place<'_>, set: &Set, report: &mut Report) {
    let answer = place.client.get(&format!("/v2/{}/tags/list", place.repositories[0])).await;
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let found: BTreeSet<&str> = document["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let wanted: BTreeSet<&str> = set.tags.iter().map(|(tag, _)| tag.as_str()).collect();
    report.check("tag list", answer.status == StatusCode::OK && wanted.is_subset(&found), answer.text());
}

async fn pull(place: &Place<'_>, set: &Set, report: &mut Report) {
    let by_digest = set.manifests.iter().map(|manifest| (manifest.digest.to_string(), manifest.digest));
    let references = set.tags.iter().map(|(tag, digest)| (tag.clone(), *digest)).chain(by_digest);
    for (reference, digest) in references {
        let manifest = set.manifests.iter().find(|manifest| manifest.digest == digest).unwrap();
        let described = |answer: &Answer| {
            answer.status == StatusCode::OK
                && answer.header("content-type") == manifest.media_type
                && answer.header("content-length") == manifest.bytes.len().to_string()
                && answer.header("docker-content-digest") == digest.to_string()
        };
        let head = place.client.head(&path(place, &reference)).await;
        report.check(format!("manifest head {reference}"), described(&head), head.status);
        let got = place.client.get(&path(place, &reference)).await;
        let same = got.body[..] == manifest.bytes[..];
        report.check(format!("manifest get {reference}"), described(&got) && same, got.status);
    }
    for (digest, bytes) in &set.blobs {
        read_back(place, &place.repositories[0], *digest, bytes, report).await;
    }
    for digest in &set.absent {
        absent(place, &place.repositories[0], *digest, report).await;
    }
}

async fn referrers(place: &Place<'_>, set: &Set, report: &mut Report) {
    let subjects: BTreeSet<Digest> = set.manifests.iter().filter_map(|manifest| manifest.subject).collect();
    for subject in subjects {
        let of: Vec<&Manifest> = set.manifests.iter().filter(|manifest| manifest.subject == Some(subject)).collect();
        let base = format!("/v2/{}/referrers/{subject}", place.repositories[0]);
        let answer = place.client.get(&base).await;
        shows(&answer, &of, "referrers", report);
        let kinds: BTreeSet<&String> = of.iter().filter_map(|manifest| manifest.artifact_type.as_ref()).collect();
        for kind in kinds {
            let query = kind.replace('/', "%2F").replace('+', "%2B");
            let answer = place.client.get(&format!("{base}?artifactType={query}")).await;
            let of: Vec<&Manifest> =
                of.iter().filter(|manifest| manifest.artifact_type.as_ref() == Some(kind)).copied().collect();
            shows(&answer, &of, "referrers of a type", report);
            let applied = answer.header("oci-filters-applied");
            report.check("OCI-Filters-Applied", applied == "artifactType", applied);
        }
    }
}

/// Whether a list of referrers has these, each with its descriptor, and no other.
fn shows(answer: &Answer, of: &[&Manifest], what: &str, report: &mut Report) {
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let found = document["manifests"].as_array().cloned().unwrap_or_default();
    let shown = |manifest: &&Manifest| {
        found.iter().any(|entry| {
            entry["digest"] == manifest.digest.to_string()
                && entry["mediaType"] == manifest.media_type
                && entry["size"] == manifest.bytes.len()
                && entry["artifactType"].as_str() == manifest.artifact_type.as_deref()
                && entry["annotations"].as_object().cloned().unwrap_or_default() == manifest.annotations
        })
    };
    let right = answer.status == StatusCode::OK
        && answer.header("content-type") == INDEX
        && found.len() == of.len()
        && of.iter().all(shown);
    report.check(what, right, answer.text());
}

async fn delete(place: &Place<'_>, set: &Set, report: &mut Report) {
    let digests = set.manifests.iter().rev().map(|manifest| manifest.digest.to_string());
    for reference in set.tags.iter().map(|(tag, _)| tag.clone()).chain(digests) {
        let gone = place.client.delete(&path(place, &reference)).await;
        report.check(format!("manifest delete {reference}"), gone.status == StatusCode::ACCEPTED, gone.text());
        let head = place.client.head(&path(place, &reference)).await;
        report.check(format!("{reference} is gone at once"), head.status == StatusCode::NOT_FOUND, head.status);
    }
    for (digest, _) in &set.blobs {
        let gone = place.client.delete(&blob_path(&place.repositories[0], *digest)).await;
        report.check("blob delete", gone.status == StatusCode::ACCEPTED, gone.text());
        absent(place, &place.repositories[0], *digest, report).await;
    }
}

/// Manifests that are asked for or put by the wrong name.
pub async fn refused(place: &Place<'_>, report: &mut Report) {
    let set = super::content::sets().remove(0);
    for (digest, bytes) in &set.blobs {
        report.group("bad-digest-image");
        blobs::post_put(place, *digest, bytes, report).await;
    }
    let manifest = set.manifests.last().unwrap();
    let mut other = manifest.clone();
    other.bytes.extend(b"  ");
    let put_as = put(place, &other, &manifest.digest.to_string()).await;
    let right = put_as.status == StatusCode::BAD_REQUEST && code(&put_as) == "DIGEST_INVALID";
    report.check("put under the digest of other bytes", right, put_as.text());
    let head = place.client.head(&path(place, manifest.digest)).await;
    report.check("nothing was stored", head.status == StatusCode::NOT_FOUND, head.status);
    report.group("missing-manifest");
    for reference in [Digest::of(b"no such manifest").to_string(), "no-such-tag".to_owned()] {
        let got = place.client.get(&path(place, &reference)).await;
        let right = got.status == StatusCode::NOT_FOUND && code(&got) == "MANIFEST_UNKNOWN";
        report.check(format!("get {reference}"), right, got.text());
    }
    report.group("invalid-digest-format");
    let put_as = put(place, manifest, "sha256:baddigeststring").await;
    report.check("put", put_as.status == StatusCode::BAD_REQUEST, put_as.text());
    for what in ["manifests", "blobs", "referrers"] {
        let got = place.client.get(&format!("/v2/{}/{what}/sha256:baddigeststring", place.repositories[0])).await;
        let right = got.status == StatusCode::BAD_REQUEST && code(&got) == "DIGEST_INVALID";
        report.check(format!("get {what}"), right, got.text());
    }
    for (digest, _) in &set.blobs {
        place.client.delete(&blob_path(&place.repositories[0], *digest)).await;
    }
}

/// What a repository that does not take sparse manifests says to them.
pub async fn incomplete(place: &Place<'_>, set: &Set, report: &mut Report) {
    report.group("sparse, refused");
    for (digest, bytes) in &set.blobs {
        blobs::post_put(place, *digest, bytes, report).await;
    }
    for (tag, digest) in &set.tags {
        let manifest = set.manifests.iter().find(|manifest| manifest.digest == *digest).unwrap();
        let answer = put(place, manifest, tag).await;
        let right = answer.status == StatusCode::BAD_REQUEST && code(&answer) == "MANIFEST_BLOB_UNKNOWN";
        report.check(format!("put {tag}"), right, answer.text());
        let head = place.client.head(&path(place, tag)).await;
        report.check(format!("{tag} is not there"), head.status == StatusCode::NOT_FOUND, head.status);
    }
}
