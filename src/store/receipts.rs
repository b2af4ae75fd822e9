//! Receipts at the source, and how far a destination has applied each source's changes.

use super::rules::Destination;
use super::value::args;
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Digest, PageSize, Region, Uid};

/// A destination's signed word for an image, as the source keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// The source repository.
    pub repository: Uid,
    /// The image.
    pub digest: Digest,
    /// Where it arrived.
    pub destination: Destination,
    /// The tag that was set; empty when none was.
    pub tag: String,
    /// What was signed.
    pub body: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The destination region's certificate.
    pub certificate: Vec<u8>,
    /// When it was received.
    pub at: Timestamp,
}

/// Which source registry sends to which of our accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The source's region.
    pub source_region: Region,
    /// The source's account.
    pub source: AccountId,
    /// Our account.
    pub destination: AccountId,
}

impl Tx<'_> {
    pub(crate) async fn receipt_put(&mut self, receipt: &ReceiptRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO receipts (repository, digest, region, destination, tag, body, signature, certificate, at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (repository, digest, region, destination, tag) \
             DO UPDATE SET body = $6, signature = $7, certificate = $8, at = $9",
            args![
                receipt.repository,
                receipt.digest,
                &receipt.destination.region,
                receipt.destination.account,
                receipt.tag.as_str(),
                receipt.body.as_slice(),
                receipt.signature.as_slice(),
                receipt.certificate.as_slice(),
                receipt.at
            ],
        )
        .await?;
        Ok(())
    }

    /// A repository's receipts after a key of the form `digest/region/account/tag`.
    pub async fn receipt_list(
        &mut self,
        repository: Uid,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<ReceiptRow>, Error> {
        let rows = self
            .all(
                "SELECT repository, digest, region, destination, tag, body, signature, certificate, at FROM receipts \
                 WHERE repository = $1 AND digest || '/' || region || '/' || destination || '/' || tag > $2 \
                 ORDER BY digest || '/' || region || '/' || destination || '/' || tag LIMIT $3",
                args![repository, after, size.rows()],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ReceiptRow {
                    repository: row.get(0)?,
                    digest: row.get(1)?,
                    destination: Destination { region: row.get(2)?, account: row.get(3)? },
                    tag: row.get(4)?,
                    body: row.get(5)?,
                    signature: row.get(6)?,
                    certificate: row.get(7)?,
                    at: row.get(8)?,
                })
            })
            .collect()
    }

    /// Raises the epoch seen from a source; false when a higher one was seen before, and so this one is fenced.
    pub(crate) async fn inbound_fence(&mut self, inbound: &Inbound, epoch: i64) -> Result<bool, Error> {
        let held = self
            .execute(
                "INSERT INTO inbound_epochs (source_region, source, destination, epoch) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (source_region, source, destination) DO UPDATE SET epoch = $4 \
                 WHERE inbound_epochs.epoch <= $4",
                args![&inbound.source_region, inbound.source, inbound.destination, epoch],
            )
            .await?;
        Ok(held > 0)
    }

    /// The last change of a shard that was applied here; 0 when none was.
    pub async fn inbound_applied(&mut self, inbound: &Inbound, shard: u32) -> Result<i64, Error> {
        let row = self
            .opt(
                "SELECT seq FROM inbound WHERE source_region = $1 AND source = $2 AND destination = $3 AND shard = $4",
                args![&inbound.source_region, inbound.source, inbound.destination, shard],
            )
            .await?;
        row.map_or(Ok(0), |row| row.get(0))
    }

    /// The shards and positions applied here from a source.
    pub async fn inbound_list(&mut self, inbound: &Inbound) -> Result<Vec<(u32, i64)>, Error> {
        let rows = self
            .all(
                "SELECT shard, seq FROM inbound WHERE source_region = $1 AND source = $2 AND destination = $3 \
                 ORDER BY shard",
                args![&inbound.source_region, inbound.source, inbound.destination],
            )
            .await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }

    /// Whether a blob of a repository here went to a registry elsewhere, or came from it: that registry acknowledged an
    /// image of it by a receipt, or the bytes arrived from its account and region. Its holder may have them back.
    pub async fn replica_proven(
        &mut self,
        repository: Uid,
        digest: &Digest,
        region: &Region,
        account: AccountId,
    ) -> Result<bool, Error> {
        let row = self
            .opt(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM receipts r JOIN edges e ON e.repository = r.repository \
                 WHERE r.repository = $1 AND e.child = $2 AND e.kind = 'blob' AND r.region = $3 AND r.destination = $4 \
                 AND (e.parent = r.digest OR EXISTS (SELECT 1 FROM edges p WHERE p.repository = r.repository \
                 AND p.child = e.parent AND p.kind = 'child' AND p.parent = r.digest))) \
                 OR EXISTS (SELECT 1 FROM links l JOIN repositories h ON h.uid = l.repository \
                 JOIN inbound i ON i.source = l.source_account AND i.destination = h.account \
                 WHERE l.repository = $1 AND l.digest = $2 AND i.source_region = $3 AND i.source = $4)",
                args![repository, digest, region, account],
            )
            .await?;
        Ok(row.is_some())
    }

    /// The registries that should hold a blob of a repository here: those that acknowledged an image of it, and those
    /// from which it came.
    pub async fn replica_holders(&mut self, repository: Uid, digest: &Digest) -> Result<Vec<Destination>, Error> {
        let rows = self
            .all(
                "SELECT r.region, r.destination FROM receipts r JOIN edges e ON e.repository = r.repository \
                 WHERE r.repository = $1 AND e.child = $2 AND e.kind = 'blob' \
                 AND (e.parent = r.digest OR EXISTS (SELECT 1 FROM edges p WHERE p.repository = r.repository \
                 AND p.child = e.parent AND p.kind = 'child' AND p.parent = r.digest)) \
                 UNION SELECT i.source_region, i.source FROM links l JOIN repositories h ON h.uid = l.repository \
                 JOIN inbound i ON i.source = l.source_account AND i.destination = h.account \
                 WHERE l.repository = $1 AND l.digest = $2 ORDER BY 1, 2",
                args![repository, digest],
            )
            .await?;
        rows.iter().map(|row| Ok(Destination { region: row.get(0)?, account: row.get(1)? })).collect()
    }

    pub(crate) async fn inbound_advance(&mut self, inbound: &Inbound, shard: u32, seq: i64) -> Result<(), Error> {
        self.execute(
            "INSERT INTO inbound (source_region, source, destination, shard, seq) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (source_region, source, destination, shard) DO UPDATE SET seq = $5 WHERE inbound.seq < $5",
            args![&inbound.source_region, inbound.source, inbound.destination, shard, seq],
        )
        .await?;
        Ok(())
    }
}
