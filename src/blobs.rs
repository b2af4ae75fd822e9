//! Sealed bytes at rest, on a local disk or in a bucket.
//!
//! Only sealed bytes are written and only verified objects become blobs: [`BlobStore::finish`] is the one maker of
//! [`VerifiedBlob`]. What is acknowledged is durable: on a disk synced with its name, in a bucket answered for.

mod bucket;
mod disk;
mod shares;

use crate::error::{Error, Reason, Result};
use crate::keys::{Chunk, Opener, Part, Plan, Sealer, Sealing};
use crate::names::{AccountId, Digest, Uid};
pub use bucket::Bucket;
use bytes::{Bytes, BytesMut};
pub use disk::Disk;
use shares::{Shares, Turn};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Plaintext bytes sealed and written in one hop to the blocking pool.
pub const BATCH_BYTES: usize = 256 << 10;

/// The objects of one region.
#[derive(Clone, Debug)]
pub enum BlobStore {
    /// On the disk of the region's one node.
    Disk(Disk),
    /// In a bucket that every node of the region reaches.
    Bucket(Bucket),
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
    /// Where the objects lie: the id of the node whose disk this is, which `new` becomes if it has none, or of the bucket.
    ///
    /// # Errors
    /// When the disk fails, or keeps no id.
    pub async fn place(&self, new: Uid) -> Result<Uid> {
        match self.clone() {
            Self::Disk(disk) => blocking(move || disk.node(new)).await,
            Self::Bucket(bucket) => Ok(bucket.place()),
        }
    }

    fn shares(&self) -> &Shares {
        match self {
            Self::Disk(disk) => disk.shares(),
            Self::Bucket(bucket) => bucket.shares(),
        }
    }

    /// Whether several nodes may serve these objects.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }

    /// Opens an object for appending after its durable parts; what lies past them is given up.
    ///
    /// # Errors
    /// When the disk fails, or the object is shorter than its durable parts.
    pub async fn append(&self, account: AccountId, uid: Uid, sealer: Sealer, parts: &[Part]) -> Result<Writer> {
        let durable: u64 = parts.iter().map(Part::cipher_len).sum();
        let sink = match self.clone() {
            Self::Disk(disk) => blocking(move || disk.append(account, uid, durable).map(Sink::File)).await?,
            Self::Bucket(bucket) => Sink::Part { bucket, account, uid },
        };
        let shares = self.shares().clone();
        Ok(Writer {
            sink,
            sealer,
            account,
            shares,
            turn: None,
            sealed: Vec::new(),
            parts: parts.to_vec(),
            part_open: false,
        })
    }

