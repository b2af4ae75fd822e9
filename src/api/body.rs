//! The body of every answer over HTTP.
//!
//! Guarantees that a body which ends early is seen to have ended early: a stream that fails, is abandoned or does
//! not add up to its announced length yields an error, which makes the server abort the connection (HTTP/1.1) or
//! reset the stream (HTTP/2). A client can never take a truncated blob for a whole one. Between producer and
//! socket lie at most [`FRAMES`] frames.

use crate::error::{Error, Reason};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Error>;

/// Frames that a stream holds between its producer and the socket.
pub const FRAMES: usize = 4;

/// How long a producer waits for a client that does not read.
pub const STALL: Duration = Duration::from_secs(60);

/// No bytes.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// These bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A stream with its sending half. With a length the answer announces it and must keep it.
#[must_use]
pub fn stream(length: Option<u64>) -> (Sender, Body) {
    stream_with(length, STALL)
}

fn stream_with(length: Option<u64>, stall: Duration) -> (Sender, Body) {
    let (events, receiver) = mpsc::channel(FRAMES);
    (Sender { events, stall }, Stream { receiver, left: length, ended: false }.boxed_unsync())
}

/// The sending half of a stream. Dropping it without [`Sender::finish`] fails the stream.
#[derive(Debug)]
pub struct Sender {
    events: mpsc::Sender<Event>,
    stall: Duration,
}

/// Why nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The client has gone, or the stream has failed.
    #[error("the receiver has gone")]
    Gone,
    /// The client has read nothing for [`STALL`].
    #[error("the receiver has read nothing for {STALL:?}")]
    Stalled,
}

#[derive(Debug)]
enum Event {
    Data(Bytes),
    Failed(Error),
    Finished,
}

impl Sender {
    /// Sends a frame, waiting until there is room for it.
    ///
    /// # Errors
    /// When the client has gone or reads too slowly: stop producing.
    pub async fn send(&self, data: Bytes) -> Result<(), Stopped> {
        self.event(Event::Data(data)).await
    }

    /// Ends the stream well.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn finish(self) -> Result<(), Stopped> {
        self.event(Event::Finished).await
    }

    /// Fails the stream: the client sees the connection break, the log the error.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn fail(self, error: Error) -> Result<(), Stopped> {
        self.event(Event::Failed(error)).await
    }

    async fn event(&self, event: Event) -> Result<(), Stopped> {
        match timeout(self.stall, self.events.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stopped::Gone),
            Err(_) => Err(Stopped::Stalled),
        }
    }
}

struct Stream {
    receiver: mpsc::Receiver<Event>,
    /// Bytes still to come, if the length was announced.
    left: Option<u64>,
    ended: bool,
}

impl Stream {
    /// What the client gets for an event; `None` is the good end.
    fn take(&mut self, event: Option<Event>) -> Option<Result<Bytes, Error>> {
        match event {
            Some(Event::Data(data)) => Some(self.count(data)),
            Some(Event::Failed(error)) => Some(Err(error)),
            Some(Event::Finished) if self.left.is_none_or(|left| left == 0) => None,
            Some(Event::Finished) | None => Some(Err(truncated("the answer ended before its length"))),
        }
    }

    fn count(&mut self, data: Bytes) -> Result<Bytes, Error> {
        let Some(left) = self.left else { return Ok(data) };
        let rest = u64::try_from(data.len()).ok().and_then(|length| left.checked_sub(length));
        self.left = Some(rest.ok_or_else(|| truncated("the answer went beyond its length"))?);
        Ok(data)
    }
}

