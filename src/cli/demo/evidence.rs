//! Evidence from the disks of both regions and from a signature: which keys seal an image on each side, and what a region
//! has signed. The databases are opened read-only, beside the servers that own them.

use crate::domain::replication::receipt::{Receipt, verify_signature};
use crate::names::{Digest, RepositoryRef, Uid};
use crate::oci;
use crate::pb::replication as pb;
use crate::syncs::Syncs;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// How much of a blob's beginning is looked for in its sealed file; a shorter blob than the least is not looked for, since
/// a few bytes may be anywhere by chance.
const PLAIN_BYTES: std::ops::RangeInclusive<u64> = 16..=4_096;

/// How an image is sealed on two sides.
#[derive(Default)]
pub(super) struct Sealed {
    pub(super) source_key: String,
    pub(super) destination_key: String,
    /// Blobs compared.
    pub(super) blobs: usize,
    /// Sealed bytes read, both sides.
    pub(super) bytes: u64,
}

/// A repository as it lies on a region's disk.
pub(super) struct Side {
    data: PathBuf,
    repository: RepositoryRef,
    database: Connection,
    uid: Vec<u8>,
    key: String,
}

impl Side {
    pub(super) fn open(region: &Path, repository: RepositoryRef) -> Result<Self, String> {
        let data = region.join("data");
        let path = data.join("metadata.db");
        let told = |error: rusqlite::Error| format!("{} in {}: {error}", repository.arn(), path.display());
        let database = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(told)?;
        let sql = "SELECT uid, kms_key FROM repositories WHERE account = ?1 AND name = ?2";
        let named = (repository.account.as_str(), repository.name.as_str());
        let (uid, key) = database.query_row(sql, named, |row| Ok((row.get(0)?, row.get(1)?))).map_err(told)?;
        Ok(Self { data, repository, database, uid, key })
    }

    /// The file of a blob that is linked to the repository.
    fn object(&self, digest: &Digest) -> Result<PathBuf, String> {
        let told = |problem: String| format!("{digest} in {}: {problem}", self.repository.arn());
        let sql = "SELECT b.uid, b.kms_key FROM links l JOIN blobs b ON b.uid = l.blob \
                   WHERE l.repository = ?1 AND l.digest = ?2";
        let row = self.database.query_row(sql, (&self.uid, digest.to_string()), |row| Ok((row.get(0)?, row.get(1)?)));
        let (uid, key): ([u8; 16], String) = row.map_err(|error| told(error.to_string()))?;
        if key != self.key {
            return Err(told(format!("it is under {key}, the repository's key is {}", self.key)));
        }
        let blobs =
            crate::blobs::Disk::open(&self.data.join("blobs"), Syncs::default()).map_err(|error| error.message)?;
        Ok(blobs.path(self.repository.account, Uid::from_bytes(uid)))
    }
}

/// That two repositories keep an image under different keys, each blob as different bytes, none of which are plaintext.
pub(super) fn differ(image: &oci::Layout, source: &Side, destination: &Side) -> Result<Sealed, String> {
    if source.key == destination.key {
        return Err(format!("both sides use the key {}", source.key));
    }
    let (source_key, destination_key) = (source.key.clone(), destination.key.clone());
    let mut sealed = Sealed { source_key, destination_key, ..Sealed::default() };
    for (digest, size) in image.blobs().map_err(|error| error.to_string())? {
        let plain = beginning(&image.blob(&digest), size).map_err(|error| error.to_string())?;
        sealed.bytes += compare(&source.object(&digest)?, &destination.object(&digest)?, &plain)?;
        sealed.blobs += 1;
    }
    Ok(sealed)
}

/// The first bytes of a blob, or nothing where there are too few.
fn beginning(path: &Path, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if size >= *PLAIN_BYTES.start() {
        File::open(path)?.take(*PLAIN_BYTES.end()).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads two sealed files beside each other to their ends; answers how many bytes they are.
fn compare(here: &Path, there: &Path, plain: &[u8]) -> Result<u64, String> {
    let (mut one, mut two) = (Reading::open(here, plain)?, Reading::open(there, plain)?);
    let (mut read, mut same) = (0, true);
    loop {
        let (a, b) = (one.next()?, two.next()?);
        if a.is_empty() && b.is_empty() {
            break;
        }
        same &= a == b;
        read += (a.len() + b.len()) as u64;
    }
    if same { Err(format!("{} and {} are the same bytes", here.display(), there.display())) } else { Ok(read) }
}

/// A sealed file, read in blocks, in which the plaintext's beginning must not be.
struct Reading<'a> {
    path: &'a Path,
    file: File,
    plain: &'a [u8],
    /// The end of the block before, in front of the block: a match may lie across.
    buffer: Vec<u8>,
}

impl<'a> Reading<'a> {
    fn open(path: &'a Path, plain: &'a [u8]) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path, file, plain, buffer: Vec::new() })
    }

    /// The next block; empty at the end.
    fn next(&mut self) -> Result<&[u8], String> {
        let overlap = self.plain.len().saturating_sub(1).min(self.buffer.len());
        self.buffer.drain(..self.buffer.len() - overlap);
        let read = (&mut self.file).take(BUFFER_BYTES as u64).read_to_end(&mut self.buffer);
        read.map_err(|error| format!("{}: {error}", self.path.display()))?;
        if !self.plain.is_empty() && self.buffer.windows(self.plain.len()).any(|window| window == self.plain) {
            return Err(format!("{} holds plaintext", self.path.display()));
        }
        Ok(&self.buffer[overlap..])
    }
}

