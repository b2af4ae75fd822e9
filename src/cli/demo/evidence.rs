//! Evidence from the disks of both regions: keys and ciphertexts, read without the servers.

use crate::names::{AccountId, Digest, Uid};
use crate::oci;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Plaintext that must not be found in a ciphertext.
const SAMPLE: usize = 4_096;

/// A blob as one region keeps it.
pub(super) struct Kept {
    pub(super) kms_key: String,
    path: PathBuf,
}

/// Finds a blob in a region's store and on its disk.
pub(super) fn kept(region: &Path, account: &str, digest: &Digest) -> Result<Kept, String> {
    let data = region.join("data");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(data.join("metadata.db"), flags).map_err(|error| error.to_string())?;
    let sql =
        "SELECT b.kms_key, b.uid FROM blobs b JOIN links l ON l.blob = b.uid WHERE b.account = ?1 AND b.digest = ?2";
    let (kms_key, uid): (String, [u8; 16]) = database
        .query_row(sql, [account.to_owned(), digest.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| format!("blob {digest} of account {account} is not in {}: {error}", data.display()))?;
    let owner = AccountId::parse(account).map_err(|error| error.to_string())?;
    let blobs = crate::blobs::Disk::open(&data.join("blobs")).map_err(|error| error.message)?;
    Ok(Kept { kms_key, path: blobs.path(owner, Uid::from_bytes(uid)) })
}

/// That two regions keep one blob under different keys, as different bytes, neither of which shows the plaintext.
pub(super) fn differ(source: &Kept, destination: &Kept, image: &oci::Layout, digest: &Digest) -> Result<(), String> {
    if source.kms_key == destination.kms_key {
        return Err(format!("both sides use key {}", source.kms_key));
    }
    let (here, there) = (read(&source.path)?, read(&destination.path)?);
    let mut plain = vec![0; SAMPLE];
    let mut file = File::open(image.blob(digest)).map_err(|error| error.to_string())?;
    let count = file.read(&mut plain).map_err(|error| error.to_string())?;
    if here == there {
        return Err("the same ciphertext lies in both regions".to_owned());
    }
    for (side, bytes) in [("source", &here), ("destination", &there)] {
        if count > 64 && bytes.windows(64).any(|window| window == &plain[..64]) {
            return Err(format!("plaintext lies open at the {side}"));
        }
    }
    Ok(())
}

/// The first megabytes of a file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(4 << 20).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// That a pulled image is, blob by blob, the one that was pushed.
pub(super) fn same(pushed: &oci::Layout, pulled: &oci::Layout) -> Result<u64, String> {
    let wanted = pushed.content().map_err(|error| error.to_string())?;
    let found = pulled.content().map_err(|error| error.to_string())?;
    if wanted != found {
        return Err("the pulled image consists of other blobs than the pushed one".to_owned());
    }
    for digest in &wanted {
        let hashed = hash(&pulled.blob(digest))?;
        if hashed != *digest {
            return Err(format!("{digest} hashes to {hashed} on disk"));
        }
    }
    pulled.size().map_err(|error| error.to_string())
}

fn hash(path: &Path) -> Result<Digest, String> {
    use sha2::Digest as _;
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok(Digest::sha256(hash.finalize().into()));
        }
        hash.update(&buffer[..count]);
    }
}
