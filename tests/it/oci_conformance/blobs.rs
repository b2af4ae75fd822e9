//! Every way in which a blob is pushed, and what is answered to each that is not right.

use super::{Place, Report};
use crate::harness::Answer;
use crate::tenants::code;
use http::{Method, StatusCode};
use transship::names::{Algorithm, Digest};

pub fn blob_path(repository: &str, digest: Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

fn uploads(repository: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/")
}

/// A blob of this set of checks.
fn blob(named: Algorithm, what: &str, size: usize) -> (Digest, Vec<u8>) {
    let text = format!("{} {what} ", named.as_str());
    let bytes: Vec<u8> = text.bytes().cycle().take(size).collect();
    (Digest::hash(named, &bytes), bytes)
}

pub async fn all(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    report.group(format!("{} blobs", named.as_str()));
    let (missing, _) = blob(named, "missing", 512);
    let got = place.client.get(&blob_path(&place.repositories[0], missing)).await;
    report.check("get of a missing blob", got.status == StatusCode::NOT_FOUND, got.text());
    monolithic(place, named, report).await;
    chunked(place, named, report).await;
    mounted(place, named, report).await;
    cancelled(place, named, report).await;
    ranges(place, named, report).await;
    wrong(place, named, report).await;
}

/// Checks a 201 and what it says, reads the blob back at its location and removes it.
async fn pushed(
    place: &Place<'_>,
    how: &str,
    (digest, bytes): &(Digest, Vec<u8>),
    answer: &Answer,
    report: &mut Report,
) {
    let right = answer.status == StatusCode::CREATED && answer.header("docker-content-digest") == digest.to_string();
    report.check(how, right, format!("{} {}", answer.status, answer.text()));
    let got = place.client.get(answer.header("location")).await;
    report.check(format!("{how}: its location"), got.body[..] == bytes[..], got.status);
    read_back(place, &place.repositories[0], *digest, bytes, report).await;
    removed(place, &place.repositories[0], *digest, report).await;
}

pub async fn read_back(place: &Place<'_>, repository: &str, digest: Digest, bytes: &[u8], report: &mut Report) {
    let path = blob_path(repository, digest);
    for (method, body) in [(Method::HEAD, &[][..]), (Method::GET, bytes)] {
        let answer = place.client.call(method.clone(), &path, &[], "").await;
        let right = answer.status == StatusCode::OK
            && answer.header("content-length") == bytes.len().to_string()
            && answer.header("docker-content-digest") == digest.to_string()
            && answer.body[..] == *body;
        report.check(format!("blob {method} {digest}"), right, answer.status);
    }
}

async fn removed(place: &Place<'_>, repository: &str, digest: Digest, report: &mut Report) {
    let gone = place.client.delete(&blob_path(repository, digest)).await;
    report.check("blob delete", gone.status == StatusCode::ACCEPTED, gone.text());
    let again = place.client.delete(&blob_path(repository, digest)).await;
    report.check("delete of a blob that is gone", again.status == StatusCode::NOT_FOUND, again.text());
    absent(place, repository, digest, report).await;
}

pub async fn absent(place: &Place<'_>, repository: &str, digest: Digest, report: &mut Report) {
    let head = place.client.head(&blob_path(repository, digest)).await;
    report.check(format!("{digest} is not there"), head.status == StatusCode::NOT_FOUND, head.status);
}

/// Opens an upload; answers its location.
async fn open(place: &Place<'_>, query: &str, report: &mut Report) -> String {
    let path = format!("{}{query}", uploads(&place.repositories[0]));
    let opened = place.client.call(Method::POST, &path, &[], "").await;
    report.check("upload opened", opened.status == StatusCode::ACCEPTED, opened.text());
    opened.header("location").to_owned()
}

async fn close(place: &Place<'_>, location: &str, digest: Digest, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let path = format!("{location}?digest={}", digest.to_string().replace(':', "%3A"));
    place.client.call(Method::PUT, &path, headers, body.to_vec()).await
}

pub async fn post_put(place: &Place<'_>, digest: Digest, bytes: &[u8], report: &mut Report) -> Answer {
    let location = open(place, "", report).await;
    let done = close(place, &location, digest, &[], bytes).await;
    report.check("blob pushed", done.status == StatusCode::CREATED, done.text());
    done
}

async fn monolithic(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    for (what, size) in [("post only", 512), ("empty", 0), ("larger than a batch", 700_000)] {
        let content = blob(named, what, size);
        let path = format!("{}?digest={}", uploads(&place.repositories[0]), content.0);
        let done = place.client.call(Method::POST, &path, &[], content.1.clone()).await;
        pushed(place, "post only", &content, &done, report).await;
        let done = post_put(place, content.0, &content.1, report).await;
        pushed(place, "post and put", &content, &done, report).await;
        let announced = open(place, &format!("?digest-algorithm={}", named.as_str()), report).await;
        let done = close(place, &announced, content.0, &[], &content.1).await;
        pushed(place, "post and put, announced", &content, &done, report).await;
    }
    let json = (Digest::hash(named, b"{}"), b"{}".to_vec());
    let done = post_put(place, json.0, &json.1, report).await;
    pushed(place, "{}", &json, &done, report).await;
    let content = blob(named, "stream", 512);
    let location = open(place, "", report).await;
    let sent = place.client.call(Method::PATCH, &location, &[], content.1.clone()).await;
    report.check("stream", sent.status == StatusCode::ACCEPTED && sent.header("range") == "0-511", sent.text());
    let done = close(place, sent.header("location"), content.0, &[], b"").await;
    pushed(place, "stream closed", &content, &done, report).await;
}

/// Chunks of 512 bytes: how many, whether the last comes with the PUT, whether each is preceded by one out of order.
async fn chunked(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    for announced in ["", "?digest-algorithm=sha512"] {
        for (size, with_put, disorder) in [
            (512, false, false),
            (1_531, false, false),
            (1_531, true, false),
            (1_531, false, true),
            (1_531, true, true),
        ] {
            let how = format!("{size} bytes in chunks, last with the put: {with_put}, out of order: {disorder}");
            let content = blob(named, &how, size);
            let location = open(place, announced, report).await;
            let done = chunks(place, &location, &content, (with_put, disorder), report).await;
            pushed(place, &how, &content, &done, report).await;
        }
    }
}

async fn chunks(
    place: &Place<'_>,
    location: &str,
    (digest, bytes): &(Digest, Vec<u8>),
    (with_put, disorder): (bool, bool),
    report: &mut Report,
) -> Answer {
    let mut location = location.to_owned();
    let all: Vec<&[u8]> = bytes.chunks(512).collect();
    for (at, chunk) in all.iter().enumerate() {
        let (from, last) = (at * 512, at + 1 == all.len());
        if disorder {
            out_of_order(place, &location, *digest, from, report).await;
        }
        let range = format!("{from}-{}", from + chunk.len() - 1);
        if last && with_put {
            return close(place, &location, *digest, &[("content-range", &range)], chunk).await;
        }
        let sent = place.client.call(Method::PATCH, &location, &[("content-range", &range)], chunk.to_vec()).await;
        let held = format!("0-{}", from + chunk.len() - 1);
        let right = sent.status == StatusCode::ACCEPTED && sent.header("range") == held;
        report.check(format!("chunk {range}"), right, sent.text());
        location = sent.header("location").to_owned();
    }
    close(place, &location, *digest, &[], b"").await
}

/// A chunk in the wrong place is refused, and the upload says where it is.
async fn out_of_order(place: &Place<'_>, location: &str, digest: Digest, from: usize, report: &mut Report) {
    let range = format!("{}-{}", from + 512, from + 1_023);
    let headers = [("content-range", range.as_str())];
    let bad = place.client.call(Method::PATCH, location, &headers, vec![0; 512]).await;
    let text = format!("First byte of the layer part is {} instead of {from}", from + 512);
    let right = bad.status == StatusCode::RANGE_NOT_SATISFIABLE && bad.text().contains(&text);
    report.check("patch out of order", right, bad.text());
    let bad = close(place, location, digest, &headers, &[0; 512]).await;
    report.check("put out of order", bad.status == StatusCode::RANGE_NOT_SATISFIABLE, bad.text());
    let status = place.client.get(location).await;
    let held = format!("0-{}", from.saturating_sub(1));
    let right = status.status == StatusCode::NO_CONTENT
        && status.header("range") == held
        && !status.header("location").is_empty();
    report.check("status after it", right, status.header("range"));
}

async fn mounted(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    let [one, two] = &place.repositories;
    for (what, from) in [("mount", format!("&from={two}")), ("mount without from", String::new())] {
        let content = blob(named, what, 512);
        let path = format!("{}?digest={}", uploads(two), content.0);
        let there = place.client.call(Method::POST, &path, &[], content.1.clone()).await;
        report.check("pushed elsewhere", there.status == StatusCode::CREATED, there.text());
        let path = format!("{}?mount={}{from}", uploads(one), content.0);
        let done = place.client.call(Method::POST, &path, &[], "").await;
        pushed(place, what, &content, &done, report).await;
        removed(place, two, content.0, report).await;
    }
    for (what, from) in [("a missing blob", two.as_str()), ("a missing repository", "conf/none"), ("no name", "%20")] {
        let content = blob(named, what, 512);
        let path = format!("{}?mount={}&from={from}", uploads(one), content.0);
        let answer = place.client.call(Method::POST, &path, &[], "").await;
        report.check(format!("mount of {what}"), answer.status == StatusCode::ACCEPTED, answer.text());
        let done = close(place, answer.header("location"), content.0, &[], &content.1).await;
        pushed(place, "the upload in its stead", &content, &done, report).await;
    }
}

async fn cancelled(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    let content = blob(named, "cancelled", 512);
    for sent in [false, true] {
        let location = open(place, "", report).await;
        if sent {
            place.client.call(Method::PATCH, &location, &[], content.1.clone()).await;
        }
        let gone = place.client.delete(&location).await;
        report.check("upload cancelled", gone.status == StatusCode::NO_CONTENT, gone.text());
        let status = place.client.get(&location).await;
        let right = status.status == StatusCode::NOT_FOUND && code(&status) == "BLOB_UPLOAD_UNKNOWN";
        report.check("a cancelled upload is gone", right, status.text());
        let done = close(place, &location, content.0, &[], &content.1).await;
        report.check("and takes nothing", done.status == StatusCode::NOT_FOUND, done.text());
    }
}

async fn ranges(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    let (digest, bytes) = blob(named, "ranges", 2_048);
    post_put(place, digest, &bytes, report).await;
    let path = blob_path(&place.repositories[0], digest);
    for (range, part) in
        [("500-1499", 500..1_500), ("500-", 500..2_048), ("-500", 1_548..2_048), ("2000-5000", 2_000..2_048)]
    {
        let got = place.client.call(Method::GET, &path, &[("range", &format!("bytes={range}"))], "").await;
        let right = got.status == StatusCode::PARTIAL_CONTENT
            && got.header("content-range") == format!("bytes {}-{}/2048", part.start, part.end - 1)
            && got.header("content-length") == part.len().to_string()
            && got.body[..] == bytes[part];
        report.check(format!("range {range}"), right, got.status);
    }
    for range in ["500-0", "5000-10000"] {
        let got = place.client.call(Method::GET, &path, &[("range", &format!("bytes={range}"))], "").await;
        report.check(format!("range {range}"), got.status == StatusCode::RANGE_NOT_SATISFIABLE, got.status);
    }
    removed(place, &place.repositories[0], digest, report).await;
}

/// Bytes that are not those of the digest, by each way.
async fn wrong(place: &Place<'_>, named: Algorithm, report: &mut Report) {
    let (digest, mut bytes) = blob(named, "wrong", 1_531);
    bytes.extend(b"oh no");
    let refused = |what: &str, answer: &Answer, report: &mut Report| {
        let right = answer.status == StatusCode::BAD_REQUEST && code(answer) == "DIGEST_INVALID";
        report.check(format!("bad digest, {what}"), right, answer.text());
    };
    let path = format!("{}?digest={digest}", uploads(&place.repositories[0]));
    refused("post only", &place.client.call(Method::POST, &path, &[], bytes.clone()).await, report);
    let location = open(place, "", report).await;
    refused("post and put", &close(place, &location, digest, &[], &bytes).await, report);
    for with_put in [false, true] {
        let location = open(place, "", report).await;
        let content = (digest, bytes.clone());
        refused("chunks", &chunks(place, &location, &content, (with_put, false), report).await, report);
    }
    let location = open(place, "", report).await;
    place.client.call(Method::PATCH, &location, &[], bytes.clone()).await;
    refused("stream", &close(place, &location, digest, &[], b"").await, report);
    let location = open(place, "", report).await;
    let path = format!("{location}?digest=sha256:baddigeststring");
    refused("no digest at all", &place.client.call(Method::PUT, &path, &[], bytes).await, report);
    absent(place, &place.repositories[0], digest, report).await;
}
