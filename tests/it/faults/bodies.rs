//! F12, F13: chunks that are lost, doubled, out of order or come after a restart; clients that vanish at any byte.

use super::{Field, Line, PART, Site, bytes_of, long};
use crate::harness::{Answer, Http, Process};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transship::names::Digest;

async fn begin(http: &Http, repository: &str) -> String {
    let begun = http.call(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text());
    begun.header("location").to_owned()
}

async fn chunk(http: &Http, location: &str, bytes: &[u8], from: usize, to: usize) -> Answer {
    let range = format!("{from}-{}", to - 1);
    http.call(Method::PATCH, location, &[("content-range", &range)], bytes[from..to].to_vec()).await
}

/// How many bytes the server says it has.
async fn offset(http: &Http, location: &str) -> usize {
    let status = http.get(location).await;
    assert_eq!(status.status, StatusCode::NO_CONTENT, "{}", status.text());
    let last: usize = status.header("range").strip_prefix("0-").unwrap().parse().unwrap();
    if last == 0 { 0 } else { last + 1 }
}

async fn finished(http: &Http, repository: &str, location: &str, bytes: &[u8]) {
    let digest = Digest::of(bytes);
    let from = offset(http, location).await;
    let range = format!("{from}-{}", bytes.len() - 1);
    let headers: &[(&str, &str)] = if from < bytes.len() { &[("content-range", &range)] } else { &[] };
    let put = http.call(Method::PUT, &format!("{location}?digest={digest}"), headers, bytes[from..].to_vec()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let got = http.get(&format!("/v2/{repository}/blobs/{digest}")).await;
    assert!(got.body == bytes, "the blob is not what was sent");
}

/// Each fault at each of ten chunks, with the server killed and started between, too.
#[tokio::test(flavor = "multi_thread")]
async fn f12_chunks_lost_doubled_reordered_or_begun_anew_leave_the_offset_true_also_after_a_restart() {
    const CHUNKS: usize = 10;
    const LENGTH: usize = 40_000;
    let site = Site::new("").await;
    let mut process = site.spawn();
    let (mut cases, mut restarts) = (0, 0);
    for (fault, restart) in (1..CHUNKS).flat_map(|at| [(at, false), (at, true)]) {
        // A restart costs time: long at each chunk, else at every third.
        if restart && !long() && fault % 3 != 0 {
            continue;
        }
        let http = site.http();
        let bytes = bytes_of((fault * 2 + usize::from(restart)) as u64, CHUNKS * LENGTH);
        let location = begin(&http, &site.repository).await;
        for at in 0..fault {
            assert_eq!(
                chunk(&http, &location, &bytes, at * LENGTH, (at + 1) * LENGTH).await.status,
                StatusCode::ACCEPTED
            );
        }
        if restart {
            process.kill();
            process = site.spawn();
            restarts += 1;
        }
        let (http, held) = (site.http(), fault * LENGTH);
        assert_eq!(offset(&http, &location).await, held);
        // The next is lost, so that the one after it comes; the last comes again; all begins anew.
        for from in [held + LENGTH, held - LENGTH, 0] {
            let to = (from + LENGTH).min(bytes.len());
            if from >= to {
                continue;
            }
            let answer = chunk(&http, &location, &bytes, from, to).await;
            assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{}", answer.text());
            let text = answer.text();
            let told = format!("First byte of the layer part is {from} instead of {held}");
            assert!(text.contains("BLOB_UPLOAD_INVALID") && text.contains(&told), "{text}");
            assert_eq!(offset(&http, &location).await, held);
            cases += 1;
        }
        finished(&http, &site.repository, &location, &bytes).await;
    }
    println!(
        "F12: {cases} chunks lost, doubled or begun anew, {restarts} after a kill: each refused with the true offset, each blob right"
    );
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_refused_chunk_leaves_its_connection_and_a_refused_layer_says_that_it_does_not() {
    let site = Site::new("").await;
    let process = site.spawn();
    let location = begin(&site.http(), &site.repository).await;
    let mut line = Line::open(&site).await;
    let out_of_order = |length: usize| format!("1-{length}");
    for _ in 0..50 {
        let bytes = bytes_of(1, 200_000);
        let range = out_of_order(bytes.len());
        let refused = line.call(Method::PATCH, &location, &[("content-range", &range)], bytes).await.unwrap();
        assert_eq!((refused.status, refused.header("connection")), (StatusCode::RANGE_NOT_SATISFIABLE, ""));
    }
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let (basic, length) = (STANDARD.encode(format!("AWS:{}", site.password)), 8 << 20);
    let range = out_of_order(length);
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {length}\r\n\
         content-range: {range}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // Half of it, and then the client waits.
    socket.write_all(&vec![0; length / 2]).await.ok();
    let mut answer = vec![0; 4_096];
    let got = socket.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..got]).to_lowercase();
    assert!(answer.starts_with("http/1.1 416") && answer.contains("connection: close"), "{answer}");
    // Who waits to be told to send is told no, and has sent nothing.
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {length}\r\n\
         content-range: {range}\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let got = socket.read(&mut answer).await.unwrap();
    assert!(answer[..got].starts_with(b"HTTP/1.1 416"), "{}", String::from_utf8_lossy(&answer[..got]));
    println!(
        "F12: 50 refused chunks over one connection; a refused layer ends its own; one that asks first is not sent"
    );
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_after_a_restart_in_mid_upload_less_than_one_part_of_the_blob_is_read_again() {
    let parts = if long() { 16 } else { 3 };
    let site = Site::new("").await;
    let process = site.spawn();
    let bytes = bytes_of(9, parts * PART + 5_000_000);
    let location = begin(&site.http(), &site.repository).await;
    // Cut in the middle of the part after the last whole one.
    let sent = bytes.len() - 1_000_000;
    cut_off(&site, "PATCH", &location, &bytes, sent).await;
    let held = offset(&site.http(), &location).await;
    assert!(held >= parts * PART - PART && held <= sent, "{held}");
    process.kill();
    site.control.set(Field::Read, 0);
    let process = site.spawn();
    let http = site.http();
    let from = offset(&http, &location).await;
    assert!(from >= held, "{from} bytes after the restart, {held} before");
    let (digest, range) = (Digest::of(&bytes), format!("{from}-{}", bytes.len() - 1));
    let finish = format!("{location}?digest={digest}");
    let put = http.call(Method::PUT, &finish, &[("content-range", &range)], bytes[from..].to_vec()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let read = site.control.get(Field::Read);
    let got = http.get(&format!("/v2/{}/blobs/{digest}", site.repository)).await;
    assert!(got.body == bytes, "the blob is not what was sent");
    let pulled = site.control.get(Field::Read) - read;
    println!(
        "F12: restarted at byte {from} of {}: {read} bytes of the blob were read again, less than a part of {PART}; a pull reads {pulled}",
        bytes.len()
    );
    assert!(read < i64::try_from(PART).unwrap());
    assert!(pulled >= i64::try_from(bytes.len()).unwrap(), "reads are not counted");
    process.kill();
}

/// Announces all of a body, sends some of it, and vanishes.
async fn cut_off(site: &Site, method: &str, path: &str, bytes: &[u8], sent: usize) {
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let basic = STANDARD.encode(format!("AWS:{}", site.password));
    let length = bytes.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&bytes[..sent]).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
}

/// Asks for a blob, takes some of it, and vanishes.
async fn leave_early(site: &Site, digest: &Digest, taken: usize) {
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let basic = STANDARD.encode(format!("AWS:{}", site.password));
    let path = format!("/v2/{}/blobs/{digest}", site.repository);
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; taken];
    socket.read_exact(&mut buffer).await.unwrap();
}

fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// Clients that vanish at many bytes of a push and of a pull; long 1,000 each, otherwise 100.
#[tokio::test(flavor = "multi_thread")]
async fn f13_clients_that_vanish_at_any_byte_leave_neither_descriptors_nor_broken_uploads() {
    let cuts = if long() { 1_000 } else { 100 };
    let site = Site::new("").await;
    let process = site.spawn();
    let http = site.http();
    let bytes = bytes_of(13, 3_000_000);
    let digest = Digest::of(&bytes);
    http.push_blob(&site.repository, &bytes).await;
    let before = descriptors(&process);
    let location = begin(&http, &site.repository).await;
    for cut in 0..cuts {
        // Dense at the beginning and the end, even between.
        let at = match cut % 4 {
            0 => cut / 4,
            1 => bytes.len() - 1 - cut / 4,
            _ => bytes.len() / cuts * cut + cut % 7,
        };
        cut_off(&site, "PATCH", &location, &bytes, at.min(bytes.len() - 1)).await;
        leave_early(&site, &digest, at.clamp(1, bytes.len())).await;
    }
    // The session takes the whole of it now.
    finished(&http, &site.repository, &location, &bytes).await;
    let after = crate::harness::eventually("the descriptors of before", async || {
        let now = descriptors(&process);
        (now <= before + 5).then_some(now)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    println!(
        "F13: {cuts} pushes and {cuts} pulls cut off: {before} descriptors before, {after} after; the upload goes on and is right"
    );
    process.kill();
}
