//! The sending end: one task for each (registry, destination), under a lease, with its own connections.
//!
//! A failure of one destination is noted on its slot and retried with back-off; no other destination waits for it.

use super::connect::{Connected, Peers};
use super::tls::public_key;
use crate::blobs::Reader;
use crate::domain::App;
use crate::domain::manifest::{Manifest, RawManifest};
use crate::domain::replication::receipt::{Receipt, verify_signature};
use crate::domain::replication::source::{Batch, LEASE, Settled};
use crate::domain::replication::{ImageChange, NeededBlob};
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, Digest, MediaType};
use crate::pb::replication as pb;
use crate::pb::replication::put_blob_response::State;
use crate::pb::replication::transport_service_client::TransportServiceClient;
use crate::store::receipts::ReceiptRow;
use crate::store::rules::{DeadLetter, Destination};
use futures::{StreamExt, stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

/// Blobs in flight to one destination.
const BLOBS_IN_FLIGHT: usize = 8;
/// Connections for blobs to one destination.
const BULK_CONNECTIONS: usize = 2;
/// Messages of one blob that wait for the wire.
const PIECES_WAITING: usize = 4;
/// How long an idle stream waits before it looks for changes again.
const POLL: Duration = Duration::from_millis(250);
/// How long a destination may take to answer a greeting or to commit a change.
const ANSWER: Duration = Duration::from_secs(60);
/// The first and the longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Carries one registry's changes to one destination until told to stop.
pub async fn replicate(
    app: Arc<App>,
    peers: Peers,
    account: AccountId,
    destination: Destination,
    stop: CancellationToken,
) {
    let mut pause = BACK_OFF.0;
    while !stop.is_cancelled() {
        let route = Route { app: app.clone(), peers: peers.clone(), account, destination: destination.clone() };
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = route.session(&mut pause) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(%account, region = %destination.region, destination = %destination.account, error = ?error,
                "replication was interrupted");
            if let Err(error) = app.note_error(account, &destination, error.message).await {
                tracing::error!(error = ?error, "a replication error could not be noted");
            }
        }
        tokio::time::sleep(app.clock().jitter(pause)).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

struct Route {
    app: Arc<App>,
    peers: Peers,
    account: AccountId,
    destination: Destination,
}

/// An open session: the control stream, the bulk connections, and the epoch under which all of it runs.
struct Session<'a> {
    route: &'a Route,
    epoch: i64,
    certificate: Vec<u8>,
    frames: mpsc::Sender<pb::ReplicateRequest>,
    answers: Streaming<pb::ReplicateResponse>,
    bulk: Vec<TransportServiceClient<Channel>>,
}

impl Route {
    async fn session(&self, pause: &mut Duration) -> Result<()> {
        let Some(epoch) = self.app.lease_slot(self.account, &self.destination, None).await? else {
            return Ok(());
        };
        let mut session = self.open(epoch).await?;
        *pause = BACK_OFF.0;
        tokio::select! {
            ended = session.run() => ended,
            ended = self.keep_lease(epoch) => ended,
        }
    }

    async fn open(&self, epoch: i64) -> Result<Session<'_>> {
        let Connected { mut client, certificate } = self.peers.connect(&self.destination.region).await?;
        let mut bulk = Vec::with_capacity(BULK_CONNECTIONS);
        for _ in 0..BULK_CONNECTIONS {
            bulk.push(self.peers.connect(&self.destination.region).await?.client);
        }
        let (frames, waiting) = mpsc::channel(PIECES_WAITING);
        let hello = pb::Hello {
            protocol: 1,
            source_account: self.account.to_string(),
            destination_account: self.destination.account.to_string(),
            epoch,
        };
        send(&frames, pb::replicate_request::Frame::Hello(hello)).await?;
        let opening = client.replicate(ReceiverStream::new(waiting));
        let answers = tokio::time::timeout(ANSWER, opening).await.map_err(|_| silent())?.map_err(|e| broken(&e))?;
        let mut session = Session { route: self, epoch, certificate, frames, answers: answers.into_inner(), bulk };
        match session.answer().await? {
            pb::replicate_response::Frame::Welcome(_) => Ok(session),
            _ => Err(unexpected()),
        }
    }

    /// Renews the lease for as long as the session lives; ends it when another node took the slot.
    async fn keep_lease(&self, epoch: i64) -> Result<()> {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if self.app.lease_slot(self.account, &self.destination, Some(epoch)).await? != Some(epoch) {
                return Err(Error::new(Reason::Fenced, "another node has taken this slot over"));
            }
        }
    }

    async fn settle(&self, shard: u32, seq: i64, settled: Settled) -> Result<()> {
        self.app.settle(self.account, &self.destination, shard, seq, settled).await
    }
}

