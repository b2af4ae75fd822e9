//! Objects on a local disk: one file each, named `<account>/<first two of uid>/<uid>`.
//!
//! A file that is named is synced, and so are its folder and those above it, before anything refers to it. What a crash
//! leaves past the last durable part is cut off when the upload goes on. A sync that failed is noted ([`Syncs`]) and not
//! repeated: its bytes are written anew.

use super::blocking;
use super::shares::Shares;
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, Uid};
use crate::syncs::Syncs;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Plaintext bytes of a part: what a cut connection or a crash costs at most.
pub(super) const PART_BYTES: u64 = 32 << 20;

/// Batches that are hashed, sealed and written, or read and opened, at once: enough for the cores and a queue of the
/// disk, few enough that a waiting tenant's turn comes soon.
const TURNS: usize = 32;

/// A folder of objects.
#[derive(Clone, Debug)]
pub struct Disk {
    root: Arc<Path>,
    shares: Shares,
    syncs: Syncs,
    named: Arc<Mutex<Named>>,
}

/// Of each account the folders whose names this process has synced, by the first byte of the uids in them.
type Named = HashMap<AccountId, Box<[bool; 256]>>;

impl Disk {
    /// Opens the folder, making it if need be; what it fails to sync is noted.
    ///
    /// # Errors
    /// When the folder cannot be made or synced.
    pub fn open(root: &Path, syncs: Syncs) -> Result<Self> {
        std::fs::create_dir_all(root)
            .and_then(|()| sync_folder(root))
            .map_err(|e| at(root, "make the blob folder", &e))?;
        Ok(Self { root: root.into(), shares: Shares::new(TURNS), syncs, named: Arc::default() })
    }

    /// The turns at the disk.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Where an object lies.
    #[must_use]
    pub fn path(&self, account: AccountId, uid: Uid) -> PathBuf {
        let name = uid.to_string();
        self.root.join(account.as_str()).join(&name[..2]).join(name)
    }

