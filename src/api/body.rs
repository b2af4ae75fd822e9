//! The body of every answer over HTTP.
//!
//! Guarantees that a body which ends early is seen to have ended early: a stream that fails, is abandoned or does
//! not add up to its announced length yields an error, which makes the server abort the connection (HTTP/1.1) or
//! reset the stream (HTTP/2). A client can never take a truncated blob for a whole one.

use crate::error::{Error, Reason};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a small body may take to come.
const RECEIVE: Duration = Duration::from_secs(60);

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Error>;

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

/// The bytes that a producer sends, exactly as many as announced: one more, one fewer, or an error, and the client
/// sees the connection break.
#[must_use]
pub fn stream(receiver: mpsc::Receiver<Result<Bytes, Error>>, length: u64) -> Body {
    Stream { receiver, left: length, ended: false }.boxed_unsync()
}

/// A request's body, whole: `what` is how it is called to who sends too much of it, or not all.
///
/// # Errors
/// `TOO_LARGE` beyond `limit` bytes; `TRUNCATED` when it ends early or does not come within a minute.
pub async fn receive(body: &mut Incoming, limit: usize, what: &'static str) -> Result<Bytes, Error> {
    let collecting = tokio::time::timeout(RECEIVE, Limited::new(body, limit).collect()).await;
    let collected = collecting.map_err(|_| truncated(format!("{what} did not come in time")))?;
    collected.map(|body| body.to_bytes()).map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => Error::new(Reason::TooLarge, format!("{what} has at most {limit} bytes")),
        Err(error) => truncated(format!("{what} ended before its length")).because(error),
    })
}

/// Reads what is left of a refused request's body, so that its connection can carry the next request; false if that would
/// be more than [`DRAIN_BYTES_MAX`] or take longer than [`DRAIN`], or the client `waits` to be told to send it.
pub(super) async fn drained(body: &mut Incoming, waits: bool) -> bool {
    if body.is_end_stream() || waits {
        return body.is_end_stream();
    }
    let reading = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return false };
            left = rest;
        }
        body.is_end_stream()
    };
    tokio::time::timeout(DRAIN, reading).await.unwrap_or(false)
}

/// A chunk of a slow client is worth less than its connection; a layer is not.
const DRAIN_BYTES_MAX: usize = 256 << 10;
/// How long the rest of a refused body may take.
const DRAIN: Duration = Duration::from_secs(1);

struct Stream {
    receiver: mpsc::Receiver<Result<Bytes, Error>>,
    /// Bytes still to come.
    left: u64,
    ended: bool,
}

impl Stream {
    /// What the client gets for what came; `None` is the good end.
    fn take(&mut self, came: Option<Result<Bytes, Error>>) -> Option<Result<Bytes, Error>> {
        match came {
            Some(Ok(data)) => Some(self.count(data)),
            Some(Err(error)) => Some(Err(error)),
            None if self.left == 0 => None,
            None => Some(Err(truncated("the answer ended before its length"))),
        }
    }

    fn count(&mut self, data: Bytes) -> Result<Bytes, Error> {
        let rest = u64::try_from(data.len()).ok().and_then(|length| self.left.checked_sub(length));
        self.left = rest.ok_or_else(|| truncated("the answer went beyond its length"))?;
        Ok(data)
    }
}

fn truncated(message: impl Into<String>) -> Error {
    Error::new(Reason::Truncated, message)
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let came = std::task::ready!(self.receiver.poll_recv(cx));
        let item = self.take(came);
        self.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::{empty, full, stream};
    use crate::error::{Error, Reason};
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_stream_ends_well_only_at_its_length() {
        // Announced length, bytes sent, whether the client gets a whole answer.
        for (length, sent, whole) in [(0, 0, true), (6, 6, true), (6, 3, false), (6, 9, false), (6, 0, false)] {
            let (sender, receiver) = mpsc::channel(8);
            for _ in 0..sent / 3 {
                sender.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
            }
            drop(sender);
            assert_eq!(stream(receiver, length).collect().await.is_ok(), whole, "{length} {sent}");
        }
    }

    #[tokio::test]
    async fn a_failure_reaches_the_client_side_as_itself() {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(Err(Error::new(Reason::DataLoss, "segment 3"))).await.unwrap();
        assert_eq!(stream(receiver, 6).collect().await.unwrap_err().reason, Reason::DataLoss);
    }

    #[test]
    fn bodies_know_their_length() {
        use http_body::Body as _;
        assert_eq!(empty().size_hint().exact(), Some(0));
        assert_eq!(full("abc").size_hint().exact(), Some(3));
        assert_eq!(stream(mpsc::channel(1).1, 7).size_hint().exact(), Some(7));
    }
}
