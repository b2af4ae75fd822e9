//! Objects on a local disk: one file each, named `<account>/<first two of uid>/<uid>`.
//!
//! A file that is named is synced, and so is its folder, before anything refers to it. What a crash leaves past the last
//! durable part is cut off when the upload goes on.

use super::blocking;
use super::shares::Shares;
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, Uid};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
}

impl Disk {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or synced.
    pub fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)
            .and_then(|()| sync_folder(root))
            .map_err(|e| at(root, "make the blob folder", &e))?;
        Ok(Self { root: root.into(), shares: Shares::new(TURNS) })
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
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
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
        let path = self.path(account, uid);
        Ok(Appending { file: open_for_append(&path, durable)?, path, length: durable, whole: durable })
    }

    pub(super) fn reader(&self, account: AccountId, uid: Uid) -> Result<File> {
        let path = self.path(account, uid);
        File::open(&path).map_err(|e| {
            if short_of_descriptors(&e) {
                return at(&path, "open", &e);
            }
            // Where the id of the node is gone too, it is the disk that is missing, and not an object.
            let lost = e.kind() == std::io::ErrorKind::NotFound && self.root.join("node").exists();
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
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
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
        Ok(Self { path: self.path.clone(), file, length: self.length, whole: self.whole })
    }

    /// Waits until the bytes are on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| at(&self.path, "sync", &e))
    }

    /// Waits until the bytes and the name are on the disk.
    // SPEC: fdatasync(2) flushes the bytes and the length; the name lives in the folder.
    pub(super) fn sync_named(&self) -> Result<()> {
        self.sync()?;
        let folder = self.path.parent().unwrap_or(&self.path);
        sync_folder(folder).map_err(|e| at(folder, "sync", &e))
    }
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

/// The disk did not give what it was asked for, which says nothing of what lies on it.
pub(super) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Reason::Unavailable, "the disk of the blob store does not answer; try again shortly").because(error)
}

/// SPEC: open(2): ENFILE and EMFILE; they say nothing about the file.
fn short_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

fn at(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
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
