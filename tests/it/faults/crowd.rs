//! F32 and F33: many at once, and those who are slow on purpose.

use super::{Image, Site, bytes_of, long};
use crate::harness::Process;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transship::names::Digest;

const MIB: usize = 1 << 20;

/// A number of kilobytes from the kernel's words about a process.
fn kilobytes(process: &Process, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// 64 uploads at once: 10 GiB, long; otherwise 2.5 GiB, in a debug build 0.6 GiB.
#[tokio::test(flavor = "multi_thread")]
async fn f32_64_uploads_at_once_take_less_than_128_mb_of_memory_whatever_their_size() {
    const UPLOADS: usize = 64;
    const BOUND: usize = 128_000;
    let each = if long() {
        160 * MIB
    } else if cfg!(debug_assertions) {
        10 * MIB
    } else {
        40 * MIB
    };
    let site = Arc::new(Site::new("").await);
    let process = site.spawn();
    Image::small(1).push_and_pull(&site.http(), &site.repository).await;
    let before = kilobytes(&process, "VmHWM:");
    let begun = Instant::now();
    let mut pushing = Vec::new();
    for number in 0..UPLOADS {
        let site = site.clone();
        pushing.push(tokio::spawn(async move { push_stream(&site, number as u64, each).await }));
    }
    for pushed in pushing {
        pushed.await.unwrap();
    }
    let (peak, took) = (kilobytes(&process, "VmHWM:"), begun.elapsed());
    println!(
        "F32: {UPLOADS} uploads at once of {} MiB each in {took:.1?}: {before} kB before, {peak} kB at most ({BOUND} are allowed)",
        each / MIB
    );
    assert!(peak <= BOUND, "{peak} kB");
    process.kill();
}

/// Pushes a blob that repeats one block behind a number, without having it in memory.
async fn push_stream(site: &Site, number: u64, length: usize) {
    let block = bytes_of(number, MIB);
    let mut hash = sha2::Sha256::default();
    for _ in 0..length / MIB {
        sha2::Digest::update(&mut hash, &block);
    }
    let digest = format!("sha256:{}", hex::encode(sha2::Digest::finalize(hash)));
    let http = site.http();
    let begun = http.call(Method::POST, &format!("/v2/{}/blobs/uploads/", site.repository), &[], "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text());
    let path = format!("{}?digest={digest}", begun.header("location"));
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    socket.write_all(head(site, "PUT", &path, length).as_bytes()).await.unwrap();
    for _ in 0..length / MIB {
        socket.write_all(&block).await.unwrap();
    }
    let mut answer = vec![0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 201", "{}", String::from_utf8_lossy(&answer));
}

fn head(site: &Site, method: &str, path: &str, length: usize) -> String {
    let basic = STANDARD.encode(format!("AWS:{}", site.password));
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The times of healthy requests while something else goes on; sorted.
async fn healthy(site: &Site, digest: &Digest, bytes: &[u8], count: usize) -> Vec<Duration> {
    let http = site.http();
    let mut times = Vec::new();
    for _ in 0..count {
        let from = Instant::now();
        let got = http.get(&format!("/v2/{}/blobs/{digest}", site.repository)).await;
        times.push(from.elapsed());
        assert!(got.status == StatusCode::OK && got.body == bytes, "{}", got.status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times.sort();
    times
}

/// Waits until the server closes a connection; answers when.
async fn closed(mut socket: TcpStream, from: Instant) -> Duration {
    let mut buffer = [0; 4_096];
    loop {
        match tokio::time::timeout(Duration::from_secs(120), socket.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return from.elapsed(),
            Ok(Ok(_)) => {}
            Err(_) => panic!("the connection is open after {:?}", from.elapsed()),
        }
    }
}

/// Connections of each kind: 5,000 idle ones and 100 of the others, long; otherwise 500 and 20.
#[tokio::test(flavor = "multi_thread")]
async fn f33_slow_heads_slow_bodies_slow_readers_and_idle_connections_are_closed_and_hinder_nobody() {
    let (idle, slow) = if long() { (5_000, 100) } else { (500, 20) };
    let site = Arc::new(Site::new("").await);
    let process = site.spawn();
    let bytes = bytes_of(33, 200_000);
    let digest = Digest::of(&bytes);
    let http = site.http();
    http.push_blob(&site.repository, &bytes).await;
    let large = bytes_of(34, 64 * MIB);
    http.push_blob(&site.repository, &large).await;
    let alone = healthy(&site, &digest, &bytes, 300).await;
    let before = kilobytes(&process, "VmHWM:");
    let mut kinds =
        vec![("idle", Vec::new()), ("slow head", Vec::new()), ("slow body", Vec::new()), ("slow reader", Vec::new())];
    for _ in 0..slow {
        kinds[1].1.push(tokio::spawn(slow_head(site.port)));
        kinds[2].1.push(tokio::spawn(slow_body(site.clone())));
        kinds[3].1.push(tokio::spawn(slow_reader(site.clone(), Digest::of(&large))));
    }
    // These are there before the idle ones take all places that are left.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..idle {
        let socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
        kinds[0].1.push(tokio::spawn(closed(socket, Instant::now())));
    }
    let beside = healthy(&site, &digest, &bytes, 300).await;
    let peak = kilobytes(&process, "VmHWM:");
    let mut told = Vec::new();
    for ((kind, running), bound) in kinds.into_iter().zip([60, 11, 45, 90]) {
        let (count, mut last) = (running.len(), Duration::ZERO);
        for one in running {
            last = last.max(one.await.unwrap());
        }
        told.push(format!("{count} {kind} closed within {last:.1?}"));
        assert!(last <= Duration::from_secs(bound), "{kind}: {last:?}");
    }
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    println!(
        "F33: {}; healthy pulls: p50 {:.1?} alone, {:.1?} beside them; p99 {:.1?} and {:.1?}; {before} kB before, {peak} kB at most",
        told.join(", "),
        alone[150],
        beside[150],
        p99(&alone),
        p99(&beside),
    );
    Image::small(9).push_and_pull(&site.http(), &site.repository).await;
    process.kill();
}

/// A byte of a head each second.
async fn slow_head(port: u16) -> Duration {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let from = Instant::now();
    for byte in b"GET /v2/ HTTP/1.1\r\nhost: localhost\r\nx-slow: 0123456789".iter() {
        let sent = socket.write_all(&[*byte]).await;
        let mut nothing = [0];
        let answer = tokio::time::timeout(Duration::from_secs(1), socket.read(&mut nothing)).await;
        if sent.is_err() || matches!(answer, Ok(Ok(0) | Err(_))) {
            return from.elapsed();
        }
    }
    closed(socket, from).await
}

/// A body that stops.
async fn slow_body(site: Arc<Site>) -> Duration {
    let http = site.http();
    let begun = http.call(Method::POST, &format!("/v2/{}/blobs/uploads/", site.repository), &[], "").await;
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    socket.write_all(head(&site, "PATCH", begun.header("location"), 1 << 30).as_bytes()).await.unwrap();
    socket.write_all(&[1; 100_000]).await.unwrap();
    closed(socket, Instant::now()).await
}

/// A pull that nobody reads; the server's end shows in what is left to read.
async fn slow_reader(site: Arc<Site>, digest: Digest) -> Duration {
    let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let from = Instant::now();
    let path = format!("/v2/{}/blobs/{digest}", site.repository);
    socket.write_all(head(&site, "GET", &path, 0).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(65)).await;
    let (mut buffer, mut got) = (vec![0; MIB], 0);
    while let Ok(Ok(more @ 1..)) = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut buffer)).await {
        got += more;
    }
    assert!(got < 64 * MIB, "a pull that nobody read for 65 s went on");
    from.elapsed()
}
