//! Objects in a bucket: one object for each part, `<account>/<first two of uid>/<uid>/<part>-<of its header>`.
//!
//! A part is durable when its PUT is answered, so an upload goes on from any node after the last part that was
//! committed, with no multipart upload to keep or to clear away (ADR 0015). The name has eight bytes of the part's header
//! in it: a slow PUT of a part that was given up can never overwrite the one that took its place.

use super::shares::Shares;
use crate::error::{Error, Reason, Result};
use crate::keys::Header;
use crate::names::{AccountId, Uid};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutPayload};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Plaintext bytes of a part: what a cut connection costs at most, and what each upload holds in memory.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Parts that are filled or sent at once, in all uploads together: 128 MiB.
const PART_BUFFERS: usize = 16;
/// How long a PUT of a part may take with its repetitions.
const PUT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the next bytes of a part may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A bucket, or a part of one.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    place: Uid,
    shares: Shares,
}

impl Bucket {
    /// Objects in a store, which has the id `place` wherever it is reached from.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, place: Uid) -> Self {
        Self { store, place, shares: Shares::new(PART_BUFFERS) }
    }

    pub(super) fn place(&self) -> Uid {
        self.place
    }

    /// The memory for parts; whoever waits for it does not read from its socket.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    pub(super) async fn put(&self, name: &Path, sealed: Bytes) -> Result<()> {
        let put = timeout(PUT_TIMEOUT, self.store.put(name, PutPayload::from(sealed))).await;
        match put {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unavailable(error)),
            Err(elapsed) => Err(unavailable(elapsed)),
        }
    }

    /// Begins to read a range of a part's bytes.
    pub(super) async fn get(&self, name: &Path, range: Range<u64>) -> Result<Incoming> {
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        match timeout(READ_TIMEOUT, self.store.get_opts(name, options)).await {
            Ok(Ok(found)) => Ok(Incoming { stream: found.into_stream(), left: Bytes::new() }),
            // Where the bucket is gone, nothing is known of what lay in it.
            Ok(Err(error @ object_store::Error::NotFound { .. })) => {
                self.answers().await?;
                let text = "the stored bytes of an object are missing";
                Err(Error::new(Reason::DataLoss, text).because(error))
            }
            Ok(Err(error)) => Err(unavailable(error)),
            Err(elapsed) => Err(unavailable(elapsed)),
        }
    }

    /// Whether the bucket is there at all.
    async fn answers(&self) -> Result<()> {
        match timeout(READ_TIMEOUT, self.store.list(None).try_next()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unavailable(error)),
            Err(elapsed) => Err(unavailable(elapsed)),
        }
    }

    /// Removes all parts of an object, those that were given up too.
    pub(super) async fn remove(&self, account: AccountId, uid: Uid) -> Result<()> {
        let names = self.store.list(Some(&folder(account, uid))).map_ok(|meta| meta.location).boxed();
        let removed = self.store.delete_stream(names).try_for_each(|_| std::future::ready(Ok(())));
        match timeout(PUT_TIMEOUT, removed).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(unavailable(error)),
            Err(elapsed) => Err(unavailable(elapsed)),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<(AccountId, Uid)>> {
        let names = self.store.list(None).map_ok(|meta| meta.location);
        let found: BTreeSet<(AccountId, Uid)> = names
            .try_filter_map(|name| std::future::ready(Ok(object(&name))))
            .try_collect()
            .await
            .map_err(unavailable)?;
        Ok(found.into_iter().collect())
    }
}

/// The name of a part.
pub(super) fn name(account: AccountId, uid: Uid, part: u32, header: &Header) -> Path {
    let salt = hex::encode(&header.bytes()[1..9]);
    Path::from(format!("{}/{part:05}-{salt}", folder(account, uid)))
}

fn folder(account: AccountId, uid: Uid) -> Path {
    let name = uid.to_string();
    Path::from(format!("{account}/{}/{name}", &name[..2]))
}

/// The object that a name is a part of.
fn object(name: &Path) -> Option<(AccountId, Uid)> {
    let parts: Vec<_> = name.parts().collect();
    let [account, _, uid, _] = parts.as_slice() else { return None };
    Some((AccountId::parse(account.as_ref()).ok()?, Uid::parse(uid.as_ref()).ok()?))
}

/// Bytes of a part on their way.
pub(super) struct Incoming {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    left: Bytes,
}

impl Incoming {
    /// The next `length` bytes.
    pub(super) async fn take(&mut self, length: usize) -> Result<BytesMut> {
        let mut taken = BytesMut::with_capacity(length);
        loop {
            let now = self.left.split_to(self.left.len().min(length - taken.len()));
            taken.extend_from_slice(&now);
            if taken.len() == length {
                return Ok(taken);
            }
            self.left = match timeout(READ_TIMEOUT, self.stream.next()).await {
                Ok(Some(Ok(bytes))) => bytes,
                Ok(Some(Err(error))) => return Err(unavailable(error)),
                Ok(None) => {
                    let text = "the stored bytes of an object are shorter than they were";
                    return Err(Error::new(Reason::DataLoss, text));
                }
                Err(elapsed) => return Err(unavailable(elapsed)),
            };
        }
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Reason::Unavailable, "the blob store does not answer; try again shortly").because(error)
}

#[cfg(test)]
mod tests {
    use super::{Bucket, folder, name, object};
    use crate::error::Reason;
    use crate::keys::Header;
    use crate::names::{AccountId, Uid};
    use bytes::Bytes;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    fn bucket() -> (Bucket, AccountId, Uid) {
        let bucket = Bucket::new(Arc::new(InMemory::new()), Uid::from_bytes([1; 16]));
        (bucket, AccountId::from_seed(1), Uid::from_bytes([9; 16]))
    }

    fn header(salt: u8) -> Header {
        let mut bytes = [salt; 40];
        bytes[0] = 40;
        Header::parse(bytes).unwrap()
    }

    #[test]
    fn a_name_says_whose_part_it_is() {
        let (_, account, uid) = bucket();
        let one = header(1);
        assert_eq!(object(&name(account, uid, 7, &one)), Some((account, uid)));
        assert_ne!(name(account, uid, 7, &one), name(account, uid, 7, &header(2)));
        assert_eq!(object(&folder(account, uid)), None);
    }

    #[tokio::test]
    async fn bytes_come_back_in_the_pieces_that_are_asked_for_and_go_with_their_object() {
        let (bucket, account, uid) = bucket();
        let part = name(account, uid, 0, &header(3));
        bucket.put(&part, Bytes::from_static(b"0123456789")).await.unwrap();
        let mut incoming = bucket.get(&part, 2..9).await.unwrap();
        assert_eq!(&incoming.take(3).await.unwrap()[..], b"234");
        assert_eq!(&incoming.take(4).await.unwrap()[..], b"5678");
        assert_eq!(incoming.take(1).await.unwrap_err().reason, Reason::DataLoss);
        let other = Uid::from_bytes([8; 16]);
        bucket.put(&name(account, other, 0, &header(3)), Bytes::new()).await.unwrap();
        bucket.remove(account, uid).await.unwrap();
        assert_eq!(bucket.list().await.unwrap(), [(account, other)]);
        assert_eq!(bucket.get(&part, 0..1).await.map(drop).unwrap_err().reason, Reason::DataLoss);
        bucket.remove(account, uid).await.unwrap();
    }
}