/// What a receipt must be about.
pub(super) struct Expected<'a> {
    pub(super) image: &'a oci::Layout,
    pub(super) source_region: &'a str,
    pub(super) source: &'a str,
    pub(super) destination: RepositoryRef,
    pub(super) tag: &'a str,
}

/// Checks a receipt against the public key of the destination's certificate and against what was pushed; gives what was
/// signed.
pub(super) fn receipt(sent: &pb::Receipt, key: &[u8], expected: &Expected<'_>) -> Result<Receipt, String> {
    verify_signature(key, &sent.body, &sent.signature).map_err(|error| error.message)?;
    let signed = Receipt::decode(&sent.body).map_err(|error| error.message)?;
    is_about(&signed, expected)?;
    Ok(signed)
}

fn is_about(signed: &Receipt, expected: &Expected<'_>) -> Result<(), String> {
    let digest = expected.image.digest().map_err(|error| error.to_string())?;
    let about = [
        (signed.source_region.to_string(), expected.source_region.to_owned()),
        (signed.source.to_string(), expected.source.to_owned()),
        (signed.destination.arn().to_string(), expected.destination.arn().to_string()),
        (signed.tag.clone(), expected.tag.to_owned()),
        (signed.digest.to_string(), digest.to_string()),
    ];
    if let Some((said, wanted)) = about.iter().find(|(said, wanted)| said != wanted) {
        return Err(format!("the receipt says {said} where {wanted} is expected"));
    }
    let said: BTreeSet<_> = signed.blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    if said != expected.image.blobs().map_err(|error| error.to_string())? {
        return Err("the receipt names other blobs than the image has".to_owned());
    }
    let own = format!("arn:aws:kms:{}:{}:", expected.destination.region, expected.destination.account);
    match signed.blobs.iter().find(|blob| !blob.kms_key.as_str().starts_with(&own)) {
        Some(blob) => Err(format!("the receipt says {} is under {}", blob.digest, blob.kms_key)),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES, Expected, compare, is_about};
    use crate::clock::Timestamp;
    use crate::domain::replication::receipt::{How, Receipt, ReceiptBlob};
    use crate::names::{AccountId, Arn, Digest, Region, RepositoryName, RepositoryRef};

    #[test]
    fn a_receipt_that_is_about_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "content").unwrap();
        let image = crate::oci::pack(&file, "file", &folder.path().join("image")).unwrap();
        let account = |text| AccountId::parse(text).unwrap();
        let region = |text| Region::parse(text).unwrap();
        let destination = RepositoryRef {
            account: account("222233334444"),
            region: region("eu-west-1"),
            name: RepositoryName::parse("team-a/app").unwrap(),
        };
        let kms_key = Arn::parse("arn:aws:kms:eu-west-1:222233334444:key/k").unwrap();
        let verified_at = Timestamp::from_secs(1);
        let blob =
            |(digest, size)| ReceiptBlob { digest, size, kms_key: kms_key.clone(), how: How::Received, verified_at };
        let honest = Receipt {
            source_region: region("us-east-1"),
            source: account("111122223333"),
            destination: destination.clone(),
            digest: image.digest().unwrap(),
            tag: "v1".to_owned(),
            committed_at: Timestamp::from_secs(1),
            blobs: image.blobs().unwrap().into_iter().map(blob).collect(),
        };
        let (image, source) = (&image, "111122223333");
        let expected = Expected { image, source_region: "us-east-1", source, destination, tag: "v1" };
        assert_eq!(is_about(&honest, &expected), Ok(()));
        let lies: [fn(&mut Receipt); 9] = [
            |it| it.source_region = Region::parse("us-west-2").unwrap(),
            |it| it.source = AccountId::parse("333333333333").unwrap(),
            |it| it.destination.account = AccountId::parse("333333333333").unwrap(),
            |it| it.destination.name = RepositoryName::parse("team-a/other").unwrap(),
            |it| it.digest = Digest::of(b"other"),
            |it| it.tag = "v2".to_owned(),
            |it| drop(it.blobs.pop()),
            |it| it.blobs[0].size += 1,
            |it| it.blobs[0].kms_key = Arn::parse("arn:aws:kms:us-east-1:111122223333:key/k").unwrap(),
        ];
        for (number, lie) in lies.into_iter().enumerate() {
            let mut lying = honest.clone();
            lie(&mut lying);
            assert!(is_about(&lying, &expected).is_err(), "lie {number}");
        }
    }

    #[test]
    fn the_same_bytes_and_plaintext_anywhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let plain = b"sixteen bytes or more of text";
        let noise = |seed: u32| -> Vec<u8> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            };
            (0..BUFFER_BYTES + 5_000).map(|_| next()).collect()
        };
        let (one, two) = (write("one", &noise(1)), write("two", &noise(2)));
        assert_eq!(compare(&one, &two, plain), Ok(2 * (BUFFER_BYTES as u64 + 5_000)));
        assert!(compare(&one, &one, plain).unwrap_err().contains("are the same bytes"));
        // At the beginning, across two blocks, at the very end.
        for at in [0, BUFFER_BYTES - 10, BUFFER_BYTES + 5_000 - plain.len()] {
            let mut bytes = noise(3);
            bytes[at..at + plain.len()].copy_from_slice(plain);
            let error = compare(&one, &write("leaking", &bytes), plain).unwrap_err();
            assert!(error.contains("holds plaintext"), "at {at}: {error}");
        }
    }
}