    /// The id of the node whose disk this is, kept beside the objects; `new` becomes it if there is none.
    pub(super) fn node(&self, new: Uid) -> Result<Uid> {
        let path = self.root.join("node");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Uid::parse(text.trim())?),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // Whole or not at all: half an id would keep the region from ever starting again.
                let staged = self.root.join("node.new");
                let written = File::create(&staged).and_then(|mut file| {
                    file.write_all(new.to_string().as_bytes())?;
                    file.sync_all()?;
                    std::fs::rename(&staged, &path)
                });
                written.and_then(|()| sync_folder(&self.root)).map_err(|e| at(&path, "write", &e))?;
                Ok(new)
            }
            Err(e) => Err(at(&path, "read", &e)),
        }
    }

    /// Opens an object for appending at the end of its durable bytes.
    pub(super) fn append(&self, account: AccountId, uid: Uid, durable: u64) -> Result<Appending> {
        if durable == 0 {
            self.make_folders(account, uid)?;
        }
        let path = self.path(account, uid);
        let file = open_for_append(&path, durable)?;
        Ok(Appending { file, path, syncs: self.syncs.clone(), length: durable, whole: durable })
    }

    /// Makes the folders of an object that are not there, and syncs their names. A folder that is there was perhaps made
    /// by a process that was killed before it synced the name.
    fn make_folders(&self, account: AccountId, uid: Uid) -> Result<()> {
        let shard = usize::from(uid.bytes()[0]);
        let known = self.named().get(&account).map(|folders| folders[shard]);
        if known == Some(true) {
            return Ok(());
        }
        let above = self.root.join(account.as_str());
        if known.is_none() {
            make_folder(&above)?;
            sync_names(&self.syncs, &self.root)?;
        }
        let path = self.path(account, uid);
        make_folder(path.parent().unwrap_or(&above))?;
        sync_names(&self.syncs, &above)?;
        self.named().entry(account).or_insert_with(|| Box::new([false; 256]))[shard] = true;
        Ok(())
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reader(&self, account: AccountId, uid: Uid) -> Result<File> {
        let path = self.path(account, uid);
        File::open(&path).map_err(|e| {
            if short_of_descriptors(&e) {
                return at(&path, "open", &e);
            }
            // Where the id of the node is gone too, it is the disk that is missing, and not an object.
            let lost = e.kind() == ErrorKind::NotFound && self.root.join("node").exists();
            if lost {
                let text = format!("the stored bytes of object {uid} are missing");
                return Error::new(Reason::DataLoss, text).with("object", uid).because(e);
            }
            unreadable(at(&path, "open", &e))
        })
    }

    pub(super) async fn remove(&self, account: AccountId, uid: Uid) -> Result<()> {
        let path = self.path(account, uid);
        blocking(move || match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(at(&path, "remove", &e)),
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Vec<(AccountId, Uid)>> {
        let root = self.root.clone();
        blocking(move || list_objects(&root).map_err(|e| at(&root, "list", &e))).await
    }
}

/// A file that grows.
pub(super) struct Appending {
    path: PathBuf,
    file: File,
    syncs: Syncs,
    length: u64,
    /// Where the last whole part ends.
    whole: u64,
}

impl Appending {
    /// Adds bytes. When that fails, what lies past the last whole part is given up: nobody can go on from it, and on a
    /// full disk it would keep everybody else out until the upload expires.
    pub(super) fn write(&mut self, sealed: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(sealed) {
            // The first error is the one to tell.
            let _ = self.file.set_len(self.whole);
            return Err(at(&self.path, "write", &error));
        }
        self.length += sealed.len() as u64;
        Ok(())
    }

    /// Notes that the bytes so far are whole parts.
    pub(super) fn end_part(&mut self) {
        self.whole = self.length;
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The same file, to be synced while this one is written on.
    pub(super) fn again(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|e| at(&self.path, "sync", &e))?;
        let (path, syncs) = (self.path.clone(), self.syncs.clone());
        Ok(Self { path, file, syncs, length: self.length, whole: self.whole })
    }

    /// Waits until the bytes are on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| unsynced(&self.syncs, &self.path, &e))
    }

    /// Waits until the bytes and the name are on the disk.
    // SPEC: fdatasync(2) flushes the bytes and the length; the name lives in the folder.
    pub(super) fn sync_named(&self) -> Result<()> {
        self.sync()?;
        sync_names(&self.syncs, self.path.parent().unwrap_or(&self.path))
    }
}

fn open_for_append(path: &Path, durable: u64) -> Result<File> {
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

fn make_folder(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(at(folder, "make", &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Syncs the names in a folder.
fn sync_names(syncs: &Syncs, folder: &Path) -> Result<()> {
    let opened = File::open(folder).map_err(|e| at(folder, "open", &e))?;
    opened.sync_all().map_err(|e| unsynced(syncs, folder, &e))
}

/// A sync failed. Where there is no room, that says nothing of the disk.
fn unsynced(syncs: &Syncs, path: &Path, error: &std::io::Error) -> Error {
    if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        syncs.failed("the blob store", &format_args!("{}: {error}", path.display()));
    }
    at(path, "sync", error)
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

/// The disk did not give what it was asked for, which says nothing of what lies on it.
pub(super) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Reason::Unavailable, "the disk of the blob store does not answer; try again shortly").because(error)
}

/// SPEC: open(2): ENFILE and EMFILE; they say nothing about the file.
fn short_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

fn at(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    let full = error.kind() == ErrorKind::StorageFull;
    let context = std::io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()));
    if full {
        let text = "the registry's disk is full; nothing was stored";
        return Error::new(Reason::Unavailable, text).because(context);
    }
    if short_of_descriptors(error) {
        let text = "the server has too many files open; try again";
        return Error::new(Reason::Unavailable, text).because(context);
    }
    Error::internal(context)
}
