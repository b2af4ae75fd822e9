//! The answering end of the transport.
//!
//! Which region speaks is read from its certificate, never from a message.

use super::connect::Peers;
use crate::domain::App;
use crate::domain::follow::Stream;
use crate::domain::replication::destination::{Arrival, Arriving};
use crate::domain::replication::receipt::Signer;
use crate::domain::replication::{ImageChange, NeededBlob};
use crate::error::{Error, Reason, Result};
use crate::listen::Peer;
use crate::names::{AccountId, Digest, Region, RepositoryName};
use crate::pb::replication as pb;
use crate::pb::replication::put_blob_response::State;
use crate::pb::replication::transport_service_server::TransportService;
use crate::store::receipts::Inbound;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// The version of the protocol.
const PROTOCOL: u32 = 1;
/// How long the first frame of a stream may take.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// How often a follower hears something, and how often its stream is looked at.
const HEARTBEAT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(200);
/// Frames that wait for the wire.
const WAITING: usize = 16;

/// The transport service of one region.
pub struct Transport {
    app: Arc<App>,
    peers: Peers,
    signer: Arc<Signer>,
}

impl Transport {
    /// The service.
    ///
    /// # Errors
    /// When the region's key cannot sign.
    pub fn new(app: Arc<App>, peers: Peers) -> Result<Self> {
        let signer = Signer::new(peers.identity().key(), peers.identity().certificate())?;
        Ok(Self { app, peers, signer: Arc::new(signer) })
    }

