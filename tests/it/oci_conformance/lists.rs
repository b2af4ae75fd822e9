//! What is answered before anything was pushed, and lists that are longer than a page.

use super::content::{IMAGE, INDEX};
use super::{Place, Report, blobs};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use transship::names::Digest;

/// Pages are followed this often at most.
const PAGES_MAX: usize = 20;

pub async fn ping_and_empty(place: &Place<'_>, report: &mut Report) {
    report.group("ping");
    let ping = place.client.get("/v2/").await;
    report.check("GET /v2/", ping.status == StatusCode::OK, ping.text());
    report.group("empty");
    let repository = &place.repositories[0];
    let tags = place.client.get(&format!("/v2/{repository}/tags/list")).await;
    report.check("tag list", tags.status == StatusCode::NOT_FOUND, tags.text());
    let subject = Digest::of(b"nobody's subject");
    let referrers = place.client.get(&format!("/v2/{repository}/referrers/{subject}")).await;
    let expected = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    let right = referrers.status == StatusCode::OK
        && referrers.header("content-type") == INDEX
        && serde_json::from_slice::<Value>(&referrers.body).ok() == Some(expected);
    report.check("referrers", right, referrers.text());
}

/// Seven tags and seven referrers of one image, in pages of every length.
pub async fn pages(place: &Place<'_>, report: &mut Report) {
    report.group("tag list pages");
    let repository = &place.repositories[0];
    let config = Digest::of(b"{}");
    blobs::post_put(place, config, b"{}", report).await;
    let image = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2}});
    let subject = put(place, &image, "a0", report).await;
    let mut tags = vec!["a0".to_owned()];
    for tag in ["V1", "_x", "a.1", "a-1", "a_1", "v1"] {
        put(place, &image, tag, report).await;
        tags.push(tag.to_owned());
    }
    tags.sort();
    for n in [1, 2, 3, 6, 7, 8] {
        let first = format!("/v2/{repository}/tags/list?n={n}");
        let found = followed(place, first, n, |entry| entry["tags"].clone(), report).await;
        report.check(format!("tags, {n} at a time"), found == tags, format!("{found:?}"));
    }
    for (query, expected) in [("", &tags[..]), ("?n=0", &[]), ("?last=a0", &tags[5..]), ("?n=2&last=a0", &tags[5..])] {
        let got = place.client.get(&format!("/v2/{repository}/tags/list{query}")).await;
        let document: Value = serde_json::from_slice(&got.body).unwrap_or_default();
        let right = document["tags"] == json!(expected) && got.header("link").is_empty();
        report.check(format!("tags{query}"), right, got.text());
    }
    for query in ["?n=-1", "?n=x", "?last=%2F"] {
        let got = place.client.get(&format!("/v2/{repository}/tags/list{query}")).await;
        report.check(format!("tags{query}"), got.status == StatusCode::BAD_REQUEST, got.text());
    }
    report.group("referrers pages");
    referrers(place, &image, &subject, report).await;
}

async fn referrers(place: &Place<'_>, image: &Value, subject: &Value, report: &mut Report) {
    let (mut all, mut odd) = (Vec::new(), Vec::new());
    for at in 0..7 {
        let mut artifact = image.clone();
        let kind = if at % 2 == 1 { "application/vnd.odd+json" } else { "application/vnd.even+json" };
        artifact["artifactType"] = kind.into();
        artifact["annotations"] = json!({"number": at.to_string()});
        artifact["subject"] = subject.clone();
        let digest = put(place, &artifact, "", report).await["digest"].as_str().unwrap().to_owned();
        if at % 2 == 1 {
            odd.push(digest.clone());
        }
        all.push(digest);
    }
    all.sort();
    odd.sort();
    let base = format!("/v2/{}/referrers/{}", place.repositories[0], subject["digest"].as_str().unwrap());
    let digests = |document: &Value| {
        let entries = document["manifests"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["digest"].clone()).collect()
    };
    for n in [1, 2, 3, 7, 8] {
        let found = followed(place, format!("{base}?n={n}"), n, digests, report).await;
        report.check(format!("referrers, {n} at a time"), found == all, format!("{found:?}"));
        let first = format!("{base}?n={n}&artifactType=application%2Fvnd.odd%2Bjson");
        let found = followed(place, first, n, digests, report).await;
        report.check(format!("referrers of a type, {n} at a time"), found == odd, format!("{found:?}"));
    }
}

async fn put(place: &Place<'_>, manifest: &Value, reference: &str, report: &mut Report) -> Value {
    let text = manifest.to_string();
    let digest = Digest::of(text.as_bytes());
    let reference = if reference.is_empty() { digest.to_string() } else { reference.to_owned() };
    let path = format!("/v2/{}/manifests/{reference}", place.repositories[0]);
    let answer = place.client.call(Method::PUT, &path, &[("content-type", IMAGE)], text.clone()).await;
    report.check(format!("put {reference}"), answer.status == StatusCode::CREATED, answer.text());
    json!({"mediaType": IMAGE, "digest": digest, "size": text.len()})
}

/// The entries of a list and of the pages that its links lead to, each page full but the last.
async fn followed(
    place: &Place<'_>,
    first: String,
    n: usize,
    entries: impl Fn(&Value) -> Value,
    report: &mut Report,
) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), Some(first));
    for _ in 0..PAGES_MAX {
        let Some(path) = next.take() else { break };
        let answer = place.client.get(&path).await;
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let page: Vec<String> = entries(&document)
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.as_str().map(str::to_owned))
            .collect();
        let link = answer.header("link").strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<'));
        next = link.map(str::to_owned);
        let right = answer.status == StatusCode::OK && page.len() <= n && (next.is_none() || page.len() == n);
        report.check(format!("page {path}"), right, answer.text());
        found.extend(page);
    }
    found
}