impl Session<'_> {
    async fn run(&mut self) -> Result<()> {
        let Route { app, account, destination, .. } = self.route;
        loop {
            let mut worked = false;
            for shard in 0..app.stream_shards(*account).await? {
                let batch = app.next_batch(*account, destination, shard).await?;
                if batch.until > 0 {
                    worked = true;
                    self.deliver(batch).await?;
                }
            }
            if !worked {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    async fn deliver(&mut self, batch: Batch) -> Result<()> {
        let Batch { shard, changes, unsendable, until } = batch;
        let mut letters = unsendable.into_iter().peekable();
        if !changes.is_empty() {
            let lost = self.send_batch(shard, &changes).await?;
            for change in &changes {
                while let Some(letter) = letters.next_if(|letter| letter.seq < change.seq) {
                    self.route.settle(shard, letter.seq, Settled::Refused(letter)).await?;
                }
                let settled = self.settled(shard, change, &lost).await?;
                self.route.settle(shard, change.seq, settled).await?;
            }
        }
        for letter in letters {
            self.route.settle(shard, letter.seq, Settled::Refused(letter)).await?;
        }
        self.route.settle(shard, until, Settled::Skipped).await
    }

    /// Sends changes and the blobs that the destination asks for; answers which could not be delivered, and why.
    async fn send_batch(&mut self, shard: u32, changes: &[ImageChange]) -> Result<HashMap<Digest, Error>> {
        let sent = changes.iter().cloned().map(Into::into).collect();
        send(&self.frames, pb::replicate_request::Frame::Changes(pb::Changes { shard, changes: sent })).await?;
        let pb::replicate_response::Frame::Need(need) = self.answer().await? else { return Err(unexpected()) };
        let needed = need.blobs.into_iter().map(NeededBlob::try_from).collect::<Result<Vec<_>>>()?;
        let (route, epoch, bulk) = (self.route, self.epoch, &self.bulk);
        let mut sending = stream::iter(needed.into_iter().enumerate())
            .map(|(at, blob)| async move {
                let client = bulk[at % bulk.len()].clone();
                (blob.digest, route.put_blob(client, epoch, &blob).await)
            })
            .buffer_unordered(BLOBS_IN_FLIGHT);
        let mut lost = HashMap::new();
        while let Some((digest, outcome)) = sending.next().await {
            match outcome {
                Ok(()) => {}
                Err(error) if error.reason.retryable() => return Err(error),
                Err(error) => {
                    lost.insert(digest, error);
                }
            }
        }
        drop(sending);
        let missing = lost.keys().map(ToString::to_string).collect();
        send(&self.frames, pb::replicate_request::Frame::BlobsSent(pb::BlobsSent { missing })).await?;
        Ok(lost)
    }

    /// Waits for the destination's answer to a change.
    async fn settled(&mut self, shard: u32, change: &ImageChange, lost: &HashMap<Digest, Error>) -> Result<Settled> {
        match self.answer().await? {
            pb::replicate_response::Frame::Applied(applied) if (applied.shard, applied.seq) == (shard, change.seq) => {
                self.receipt(change, applied).await.map(Settled::Applied)
            }
            pb::replicate_response::Frame::Refused(refused) if (refused.shard, refused.seq) == (shard, change.seq) => {
                if refused.retryable {
                    return Err(Error::new(Reason::Unavailable, refused.message));
                }
                // What the destination lacks it lacks because of what was found here.
                let cause = lost_of(change, lost);
                Ok(Settled::Refused(DeadLetter {
                    shard,
                    seq: change.seq,
                    reason: cause.map_or(refused.reason, |error| error.reason.as_str().to_owned()),
                    message: cause.map_or(refused.message, |error| error.message.clone()),
                }))
            }
            _ => Err(unexpected()),
        }
    }

    /// A receipt is kept only if it is signed by the region that was reached and speaks of what was sent.
    async fn receipt(&self, change: &ImageChange, applied: pb::Applied) -> Result<Option<ReceiptRow>> {
        let Route { app, account, destination, .. } = self.route;
        verify_signature(&public_key(&self.certificate)?, &applied.receipt, &applied.signature)?;
        let receipt = Receipt::decode(&applied.receipt)?;
        let image = change.manifests.last().map(|manifest| manifest.digest);
        let ours = receipt.source == *account
            && receipt.destination.account == destination.account
            && receipt.destination.region == destination.region
            && receipt.destination.name == change.repository
            && Some(receipt.digest) == image;
        if !ours {
            return Err(Error::new(Reason::DataLoss, "the destination's receipt speaks of something else"));
        }
        let Some(repository) = app.repository_uid(*account, &change.repository).await? else { return Ok(None) };
        Ok(Some(ReceiptRow {
            repository,
            digest: receipt.digest,
            destination: destination.clone(),
            tag: receipt.tag,
            body: applied.receipt.to_vec(),
            signature: applied.signature.to_vec(),
            certificate: self.certificate.clone(),
            at: app.clock().now(),
        }))
    }

    async fn answer(&mut self) -> Result<pb::replicate_response::Frame> {
        let message = tokio::time::timeout(ANSWER, self.answers.message()).await.map_err(|_| silent())?;
        let message = message.map_err(|e| broken(&e))?;
        message
            .and_then(|message| message.frame)
            .ok_or_else(|| Error::new(Reason::Unavailable, "the destination ended the stream"))
    }
}

impl Route {
    async fn put_blob(&self, mut client: TransportServiceClient<Channel>, epoch: i64, blob: &NeededBlob) -> Result<()> {
        let (reader, size) = self.app.blob_to_send(self.account, &blob.repository, blob.digest).await?;
        let (pieces, waiting) = mpsc::channel(PIECES_WAITING);
        let start = pb::BlobStart {
            source_account: self.account.to_string(),
            destination_account: self.destination.account.to_string(),
            epoch,
            repository: blob.repository.to_string(),
            digest: blob.digest.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
        };
        piece(&pieces, pb::put_blob_request::Piece::Start(start)).await?;
        let opening = client.put_blob(ReceiverStream::new(waiting));
        let answers = tokio::time::timeout(ANSWER, opening).await.map_err(|_| silent())?.map_err(|e| broken(&e))?;
        let mut answers = answers.into_inner();
        let first = stand(&mut answers).await?;
        if first.state() != State::Durable {
            return ended(blob, &first);
        }
        let offset = u64::try_from(first.offset).unwrap_or(0);
        let sending = self.send_bytes(reader, offset..size, pieces);
        let (sent, last) = tokio::join!(sending, last_stand(&mut answers));
        let last = last?;
        sent?;
        ended(blob, &last)
    }

    async fn send_bytes(
        &self,
        reader: Reader,
        range: std::ops::Range<u64>,
        pieces: mpsc::Sender<pb::PutBlobRequest>,
    ) -> Result<()> {
        let mut first = true;
        let mut reading = reader.read(range)?;
        while let Some(opened) = reading.next().await? {
            for mut bytes in opened {
                if std::mem::take(&mut first) {
                    bytes = self.app.faults.on_send(bytes);
                }
                piece(&pieces, pb::put_blob_request::Piece::Data(bytes)).await?;
            }
        }
        Ok(())
    }
}

/// The answer after all durable offsets.
async fn last_stand(answers: &mut Streaming<pb::PutBlobResponse>) -> Result<pb::PutBlobResponse> {
    loop {
        let answer = stand(answers).await?;
        if answer.state() != State::Durable {
            return Ok(answer);
        }
    }
}

async fn stand(answers: &mut Streaming<pb::PutBlobResponse>) -> Result<pb::PutBlobResponse> {
    let message = tokio::time::timeout(ANSWER, answers.message()).await.map_err(|_| silent())?;
    let message = message.map_err(|e| broken(&e))?;
    message.ok_or_else(|| Error::new(Reason::Unavailable, "the destination ended a blob's stream"))
}

fn ended(blob: &NeededBlob, last: &pb::PutBlobResponse) -> Result<()> {
    match last.state() {
        State::Complete => Ok(()),
        State::DataLoss => {
            let text =
                format!("blob {} did not arrive as it was sent: the destination computed another digest", blob.digest);
            Err(Error::new(Reason::DataLoss, text).with("digest", blob.digest))
        }
        State::Durable | State::Unspecified => Err(unexpected()),
    }
}

fn lost_of<'a>(change: &ImageChange, lost: &'a HashMap<Digest, Error>) -> Option<&'a Error> {
    change.manifests.iter().find_map(|sent| {
        let media_type = MediaType::parse(&sent.media_type).ok()?;
        let raw = RawManifest::new(sent.bytes.clone(), Some(media_type), Some(sent.digest)).ok()?;
        let manifest = Manifest::parse(&raw).ok()?;
        manifest.config.iter().chain(&manifest.layers).find_map(|descriptor| lost.get(&descriptor.digest))
    })
}

async fn send(frames: &mpsc::Sender<pb::ReplicateRequest>, frame: pb::replicate_request::Frame) -> Result<()> {
    let sent = frames.send(pb::ReplicateRequest { frame: Some(frame) }).await;
    sent.map_err(|_| Error::new(Reason::Unavailable, "the destination's stream broke"))
}

async fn piece(pieces: &mpsc::Sender<pb::PutBlobRequest>, piece: pb::put_blob_request::Piece) -> Result<()> {
    let sent = pieces.send(pb::PutBlobRequest { piece: Some(piece) }).await;
    sent.map_err(|_| Error::new(Reason::Unavailable, "the destination stopped taking a blob's bytes"))
}

fn silent() -> Error {
    Error::new(Reason::Unavailable, format!("the destination did not answer for {} seconds", ANSWER.as_secs()))
}

fn broken(status: &tonic::Status) -> Error {
    Error::new(Reason::Unavailable, format!("the destination answered: {}", status.message()))
}

fn unexpected() -> Error {
    Error::new(Reason::Unavailable, "the destination answered out of turn")
}