    fn region<T>(&self, request: &Request<T>) -> Result<Region, Status> {
        let certificate = request.extensions().get::<Peer>().and_then(|peer| peer.certificates.first().cloned());
        let certificate = certificate.ok_or_else(|| Status::unauthenticated("a peer must show its certificate"))?;
        let region = self.peers.identity().region_of(&certificate).map_err(|e| status(&e))?;
        if self.peers.knows(&region) {
            return Ok(region);
        }
        Err(Status::permission_denied(format!("region {region} is not among this region's peers")))
    }
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl TransportService for Transport {
    type FollowStream = Answers<pb::FollowResponse>;
    type ReplicateStream = Answers<pb::ReplicateResponse>;
    type PutBlobStream = Answers<pb::PutBlobResponse>;
    type FetchBlobStream = Answers<pb::FetchBlobResponse>;

    async fn follow(&self, request: Request<pb::FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        self.region(&request)?;
        let request = request.into_inner();
        let stream = match request.stream() {
            pb::follow_request::Stream::Directory => Stream::Directory,
            pb::follow_request::Stream::Revocations => Stream::Revocations,
            pb::follow_request::Stream::Unspecified => return Err(Status::invalid_argument("stream: must be set")),
        };
        let after = request.cursors.first().map_or(0, |cursor| cursor.seq);
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(tell(self.app.clone(), stream, after, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn replicate(
        &self,
        request: Request<Streaming<pb::ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let region = self.region(&request)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut session = Session {
            app: self.app.clone(),
            signer: self.signer.clone(),
            frames: request.into_inner(),
            answers: sender.clone(),
        };
        tokio::spawn(async move {
            if let Err(error) = session.run(region).await {
                tracing::info!(error = ?error, "a replication session ended");
                // The peer may be gone; then nobody is left to be told.
                let _ = sender.send(Err(status(&error))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch_blob(
        &self,
        request: Request<pb::FetchBlobRequest>,
    ) -> Result<Response<Self::FetchBlobStream>, Status> {
        let region = self.region(&request)?;
        let lent = lend(&self.app, region, &request.into_inner()).await.map_err(|e| status(&e))?;
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(send_blob(lent, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<pb::PutBlobRequest>>,
    ) -> Result<Response<Self::PutBlobStream>, Status> {
        let region = self.region(&request)?;
        let mut pieces = request.into_inner();
        let first = tokio::time::timeout(FIRST_FRAME, pieces.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the first piece did not come"))??;
        let Some(pb::put_blob_request::Piece::Start(start)) = first.and_then(|first| first.piece) else {
            return Err(Status::invalid_argument("the first piece must be start"));
        };
        let (arriving, blob) = read_start(region, &start).map_err(|e| status(&e))?;
        let arrival = self.app.open_blob_arrival(&arriving, &blob).await.map_err(|e| status(&e))?;
        let (sender, receiver) = mpsc::channel(WAITING);
        match arrival {
            None => {
                let complete = stand(State::Complete, blob.size);
                sender.send(Ok(complete)).await.map_err(|_| Status::cancelled("the peer went away"))?;
            }
            Some(arrival) => {
                tokio::spawn(take_blob(self.app.clone(), arrival, blob.size, pieces, sender));
            }
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Tells a follower what is new, for as long as it listens.
async fn tell(app: Arc<App>, stream: Stream, mut after: i64, sender: mpsc::Sender<Result<pb::FollowResponse, Status>>) {
    let mut silent = HEARTBEAT;
    loop {
        let news = match app.news(stream, after).await {
            Ok(news) => news,
            Err(error) => {
                let _ = sender.send(Err(status(&error))).await;
                return;
            }
        };
        let caught_up = news.until >= news.head;
        if !news.entries.is_empty() || news.until > after || silent >= HEARTBEAT {
            after = news.until;
            silent = Duration::ZERO;
            let told = pb::FollowResponse {
                cursor: Some(pb::Cursor { shard: 0, seq: news.until }),
                entries: news.entries.into_iter().map(Into::into).collect(),
                head: news.head,
                at: app.clock().now().micros(),
            };
            if sender.send(Ok(told)).await.is_err() {
                return;
            }
        }
        if caught_up {
            tokio::time::sleep(POLL).await;
            silent += POLL;
        }
    }
}

/// One source registry speaking to one of ours.
struct Session {
    app: Arc<App>,
    signer: Arc<Signer>,
    frames: Streaming<pb::ReplicateRequest>,
    answers: mpsc::Sender<Result<pb::ReplicateResponse, Status>>,
}

impl Session {
    async fn run(&mut self, region: Region) -> Result<()> {
        let first = tokio::time::timeout(FIRST_FRAME, self.next()).await;
        let first = first.map_err(|_| Error::new(Reason::Unavailable, "the peer did not greet"))??;
        let Some(pb::replicate_request::Frame::Hello(hello)) = first else {
            return Err(Error::invalid("frame", "the first must be hello"));
        };
        let arriving = greeted(region, &hello)?;
        let cursors = self.app.welcome(&arriving).await?;
        let cursors = cursors.into_iter().map(|(shard, seq)| pb::Cursor { shard, seq }).collect();
        self.answer(pb::replicate_response::Frame::Welcome(pb::Welcome { cursors })).await?;
        while let Some(frame) = self.next().await? {
            match frame {
                pb::replicate_request::Frame::Changes(changes) => self.batch(&arriving, changes).await?,
                pb::replicate_request::Frame::Hello(_) | pb::replicate_request::Frame::BlobsSent(_) => {
                    return Err(Error::invalid("frame", "changes were expected"));
                }
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<pb::replicate_request::Frame>> {
        let message = self.frames.message().await;
        let message = message.map_err(|e| Error::new(Reason::Unavailable, "the peer's stream broke").because(e))?;
        Ok(message.and_then(|message| message.frame))
    }

    async fn answer(&mut self, frame: pb::replicate_response::Frame) -> Result<()> {
        let sent = self.answers.send(Ok(pb::ReplicateResponse { frame: Some(frame) })).await;
        sent.map_err(|_| Error::new(Reason::Unavailable, "the peer went away"))
    }

    async fn batch(&mut self, arriving: &Arriving, sent: pb::Changes) -> Result<()> {
        let changes = sent.changes.into_iter().map(ImageChange::try_from).collect::<Result<Vec<_>>>()?;
        let mut refused = Vec::new();
        let mut blobs = Vec::new();
        for (seq, needed) in self.app.needed_blobs(arriving, &changes).await {
            match needed {
                Ok(needed) => blobs.extend(needed.into_iter().map(Into::into)),
                Err(error) => refused.push((seq, error)),
            }
        }
        self.answer(pb::replicate_response::Frame::Need(pb::Need { blobs })).await?;
        let Some(pb::replicate_request::Frame::BlobsSent(ended)) = self.next().await? else {
            return Err(Error::invalid("frame", "blobs_sent was expected"));
        };
        let unsent = ended.missing.iter().map(|text| Digest::parse(text)).collect::<Result<BTreeSet<_>, _>>()?;
        for change in &changes {
            let early = refused.iter().position(|(seq, _)| *seq == change.seq);
            let outcome = match early {
                Some(at) => Err(refused.swap_remove(at).1),
                None => self.app.apply_change(arriving, sent.shard, change, &unsent).await,
            };
            match outcome {
                Ok(receipt) => {
                    let body = receipt.encode();
                    let signature = self.signer.sign(&body)?;
                    let applied = pb::Applied {
                        shard: sent.shard,
                        seq: change.seq,
                        receipt: body.into(),
                        signature: signature.into(),
                    };
                    self.answer(pb::replicate_response::Frame::Applied(applied)).await?;
                }
                Err(error) => {
                    let retryable = retryable(&error);
                    let refusal = pb::Refused {
                        shard: sent.shard,
                        seq: change.seq,
                        reason: error.reason.as_str().to_owned(),
                        message: error.message,
                        retryable,
                    };
                    self.answer(pb::replicate_response::Frame::Refused(refusal)).await?;
                    if retryable {
                        // What follows in this shard must not overtake it.
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// A withheld consent may be given later, and the image must arrive then.
fn retryable(error: &Error) -> bool {
    error.reason.retryable() || error.reason == Reason::AccessDenied
}

async fn take_blob(
    app: Arc<App>,
    arrival: Arrival,
    size: u64,
    pieces: Streaming<pb::PutBlobRequest>,
    answers: mpsc::Sender<Result<pb::PutBlobResponse, Status>>,
) {
    let (told, mut durable) = watch::channel(arrival.offset());
    let offset = arrival.offset();
    if answers.send(Ok(stand(State::Durable, offset))).await.is_err() {
        return;
    }
    let body = bounded(pieces, size.saturating_sub(offset));
    let receiving = app.receive_blob(arrival, Box::pin(body), &told);
    tokio::pin!(receiving);
    let outcome = loop {
        tokio::select! {
            outcome = &mut receiving => break outcome,
            changed = durable.changed() => {
                let offset = *durable.borrow_and_update();
                if changed.is_err() || answers.send(Ok(stand(State::Durable, offset))).await.is_err() {
                    return;
                }
            }
        }
    };
    let last = match outcome {
        Ok(()) => Ok(stand(State::Complete, size)),
        Err(error) if error.reason == Reason::DataLoss => {
            tracing::error!(error = ?error, "a replicated blob arrived damaged");
            Ok(stand(State::DataLoss, 0))
        }
        Err(error) => Err(status(&error)),
    };
    // The peer may be gone; then nobody is left to be told.
    let _ = answers.send(last).await;
}

/// The bytes of a blob; more than were announced end the stream with an error.
fn bounded(pieces: Streaming<pb::PutBlobRequest>, mut left: u64) -> impl futures::Stream<Item = Result<Bytes>> + Send {
    use futures::StreamExt;
    pieces.map(move |piece| {
        let piece = piece.map_err(|e| Error::new(Reason::Truncated, "the peer's stream broke").because(e))?;
        let Some(pb::put_blob_request::Piece::Data(bytes)) = piece.piece else {
            return Err(Error::invalid("piece", "data was expected"));
        };
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Error::new(Reason::DataLoss, "the peer sent more bytes than the manifest gives the blob"))?;
        Ok(bytes)
    })
}

/// A blob that a peer asks for, from where it asks.
async fn lend(app: &Arc<App>, region: Region, request: &pb::FetchBlobRequest) -> Result<mpsc::Receiver<Result<Bytes>>> {
    let asking = Inbound {
        source_region: region,
        source: AccountId::parse(&request.asking_account)?,
        destination: AccountId::parse(&request.holding_account)?,
    };
    let (name, digest) = (RepositoryName::parse(&request.repository)?, Digest::parse(&request.digest)?);
    let blob = app.lend_blob(&asking, &name, digest).await?;
    let size = blob.size;
    let from = u64::try_from(request.offset).ok().filter(|from| *from <= size);
    let from = from.ok_or_else(|| Error::invalid("offset", format!("0 to {size}")))?;
    Ok(blob.stream(from..size))
}

async fn send_blob(
    mut lent: mpsc::Receiver<Result<Bytes>>,
    sender: mpsc::Sender<Result<pb::FetchBlobResponse, Status>>,
) {
    while let Some(piece) = lent.recv().await {
        let piece = piece.map(|data| pb::FetchBlobResponse { data }).map_err(|e| status(&e));
        // The peer went away; nobody is left to be served.
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

fn greeted(region: Region, hello: &pb::Hello) -> Result<Arriving> {
    if hello.protocol != PROTOCOL {
        let text = format!("protocol {} is not spoken here, {PROTOCOL} is; upgrade the older side", hello.protocol);
        return Err(Error::new(Reason::Unsupported, text));
    }
    arriving(region, &hello.source_account, &hello.destination_account, hello.epoch)
}

fn arriving(region: Region, source: &str, destination: &str, epoch: i64) -> Result<Arriving> {
    let inbound = Inbound {
        source_region: region,
        source: AccountId::parse(source)?,
        destination: AccountId::parse(destination)?,
    };
    Ok(Arriving { inbound, epoch })
}

fn read_start(region: Region, start: &pb::BlobStart) -> Result<(Arriving, NeededBlob)> {
    let arriving = arriving(region, &start.source_account, &start.destination_account, start.epoch)?;
    let blob = pb::NeededBlob { digest: start.digest.clone(), size: start.size, repository: start.repository.clone() };
    Ok((arriving, NeededBlob::try_from(blob)?))
}

fn stand(state: State, offset: u64) -> pb::PutBlobResponse {
    pb::PutBlobResponse { state: state.into(), offset: i64::try_from(offset).unwrap_or(i64::MAX) }
}

/// What a peer hears of an error: enough to know whether to try again, and what to tell its operator.
fn status(error: &Error) -> Status {
    let code = match error.reason {
        Reason::DataLoss => Code::DataLoss,
        Reason::CallerUnknown | Reason::CredentialsExpired => Code::Unauthenticated,
        Reason::AccessDenied => Code::PermissionDenied,
        reason if reason.retryable() => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, &*error.message)
}
