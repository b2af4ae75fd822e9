//! How fast blobs are hashed, pushed (hashed and sealed) and opened, on one core.
//!
//! The best and the median of several passes over one part of 32 MiB, fed as a server feeds it: in pieces of 256 KiB,
//! read back in chunks. Hashing bounds a push: it cannot be faster than `hash only`.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::time::Instant;
use transship::keys::{DataKey, Error, Opener, Sealer};
use transship::names::{AccountId, Algorithm, Uid};

const PART: usize = 32 << 20;
const PIECE: usize = 256 << 10;
const PASSES: usize = 15;

fn main() -> Result<(), Error> {
    let plain: Vec<u8> = (0..PART).map(|i| (i % 251) as u8).collect();
    let key = DataKey::random()?;
    let new_sealer = || Sealer::new(&key, AccountId::from_seed(1), Uid::from_bytes([1; 16]), Algorithm::Sha256);

    measure("hash only", || {
        let mut hash = Sha256::new();
        plain.chunks(PIECE).for_each(|piece| hash.update(piece));
        black_box(hash.finalize());
        Ok(())
    })?;

    let (mut out, mut object) = (Vec::with_capacity(2 * PIECE), Vec::new());
    measure("push: hash and seal", || {
        let mut sealer = new_sealer();
        sealer.begin_part(&mut out)?;
        for piece in plain.chunks(PIECE) {
            sealer.write(piece, &mut out)?;
            // The buffer goes to the disk here, and is used again.
            black_box(&out);
            out.clear();
        }
        sealer.end_part(&mut out)?;
        out.clear();
        sealer.finish().map(drop)
    })?;

    let mut sealer = new_sealer();
    sealer.begin_part(&mut object)?;
    sealer.write(&plain, &mut object)?;
    sealer.end_part(&mut object)?;
    let opener = Opener::new(&key, sealer.finish()?.envelope().clone())?;
    measure("pull: copy as read and open", || {
        for chunk in opener.plan(0..PART as u64)? {
            let start = chunk.file_offset() as usize;
            let read = BytesMut::from(&object[start..start + chunk.file_len()]);
            black_box(opener.open_chunk(&chunk, read)?);
        }
        Ok(())
    })
}

fn measure(what: &str, mut pass: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let mut rates = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let start = Instant::now();
        pass()?;
        rates.push(PART as f64 / 1e6 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!("{what:<28} best {:>6.0} MB/s   median {:>6.0} MB/s", rates[PASSES - 1], rates[PASSES / 2]);
    Ok(())
}