fn truncated(message: &'static str) -> Error {
    Error::new(Reason::Truncated, message)
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = std::task::ready!(self.receiver.poll_recv(cx));
        let item = self.take(event);
        self.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAMES, Stopped, empty, full, stream, stream_with};
    use crate::error::{Error, Reason};
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::BodyExt;
    use hyper::body::Incoming;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::time::Duration;

    #[tokio::test]
    async fn a_stream_ends_well_only_when_finished_at_its_length() {
        // Announced length, bytes sent, whether finished, whether the client gets a whole answer.
        let cases = [
            (None, 0, true, true),
            (None, 6, true, true),
            (None, 6, false, false),
            (Some(6), 6, true, true),
            (Some(6), 6, false, false),
            (Some(6), 3, true, false),
            (Some(6), 9, true, false),
            (Some(0), 0, true, true),
        ];
        for (length, sent, finished, whole) in cases {
            let (sender, body) = stream(length);
            let producer = async {
                for _ in 0..sent / 3 {
                    sender.send(Bytes::from_static(b"abc")).await.unwrap();
                }
                if finished { sender.finish().await.unwrap() } else { drop(sender) }
            };
            let (_, got) = tokio::join!(producer, body.collect());
            assert_eq!(got.is_ok(), whole, "{length:?} {sent} {finished}");
        }
    }

    #[tokio::test]
    async fn a_failure_reaches_the_client_side_as_itself() {
        let (sender, body) = stream(Some(6));
        sender.fail(Error::new(Reason::DataLoss, "segment 3")).await.unwrap();
        assert_eq!(body.collect().await.unwrap_err().reason, Reason::DataLoss);
    }

    #[tokio::test]
    async fn a_producer_waits_for_a_slow_client_but_not_for_ever() {
        let stall = Duration::from_millis(50);
        let (sender, body) = stream_with(None, stall);
        for _ in 0..FRAMES {
            sender.send(Bytes::from_static(b"a")).await.unwrap();
        }
        assert_eq!(sender.send(Bytes::from_static(b"a")).await, Err(Stopped::Stalled));
        drop(body);
        assert_eq!(sender.send(Bytes::from_static(b"a")).await, Err(Stopped::Gone));
    }

    /// Sends three bytes over real HTTP, then finishes or not; whether the client takes them for a whole answer.
    async fn taken_for_whole(http2: bool, length: Option<u64>, finished: bool) -> bool {
        let (near, far) = tokio::io::duplex(4_096);
        let service = hyper::service::service_fn(move |_: Request<Incoming>| async move {
            let (sender, body) = stream(length);
            tokio::spawn(async move {
                sender.send(Bytes::from_static(b"abc")).await.unwrap();
                if finished { sender.finish().await.unwrap() } else { drop(sender) }
            });
            Ok::<_, Error>(Response::new(body))
        });
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move {
            // The connection ends in an error whenever the answer does.
            let _ = server.serve_connection(TokioIo::new(near), service).await;
        });
        let request = Request::get("http://localhost/").header("host", "localhost").body(empty()).unwrap();
        let response = if http2 {
            let io = TokioIo::new(far);
            let (mut client, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(driver);
            client.send_request(request).await
        } else {
            let (mut client, driver) = hyper::client::conn::http1::handshake(TokioIo::new(far)).await.unwrap();
            tokio::spawn(driver);
            client.send_request(request).await
        };
        match response {
            Ok(response) => response.into_body().collect().await.is_ok(),
            Err(_) => false,
        }
    }

    #[tokio::test]
    async fn no_client_takes_a_part_for_the_whole() {
        for http2 in [false, true] {
            for (length, finished, whole) in [
                (None, true, true),
                (None, false, false),
                (Some(3), true, true),
                (Some(6), true, false),
                (Some(6), false, false),
            ] {
                let got = tokio::time::timeout(Duration::from_secs(20), taken_for_whole(http2, length, finished));
                assert_eq!(got.await, Ok(whole), "h2 {http2}, {length:?}, {finished}");
            }
        }
    }

    #[tokio::test]
    async fn whole_bodies_know_their_length() {
        use http_body::Body as _;
        assert_eq!(empty().size_hint().exact(), Some(0));
        assert_eq!(full("abc").size_hint().exact(), Some(3));
        assert_eq!(stream(Some(7)).1.size_hint().exact(), Some(7));
        assert_eq!(stream(None).1.size_hint().exact(), None);
    }
}