    /// Ends a written object and turns it into a verified one: compares the digest, then makes all of it durable. An
    /// object that was not hashed under the claimed algorithm on its way here is read once more.
    ///
    /// # Errors
    /// `DIGEST_MISMATCH` when the bytes are not those that were claimed; what a bucket has of it is the caller's to remove.
    pub async fn finish(
        &self,
        account: AccountId,
        uid: Uid,
        mut writer: Writer,
        claimed: Digest,
    ) -> Result<VerifiedBlob> {
        writer.ready().await?;
        let (mut writer, last) = blocking(move || writer.end().map(|last| (writer, last))).await?;
        if let (Sink::Part { .. }, Some(last)) = (&writer.sink, last) {
            last.sync().await?;
        }
        writer.ready().await?;
        blocking(move || {
            let (sink, parts) = (writer.sink, std::mem::take(&mut writer.parts));
            let sealing = writer.sealer.finish_as(claimed.algorithm(), |chunk| sink.read_back(&parts, chunk))?;
            if sealing.digest() != claimed {
                let text =
                    format!("the bytes received hash to {}, not to {claimed}; nothing was stored", sealing.digest());
                return Err(Error::new(Reason::DigestMismatch, text).with("digest", sealing.digest()));
            }
            if let Sink::File(file) = &sink {
                file.sync_named()?;
            }
            Ok(VerifiedBlob { account, uid, sealing })
        })
        .await
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// `DATA_LOSS` when its file is missing; in a bucket that shows at the first read.
    pub async fn reader(&self, account: AccountId, uid: Uid, opener: Opener) -> Result<Reader> {
        let source = match self.clone() {
            Self::Disk(disk) => Source::File(Arc::new(blocking(move || disk.reader(account, uid)).await?)),
            Self::Bucket(bucket) => Source::Parts { bucket, account, uid },
        };
        Ok(Reader { source, account, shares: self.shares().clone(), opener: Arc::new(opener) })
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// When the disk or bucket fails.
    pub async fn remove(&self, account: AccountId, uid: Uid) -> Result<()> {
        match self {
            Self::Disk(disk) => disk.remove(account, uid).await,
            Self::Bucket(bucket) => bucket.remove(account, uid).await,
        }
    }

    /// The objects that are there, in no order; for tests and the sweeper.
    ///
    /// # Errors
    /// When the disk or bucket fails.
    pub async fn list(&self) -> Result<Vec<(AccountId, Uid)>> {
        match self {
            Self::Disk(disk) => disk.list().await,
            Self::Bucket(bucket) => bucket.list().await,
        }
    }
}

/// An object that is being written.
pub struct Writer {
    sink: Sink,
    sealer: Sealer,
    account: AccountId,
    shares: Shares,
    /// To write a batch to the disk, or to fill a part for a bucket.
    turn: Option<Turn>,
    sealed: Vec<u8>,
    parts: Vec<Part>,
    part_open: bool,
}

/// Where sealed bytes go: into the file as they come, or into memory until a part is whole.
enum Sink {
    File(disk::Appending),
    Part { bucket: Bucket, account: AccountId, uid: Uid },
}

impl Sink {
    /// Reads a chunk of what was written. Blocking.
    fn read_back(&self, parts: &[Part], chunk: &Chunk) -> Result<BytesMut> {
        match self {
            Self::File(file) => read_exact(file.file(), chunk),
            Self::Part { bucket, account, uid } => {
                let part = parts.get(chunk.part() as usize).ok_or_else(|| Error::internal("a chunk of no part"))?;
                let name = bucket::name(*account, *uid, chunk.part(), &part.header);
                tokio::runtime::Handle::current()
                    .block_on(async { bucket.get(&name, chunk.part_range()).await?.take(chunk.file_len()).await })
            }
        }
    }
}

/// A whole part that is not yet durable, and what will be true once it is.
pub struct Unsynced {
    bytes: Pending,
    /// All parts so far.
    pub parts: Vec<Part>,
    /// Plaintext bytes so far.
    pub size: u64,
    /// The hash state after them.
    pub hash_state: Vec<u8>,
}

enum Pending {
    File(disk::Appending),
    Part { bucket: Bucket, name: object_store::path::Path, sealed: Bytes, turn: Option<Turn> },
}

impl Unsynced {
    /// Waits until the bytes are durable.
    ///
    /// # Errors
    /// When the disk or bucket fails; the bytes must then be taken as lost.
    pub async fn sync(self) -> Result<(Vec<Part>, u64, Vec<u8>)> {
        match self.bytes {
            Pending::File(file) => blocking(move || file.sync()).await?,
            Pending::Part { bucket, name, sealed, turn } => {
                bucket.put(&name, sealed).await?;
                drop(turn);
            }
        }
        Ok((self.parts, self.size, self.hash_state))
    }
}

impl Writer {
    /// Plaintext bytes so far, those of the open part included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sealer.total_len()
    }

    /// Waits for a turn of the account: at the disk, or for the memory of the next part. To be awaited before each write,
    /// and before the end.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn ready(&mut self) -> Result<()> {
        if self.turn.is_none() {
            self.turn = Some(self.shares.turn(self.account).await?);
        }
        Ok(())
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
        let full = match self.sink {
            Sink::File(_) => disk::PART_BYTES,
            Sink::Part { .. } => bucket::PART_BYTES,
        };
        let ended = if u64::from(self.sealer.part_len()) >= full { self.end_part().map(Some) } else { Ok(None) };
        if matches!(self.sink, Sink::File(_)) {
            self.turn = None;
        }
        ended
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
        let number = u32::try_from(self.parts.len()).map_err(Error::internal)?;
        self.parts.push(part);
        self.part_open = false;
        self.flush()?;
        let bytes = match &mut self.sink {
            Sink::File(file) => {
                file.end_part();
                Pending::File(file.again()?)
            }
            Sink::Part { bucket, account, uid } => Pending::Part {
                bucket: bucket.clone(),
                name: bucket::name(*account, *uid, number, &part.header),
                sealed: std::mem::take(&mut self.sealed).into(),
                turn: self.turn.take(),
            },
        };
        let (parts, size) = (self.parts.clone(), self.sealer.total_len());
        Ok(Unsynced { bytes, parts, size, hash_state: self.sealer.checkpoint()? })
    }

