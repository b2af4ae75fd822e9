//! Change streams: commit-ordered, gapless sequences of what happened, per stream and shard.
//!
//! A change takes its number from the head row it locks, in the transaction of the change itself, so a follower that
//! reads `> cursor` never misses one. A stream says *that* something changed; what it is now is read from its own row.

use super::value::args;
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Digest, Tag, Uid};

/// The organization's directory, in the home region.
pub const DIRECTORY: &str = "directory";
/// Revocations made in this region.
pub const REVOCATIONS: &str = "revocations";

/// The stream of an account's registry in this region.
#[must_use]
pub fn registry(account: AccountId) -> String {
    format!("registry/{account}")
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChange {
    /// What kind of thing, e.g. `account`, `principal`, `image`.
    pub kind: &'static str,
    /// The thing's key; for an image its repository's name.
    pub subject: String,
    /// For an image: where and what.
    pub image: Option<ImageRef>,
}

/// The image a registry change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The repository's uid.
    pub repository: Uid,
    /// The manifest.
    pub digest: Digest,
    /// The tag that was set and its version, if one was.
    pub tag: Option<(Tag, i64)>,
}

/// A change as a follower reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number in the shard, from 1.
    pub seq: i64,
    /// When it was committed.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: String,
    /// The thing's key.
    pub subject: String,
    /// For an image: where and what.
    pub image: Option<ImageRef>,
}

impl Tx<'_> {
    /// Appends a change and returns its number.
    pub(crate) async fn stream_append(
        &mut self,
        stream: &str,
        shard: u32,
        at: Timestamp,
        change: &NewChange,
    ) -> Result<i64, Error> {
        let head = self
            .one(
                "INSERT INTO stream_heads (stream, shard, head) VALUES ($1, $2, 1) \
                 ON CONFLICT (stream, shard) DO UPDATE SET head = stream_heads.head + 1 RETURNING head",
                args![stream, shard],
            )
            .await?
            .get::<i64>(0)?;
        let image = change.image.as_ref();
        let tag = image.and_then(|i| i.tag.as_ref());
        self.execute(
            "INSERT INTO changes (stream, shard, seq, at, kind, subject, repository, digest, tag, tag_version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            args![
                stream,
                shard,
                head,
                at,
                change.kind,
                change.subject.as_str(),
                image.map(|i| i.repository),
                image.map(|i| i.digest),
                tag.map(|(tag, _)| tag.clone()),
                tag.map(|(_, version)| *version)
            ],
        )
        .await?;
        Ok(head)
    }

    /// The number of the last change of a shard; 0 when there is none.
    pub async fn stream_head(&mut self, stream: &str, shard: u32) -> Result<i64, Error> {
        let row =
            self.opt("SELECT head FROM stream_heads WHERE stream = $1 AND shard = $2", args![stream, shard]).await?;
        row.map_or(Ok(0), |row| row.get(0))
    }

    /// Up to `limit` changes after `seq`, in order.
    pub async fn stream_after(&mut self, stream: &str, shard: u32, seq: i64, limit: u32) -> Result<Vec<Change>, Error> {
        let rows = self
            .all(
                "SELECT seq, at, kind, subject, repository, digest, tag, tag_version FROM changes \
                 WHERE stream = $1 AND shard = $2 AND seq > $3 ORDER BY seq LIMIT $4",
                args![stream, shard, seq, limit],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let repository: Option<Uid> = row.get(4)?;
                let digest: Option<Digest> = row.get(5)?;
                let tag: Option<Tag> = row.get(6)?;
                let version: Option<i64> = row.get(7)?;
                let image = repository.zip(digest).map(|(repository, digest)| ImageRef {
                    repository,
                    digest,
                    tag: tag.zip(version),
                });
                Ok(Change { seq: row.get(0)?, at: row.get(1)?, kind: row.get(2)?, subject: row.get(3)?, image })
            })
            .collect()
    }

    /// Where a follower stands in a shard, and when it got there.
    pub async fn cursor(
        &mut self,
        stream: &str,
        shard: u32,
        follower: &str,
    ) -> Result<Option<(i64, Timestamp)>, Error> {
        let row = self
            .opt(
                "SELECT seq, at FROM cursors WHERE stream = $1 AND shard = $2 AND follower = $3",
                args![stream, shard, follower],
            )
            .await?;
        row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
    }

    /// Moves a follower's cursor; it never moves back.
    pub(crate) async fn cursor_set(
        &mut self,
        stream: &str,
        shard: u32,
        follower: &str,
        seq: i64,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "INSERT INTO cursors (stream, shard, follower, seq, at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (stream, shard, follower) DO UPDATE SET seq = $4, at = $5 WHERE cursors.seq <= $4",
            args![stream, shard, follower, seq, at],
        )
        .await?;
        Ok(())
    }
}
