//! Sealed bytes at rest: one file for each object, named `<account>/<first two of uid>/<uid>`.
//!
//! Only sealed bytes are written and only verified objects become blobs: [`BlobStore::finish`] is the one maker of
//! [`VerifiedBlob`]. A file that is named is synced, and so is its folder, before anything refers to it. What a crash
//! leaves past the last durable part is cut off when the upload goes on.

use crate::error::{Error, Reason, Result};
use crate::keys::{Chunk, Opener, Part, Plan, Sealer, Sealing};
use crate::names::{AccountId, Digest, Uid};
use bytes::{Bytes, BytesMut};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Plaintext bytes of a part on local disk: what a cut connection or a crash costs at most.
pub const PART_BYTES: u64 = 32 << 20;
/// Plaintext bytes sealed and written in one hop to the blocking pool.
pub const BATCH_BYTES: usize = 512 << 10;

/// The objects of one region on a local disk.
#[derive(Clone, Debug)]
pub struct BlobStore {
    root: Arc<Path>,
}

/// Proof that the bytes of an object hash to its digest and are durable.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    account: AccountId,
    uid: Uid,
    sealing: Sealing,
}

impl VerifiedBlob {
    /// The object.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// The account whose object it is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Digest, size, parts and commitment.
    #[must_use]
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }
}

impl BlobStore {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or synced.
    pub fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)
            .and_then(|()| sync_folder(root))
            .map_err(|e| at(root, "make the blob folder", &e))?;
        Ok(Self { root: root.into() })
    }

    /// The id of the node whose disk this is, kept beside the objects; `new` becomes it if there is none.
    ///
    /// # Errors
    /// When the disk fails, or the file is no id.
    pub async fn node(&self, new: Uid) -> Result<Uid> {
        let path = self.root.join("node");
        blocking(move || match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Uid::parse(text.trim())?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let written = File::create_new(&path).and_then(|mut file| {
                    file.write_all(new.to_string().as_bytes())?;
                    file.sync_all()
                });
                let folder = path.parent().unwrap_or(&path);
                written.and_then(|()| sync_folder(folder)).map_err(|e| at(&path, "write", &e))?;
                Ok(new)
            }
            Err(e) => Err(at(&path, "read", &e)),
        })
        .await
    }

    /// Where an object lies.
    #[must_use]
    pub fn path(&self, account: AccountId, uid: Uid) -> PathBuf {
        let name = uid.to_string();
        self.root.join(account.as_str()).join(&name[..2]).join(name)
    }

    /// Opens an object for appending after its durable parts; what lies past them is cut off.
    ///
    /// # Errors
    /// When the disk fails, or the object is shorter than its durable parts.
    pub async fn append(&self, account: AccountId, uid: Uid, sealer: Sealer, parts: &[Part]) -> Result<Writer> {
        let path = self.path(account, uid);
        let parts = parts.to_vec();
        let durable: u64 = parts.iter().map(Part::cipher_len).sum();
        blocking(move || {
            let file = open_for_append(&path, durable)?;
            Ok(Writer {
                path,
                file,
                sealer,
                sealed: Vec::with_capacity(BATCH_BYTES + (64 << 10)),
                parts,
                part_open: false,
            })
        })
        .await
    }

    /// Turns a sealed, written object into a verified one: compares the digest, then syncs the file and its folder. An
    /// object that was not hashed under the claimed algorithm on its way here is read once more.
    ///
    /// # Errors
    /// `DIGEST_MISMATCH` when the bytes are not those that were claimed.
    pub async fn finish(&self, account: AccountId, uid: Uid, writer: Writer, claimed: Digest) -> Result<VerifiedBlob> {
        blocking(move || {
            let Writer { path, file, sealer, .. } = writer;
            let sealing = sealer.finish_as(claimed.algorithm(), |chunk| read_chunk(&file, chunk))?;
            if sealing.digest() != claimed {
                let text =
                    format!("the bytes received hash to {}, not to {claimed}; nothing was stored", sealing.digest());
                return Err(Error::new(Reason::DigestMismatch, text).with("digest", sealing.digest()));
            }
            // SPEC: fdatasync(2) flushes the bytes and the length; the name lives in the folder.
            file.sync_data().map_err(|e| at(&path, "sync", &e))?;
            let folder = path.parent().unwrap_or(&path);
            sync_folder(folder).map_err(|e| at(folder, "sync", &e))?;
            Ok(VerifiedBlob { account, uid, sealing })
        })
        .await
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// `DATA_LOSS` when its file is missing.
    pub async fn reader(&self, account: AccountId, uid: Uid, opener: Opener) -> Result<Reader> {
        let path = self.path(account, uid);
        blocking(move || {
            let file = File::open(&path).map_err(|e| {
                let text = format!("the stored bytes of object {uid} are missing or unreadable");
                Error::new(Reason::DataLoss, text).with("object", uid).because(e)
            })?;
            Ok(Reader { file: Arc::new(file), opener: Arc::new(opener) })
        })
        .await
    }

    /// Removes an object's file; one that is not there is no error.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn remove(&self, account: AccountId, uid: Uid) -> Result<()> {
        let path = self.path(account, uid);
        blocking(move || match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(at(&path, "remove", &e)),
        })
        .await
    }

    /// The objects whose files are there, in no order; for tests and the sweeper.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn list(&self) -> Result<Vec<(AccountId, Uid)>> {
        let root = self.root.clone();
        blocking(move || list_objects(&root).map_err(|e| at(&root, "list", &e))).await
    }
}

/// An object that is being written.
pub struct Writer {
    path: PathBuf,
    file: File,
    sealer: Sealer,
    sealed: Vec<u8>,
    parts: Vec<Part>,
    part_open: bool,
}