    fn flush(&mut self) -> Result<()> {
        if let Sink::File(file) = &mut self.sink {
            file.write(&self.sealed)?;
            self.sealed.clear();
        }
        Ok(())
    }
}

/// An object that can be read.
#[derive(Clone)]
pub struct Reader {
    source: Source,
    account: AccountId,
    shares: Shares,
    opener: Arc<Opener>,
}

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    Parts { bucket: Bucket, account: AccountId, uid: Uid },
}

impl Reader {
    /// A range of the plaintext, to be read in order.
    ///
    /// # Errors
    /// When the range is not inside the blob.
    pub fn read(&self, range: Range<u64>) -> Result<Reading> {
        Ok(Reading { plan: self.opener.plan(range)?, reader: self.clone(), incoming: None })
    }
}

/// A range that is being read.
pub struct Reading {
    reader: Reader,
    plan: Plan,
    /// What is on its way from a bucket, and of which part.
    incoming: Option<(u32, bucket::Incoming)>,
}

impl Reading {
    /// The next plaintext: slices of one buffer, in order; `None` at the end of the range.
    ///
    /// # Errors
    /// `DATA_LOSS` when the bytes are not those that were sealed.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        let ahead = self.plan.clone();
        let Some(chunk) = self.plan.next() else { return Ok(None) };
        let opener = self.reader.opener.clone();
        let source = self.reader.source.clone();
        let pieces = match source {
            Source::File(file) => {
                let turn = self.reader.shares.turn(self.reader.account).await?;
                let opened = blocking(move || Ok(opener.open_chunk(&chunk, read_exact(&file, &chunk)?)?)).await;
                drop(turn);
                opened?
            }
            Source::Parts { bucket, account, uid } => {
                let sealed = self.fetch(&bucket, account, uid, ahead, &chunk).await?;
                blocking(move || Ok(opener.open_chunk(&chunk, sealed)?)).await?
            }
        };
        Ok(Some(pieces))
    }

    /// A chunk's sealed bytes: one request brings all that is wanted of a part.
    async fn fetch(
        &mut self,
        bucket: &Bucket,
        account: AccountId,
        uid: Uid,
        ahead: Plan,
        chunk: &Chunk,
    ) -> Result<BytesMut> {
        let number = chunk.part();
        if self.incoming.as_ref().is_none_or(|(part, _)| *part != number) {
            let parts = &self.reader.opener.envelope().parts;
            let part = parts.get(number as usize).ok_or_else(|| Error::internal("a chunk of no part"))?;
            let wanted = ahead.take_while(|next| next.part() == number).map(|next| next.part_range());
            let end = wanted.last().map_or(0, |range| range.end);
            let name = bucket::name(account, uid, number, &part.header);
            self.incoming = Some((number, bucket.get(&name, chunk.part_range().start..end).await?));
        }
        let (_, incoming) = self.incoming.as_mut().ok_or_else(|| Error::internal("no part is on its way"))?;
        incoming.take(chunk.file_len()).await
    }
}

fn read_exact(file: &File, chunk: &Chunk) -> Result<BytesMut> {
    let mut sealed = BytesMut::zeroed(chunk.file_len());
    file.read_exact_at(&mut sealed, chunk.file_offset()).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::new(Reason::DataLoss, "the stored bytes of an object are shorter than they were").because(e)
        }
        _ => disk::unreadable(e),
    })?;
    Ok(sealed)
}

/// Runs file work on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::internal(error)),
    }
}
