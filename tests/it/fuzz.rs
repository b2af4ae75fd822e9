//! What comes from strangers is read by plain functions, and these are fed mutated bytes: no input makes them panic, and
//! what they accept keeps their promises.
//!
//! Inputs whose outcome is new are kept and mutated further. CI size: 60 s for each target; in a debug build 2 s. Long size
//! (`TRANSSHIP_LONG=1`): 10 minutes. The seed is fixed, and an input that breaks a promise is printed with the panic.

use bytes::Bytes;
use http::{Method, Uri};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use transship::api::oci::range::{self, Wanted};
use transship::api::oci::route;
use transship::domain::manifest::{Manifest, RawManifest};
use transship::error::Error;
use transship::names::{Digest, MediaType};

fn duration() -> Duration {
    if std::env::var_os("TRANSSHIP_LONG").is_some() {
        return Duration::from_secs(600);
    }
    Duration::from_secs(if cfg!(debug_assertions) { 2 } else { 60 })
}

/// A xorshift generator: a run can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }
}

/// Changes an input in one to four places: a byte, a piece that is cut, doubled or taken from elsewhere, a word.
fn mutate(random: &mut Random, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1).min(24);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = random.next().to_be_bytes()[0],
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let piece = other[from..].iter().take(40).copied().collect::<Vec<u8>>();
                bytes.splice(at..end, piece);
            }
            _ => drop(bytes.splice(at..at, words[random.below(words.len())].bytes())),
        }
    }
    bytes.truncate(4_096);
    bytes
}

/// Feeds a target; what it answers tells inputs apart.
fn fuzz(name: &str, seeds: &[&str], words: &[&str], target: impl Fn(&[u8]) -> String) {
    let mut random = Random(0x5eed_0000_0000_0001);
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let mut known: HashSet<String> = corpus.iter().map(|input| target(input)).collect();
    let (end, mut inputs) = (Instant::now() + duration(), 0_u64);
    while Instant::now() < end {
        for _ in 0..256 {
            let input = mutate(&mut random, &corpus, words);
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
            let answer = answer.unwrap_or_else(|_| panic!("{name} broke on {:?}", String::from_utf8_lossy(&input)));
            inputs += 1;
            if corpus.len() < 4_000 && known.insert(answer) {
                corpus.push(input);
            }
        }
    }
    println!("fuzz {name}: {inputs} inputs, {} outcomes", known.len());
    assert!(known.len() > seeds.len() && inputs > 1_000, "the target was not exercised");
}

/// An error's kind, and that its text is bounded whatever was sent.
fn kind(error: &Error) -> String {
    assert!(error.message.len() < 2_000, "{}", error.message);
    format!("{:?} {:?}", error.reason, error.metadata.get("field"))
}

const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_route_is_read_from_any_bytes() {
    let seeds = [
        "GET 127.0.0.1:5000 /v2/",
        "GET h /v2/123456789012/team/app/manifests/v1",
        "PUT h /v2/123456789012/a/manifests/v1?tag=x&tag=y",
        "GET h /v2/123456789012/a/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "POST h /v2/123456789012/a/blobs/uploads/?mount=sha256%3Ae3b0c4&from=123456789012/b",
        "PATCH 123456789012.dkr.ecr.us-east-1.example /v2/a/b/blobs/uploads/019a-x",
        "GET h /v2/123456789012/a/tags/list?n=5&last=v1",
        "GET h /v2/123456789012/a/referrers/sha256:aa?artifactType=text/plain",
        "GET h /token?scope=repository:123456789012/a:pull,push&service=s",
    ];
    let words =
        ["/", "..", "%2F", "%", "?", "&", "=", "123456789012", SHA, "blobs/uploads/", "manifests/", "\0", "@", ":"];
    fuzz("route", &seeds, &words, |input| {
        let text = String::from_utf8_lossy(input);
        let mut parts = text.splitn(3, ' ');
        let (method, host, uri) = (parts.next(), parts.next(), parts.next());
        let Ok(method) = Method::from_bytes(method.unwrap_or("GET").as_bytes()) else { return "no method".into() };
        let Ok(uri) = uri.unwrap_or("/").parse::<Uri>() else { return "no uri".into() };
        match route::parse(&method, &uri, host.unwrap_or("")) {
            Ok(route) => {
                let again = route::parse(&method, &uri, host.unwrap_or("")).unwrap();
                assert_eq!(route, again);
                format!("{:?} {}", std::mem::discriminant(&route.call), route.scope().is_some())
            }
            Err(error) => kind(&error.into()),
        }
    });
}

#[test]
fn a_downloads_range_is_read_from_any_bytes() {
    let seeds = ["bytes=0-0 10", "bytes=-5 10", "bytes=3- 10", "bytes=0-1,4-5 10", "bytes=18446744073709551615- 0"];
    let words = ["-", "=", ",", "bytes", "18446744073709551615", "0", "9223372036854775808", " "];
    fuzz("range", &seeds, &words, |input| {
        let text = String::from_utf8_lossy(input);
        let (header, size) = text.rsplit_once(' ').unwrap_or((&text, "7"));
        let size: u64 = size.parse().unwrap_or(1_000);
        match range::wanted(Some(header), size) {
            Wanted::Part(span) => {
                assert!(span.first() <= span.last() && span.last() < size && span.len() <= size);
                format!("part {} {}", span.first().min(3), span.len().min(3))
            }
            other => format!("{other:?} {}", size.min(2)),
        }
    });
}

#[test]
fn a_chunks_range_is_read_from_any_bytes() {
    let seeds = ["0-0", "bytes 0-9/*", "bytes 0-9/10", "5-4", "0-18446744073709551615"];
    let words = ["-", "/", "*", "bytes ", "18446744073709551615", "0", "10"];
    fuzz("content-range", &seeds, &words, |input| match range::chunk(&String::from_utf8_lossy(input)) {
        Ok(span) => {
            assert_eq!(range::chunk(&format!("{}-{}", span.first(), span.last())), Ok(span));
            format!("{} {}", span.first().min(3), span.len().min(3))
        }
        Err(error) => kind(&error.into()),
    });
}

#[test]
fn a_manifest_is_read_from_any_bytes() {
    let image = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"urls":["http://x"]}],"annotations":{"k":"v"}}"#;
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":3,"platform":{"os":"linux"}}],"subject":null}"#;
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "null",
        "-1",
        "1e999",
        "\\u0000",
        "\"subject\":",
        "\"layers\":",
        "\"config\":{}",
        "\"manifests\":[]",
        "\"schemaVersion\":1",
        "9223372036854775808",
        SHA,
        "[[[[[[[[",
        "\u{feff}",
    ];
    fuzz("manifest", &[image, index, "{}", ""], &words, |input| {
        let bytes = Bytes::copy_from_slice(input);
        let declared = input
            .len()
            .is_multiple_of(3)
            .then(|| MediaType::parse("application/vnd.oci.image.manifest.v1+json").unwrap());
        match RawManifest::new(bytes.clone(), declared, None) {
            Ok(raw) => {
                assert_eq!((raw.digest, &raw.bytes), (Digest::of(input), &bytes));
                match Manifest::parse(&raw) {
                    Ok(read) => format!("{} {} {}", read.layers.len(), read.children.len(), read.subject.is_some()),
                    Err(error) => kind(&error.into()),
                }
            }
            Err(error) => kind(&error.into()),
        }
    });
}