/// Bytes that are in the file but not yet durable, and what will be true once they are.
pub struct Unsynced {
    path: PathBuf,
    file: File,
    /// All parts so far.
    pub parts: Vec<Part>,
    /// Plaintext bytes so far.
    pub size: u64,
    /// The hash state after them.
    pub hash_state: Vec<u8>,
}

impl Unsynced {
    /// Waits until the bytes are on the disk.
    ///
    /// # Errors
    /// When the disk fails; the bytes must then be taken as lost.
    pub async fn sync(self) -> Result<(Vec<Part>, u64, Vec<u8>)> {
        blocking(move || {
            self.file.sync_data().map_err(|e| at(&self.path, "sync", &e))?;
            Ok((self.parts, self.size, self.hash_state))
        })
        .await
    }
}

impl Writer {
    /// Plaintext bytes so far, those of the open part included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sealer.total_len()
    }

    /// Hashes, seals and writes plaintext; ends the part when it is full. Blocking.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&mut self, plain: &[Bytes]) -> Result<Option<Unsynced>> {
        self.begin_part()?;
        for bytes in plain {
            self.sealer.write(bytes, &mut self.sealed)?;
        }
        self.flush()?;
        if u64::from(self.sealer.part_len()) >= PART_BYTES { self.end_part().map(Some) } else { Ok(None) }
    }

    /// Ends the open part, if there is one; an object without any part gets an empty one. Blocking.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn end(&mut self) -> Result<Option<Unsynced>> {
        if !self.part_open && !self.parts.is_empty() {
            return Ok(None);
        }
        self.begin_part()?;
        self.end_part().map(Some)
    }

    fn begin_part(&mut self) -> Result<()> {
        if !self.part_open {
            self.sealer.begin_part(&mut self.sealed)?;
            self.part_open = true;
        }
        Ok(())
    }

    fn end_part(&mut self) -> Result<Unsynced> {
        let part = self.sealer.end_part(&mut self.sealed)?;
        self.parts.push(part);
        self.part_open = false;
        self.flush()?;
        let file = self.file.try_clone().map_err(|e| at(&self.path, "sync", &e))?;
        Ok(Unsynced {
            path: self.path.clone(),
            file,
            parts: self.parts.clone(),
            size: self.sealer.total_len(),
            hash_state: self.sealer.checkpoint()?,
        })
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.sealed).map_err(|e| at(&self.path, "write", &e))?;
        self.sealed.clear();
        Ok(())
    }
}

/// An object that is being read.
#[derive(Clone)]
pub struct Reader {
    file: Arc<File>,
    opener: Arc<Opener>,
}

impl Reader {
    /// The reads that yield a range of the plaintext, in order.
    ///
    /// # Errors
    /// When the range is not inside the blob.
    pub fn plan(&self, range: std::ops::Range<u64>) -> Result<Plan> {
        Ok(self.opener.plan(range)?)
    }

    /// Reads and opens one chunk: slices of one buffer, in order.
    ///
    /// # Errors
    /// `DATA_LOSS` when the bytes are not those that were sealed.
    pub async fn read(&self, chunk: Chunk) -> Result<Vec<Bytes>> {
        let Self { file, opener } = self.clone();
        blocking(move || {
            let sealed = read_chunk(&file, &chunk)?;
            Ok(opener.open_chunk(&chunk, sealed)?)
        })
        .await
    }
}

fn read_chunk(file: &File, chunk: &Chunk) -> Result<BytesMut> {
    let mut sealed = BytesMut::zeroed(chunk.file_len());
    file.read_exact_at(&mut sealed, chunk.file_offset()).map_err(|e| {
        Error::new(Reason::DataLoss, "the stored bytes of an object are shorter than they were").because(e)
    })?;
    Ok(sealed)
}

fn open_for_append(path: &Path, durable: u64) -> Result<File> {
    let folder = path.parent().unwrap_or(path);
    if durable == 0 && !folder.exists() {
        make_folder(folder).map_err(|e| at(folder, "make", &e))?;
    }
    let mut file = OpenOptions::new()
        .create(durable == 0)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| at(path, "open", &e))?;
    let length = file.metadata().map_err(|e| at(path, "open", &e))?.len();
    if length < durable {
        let text = "an unfinished upload lost bytes that were durable; start it again";
        return Err(Error::new(Reason::DataLoss, text));
    }
    file.set_len(durable).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| at(path, "truncate", &e))?;
    Ok(file)
}

/// Makes a folder and syncs each parent that gained a name.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    if !parent.exists() {
        make_folder(parent)?;
    }
    match std::fs::create_dir(folder) {
        Ok(()) => sync_folder(parent),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn list_objects(root: &Path) -> std::io::Result<Vec<(AccountId, Uid)>> {
    let mut found = Vec::new();
    for account in std::fs::read_dir(root)? {
        let account = account?.path();
        let Some(id) = account.file_name().and_then(|n| AccountId::parse(n.to_str()?).ok()) else { continue };
        for shard in std::fs::read_dir(&account)? {
            for object in std::fs::read_dir(shard?.path())? {
                let name = object?.file_name();
                found.extend(name.to_str().and_then(|n| Uid::parse(n).ok()).map(|uid| (id, uid)));
            }
        }
    }
    Ok(found)
}

fn at(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let context = std::io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()));
    if full {
        let text = "the registry's disk is full; nothing was stored";
        return Error::new(Reason::Unavailable, text).because(context);
    }
    Error::internal(context)
}

/// Runs file work on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::internal(error)),
    }
}
