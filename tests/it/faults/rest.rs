//! F07 and F08: bytes at rest that are not what they were, or are not there, are never served as if they were.

use super::{bytes_of, long};
use crate::harness::{Http, Region};
use http::{Method, StatusCode};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use transship::names::Digest;

/// Pushes blobs one by one; answers each with its file.
async fn pushed(region: &Region, http: &Http, repository: &str, count: u64) -> Vec<(String, Vec<u8>, PathBuf)> {
    let blobs = region.folder.path().join("data/blobs");
    let mut known = std::collections::BTreeSet::new();
    let mut all = Vec::new();
    for number in 0..count {
        // From a few bytes to a few segments, and on both sides of their borders.
        let length = [9, 100, 65_000, 65_536, 70_000, 200_000][usize::try_from(number % 6).unwrap()];
        let bytes = bytes_of(number, length);
        let digest = http.push_blob(repository, &bytes).await;
        let files: Vec<PathBuf> = objects(&blobs);
        let new: Vec<_> = files.into_iter().filter(|file| known.insert(file.clone())).collect();
        let [file] = &new[..] else { panic!("a blob is one file: {new:?}") };
        all.push((digest, bytes, file.clone()));
    }
    all
}

fn objects(blobs: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(blobs).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file() && entry.file_name() != "node");
    files.map(walkdir::DirEntry::into_path).collect()
}

/// Whether a client takes what it gets for the whole blob, or for a part of it.
async fn accepted(http: &Http, repository: &str, digest: &str, bytes: &[u8]) -> bool {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let whole = http.try_call(Method::GET, &path, &[], "").await;
    // The last byte, and with it the last segment alone.
    let range = format!("bytes={0}-{0}", bytes.len() - 1);
    let part = http.try_call(Method::GET, &path, &[("range", &range)], "").await;
    let taken = whole.is_ok_and(|answer| answer.status == StatusCode::OK);
    let wrong = part.is_ok_and(|answer| answer.status.is_success() && answer.body != bytes[bytes.len() - 1..]);
    assert!(!wrong, "a part of {digest} was served that is not what was pushed");
    taken
}

/// 100 blobs, long 1,000.
#[tokio::test(flavor = "multi_thread")]
async fn f07_a_bit_that_flipped_at_rest_is_never_served() {
    let count = if long() { 1_000 } else { 100 };
    let region = Region::start().await;
    let (http, repository) = (region.http("dev").await, format!("{}/app", region.account("dev")));
    let blobs = pushed(&region, &http, &repository, count).await;
    for (number, (digest, bytes, file)) in blobs.iter().enumerate() {
        assert!(
            accepted(&http, &repository, digest, bytes).await,
            "{digest} is served before anything is wrong with it"
        );
        flip(file, number as u64);
    }
    let mut served = 0;
    for (digest, bytes, _) in &blobs {
        served += usize::from(accepted(&http, &repository, digest, bytes).await);
    }
    // What was found damaged is set aside: a push of the same bytes heals it.
    let mut again = 0;
    for (digest, bytes, _) in &blobs {
        http.push_blob(&repository, bytes).await;
        again += usize::from(accepted(&http, &repository, digest, bytes).await);
    }
    println!("F07: one bit flipped in each of {count} blobs: {served} served as whole; healed by a push: {again}");
    assert_eq!((served, again), (0, blobs.len()));
}

/// Flips a bit of a file that the seed chooses.
fn flip(path: &Path, seed: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let random = u64::from_le_bytes(bytes_of(seed + 77, 8).try_into().unwrap());
    let (at, bit) = (random % length, (random >> 40) % 8);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_bit_that_flipped_in_a_manifest_at_rest_is_never_served() {
    let region = Region::start().await;
    let (http, repository) = (region.http("dev").await, format!("{}/app", region.account("dev")));
    let digest = http.push_image(&repository, "v1", &[b"a layer"]).await;
    let database = rusqlite::Connection::open(region.folder.path().join("data/metadata.db")).unwrap();
    let sealed: Vec<u8> = database.query_row("SELECT sealed FROM manifests", [], |row| row.get(0)).unwrap();
    let mut refused = 0;
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1 << (at % 8);
        database.execute("UPDATE manifests SET sealed = $1", [&changed]).unwrap();
        for reference in ["v1", &digest] {
            let answer = http.try_call(Method::GET, &format!("/v2/{repository}/manifests/{reference}"), &[], "").await;
            assert!(!answer.is_ok_and(|answer| answer.status == StatusCode::OK), "byte {at} of {reference}");
            refused += 1;
        }
    }
    database.execute("UPDATE manifests SET sealed = $1", [&sealed]).unwrap();
    assert_eq!(http.get(&format!("/v2/{repository}/manifests/v1")).await.status, StatusCode::OK);
    println!("F07: a bit flipped in each of the {} bytes of a manifest: {refused} pulls, all refused", sealed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_an_object_that_is_missing_cut_or_another_s_is_never_served_and_no_other_is_harmed() {
    let region = Region::start().await;
    let (http, repository) = (region.http("dev").await, format!("{}/app", region.account("dev")));
    let blobs = pushed(&region, &http, &repository, 36).await;
    // Of twelve each: missing; cut by a byte, to half and to nothing; swapped with one of the same length.
    let mut swapped = 0;
    for (number, (_, _, file)) in blobs.iter().enumerate().take(30) {
        let length = std::fs::metadata(file).unwrap().len();
        let cut = |to| File::options().write(true).open(file).unwrap().set_len(to).unwrap();
        match number / 6 {
            0 => std::fs::remove_file(file).unwrap(),
            1 => cut(length - 1),
            2 => cut(length / 2),
            3 => cut(0),
            _ => {
                let (other, beside) = (&blobs[number + 6].2, file.with_extension("beside"));
                std::fs::rename(file, &beside).unwrap();
                std::fs::rename(other, file).unwrap();
                std::fs::rename(&beside, other).unwrap();
                swapped += 2;
            }
        }
    }
    let mut served = 0;
    for (digest, bytes, _) in &blobs {
        served += usize::from(accepted(&http, &repository, digest, bytes).await);
    }
    let missing = http.try_call(Method::GET, &format!("/v2/{repository}/blobs/{}", blobs[0].0), &[], "").await.unwrap();
    println!(
        "F08: 6 objects removed, 18 cut, {swapped} swapped: {served} served; a missing one is answered {}",
        missing.status
    );
    assert_eq!(served, 0);
    // What is damaged can be pushed again, into a repository that does not hold it; nothing else is touched.
    let other = format!("{}/other", region.account("dev"));
    let sound = http.push_blob(&other, b"pushed after the damage").await;
    let got = http.get(&format!("/v2/{other}/blobs/{sound}")).await;
    assert_eq!((got.status, got.body), (StatusCode::OK, "pushed after the damage".into()));
    assert_eq!(Digest::of(b"pushed after the damage").to_string(), sound);
}
