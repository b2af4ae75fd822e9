//! A connection that cannot be held open by silence.
//!
//! Guarantees that the bytes which decide between HTTP/1.1 and HTTP/2 arrive before a deadline, and that a peer
//! which stops reading is cut off after a stall. It does not limit how long a request body takes: a slow upload
//! is legitimate, and the handler that reads it has its own deadline.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// SPEC: RFC 9113 section 3.4, the client connection preface.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream of bytes under two deadlines.
pub(super) struct Guarded<T> {
    io: T,
    /// Present until the protocol version is decided.
    opening: Option<Opening>,
    /// How long a write may wait without any progress.
    write_stall: Duration,
    /// Present while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Opening {
    deadline: Pin<Box<Sleep>>,
    /// How many bytes of the preface have been seen.
    seen: usize,
}

impl<T> Guarded<T> {
    /// Guards a stream: the version must be decided within `opening`, and writes progress within `write_stall`.
    pub(super) fn new(io: T, opening: Duration, write_stall: Duration) -> Self {
        let opening = Opening { deadline: Box::pin(sleep(opening)), seen: 0 };
        Self { io, opening: Some(opening), write_stall, stalled: None }
    }

    /// Passes a write's outcome on, turning a wait without progress into an error.
    fn watch<R>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stall = self.write_stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        timer.as_mut().poll(cx).map(|()| Err(late("the peer has stopped reading")))
    }
}

impl Opening {
    /// Whether the version is decided once these bytes have come: they leave the preface, complete it or end.
    fn decided(&mut self, bytes: &[u8]) -> bool {
        let expected = PREFACE[self.seen..].iter().zip(bytes).all(|(want, got)| want == got);
        self.seen = PREFACE.len().min(self.seen + bytes.len());
        bytes.is_empty() || !expected || self.seen == PREFACE.len()
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some(opening) = &mut this.opening else { return outcome };
        match outcome {
            Poll::Ready(result) => {
                if opening.decided(&buf.filled()[before..]) {
                    this.opening = None;
                }
                Poll::Ready(result)
            }
            Poll::Pending => opening.deadline.as_mut().poll(cx).map(|()| Err(late("no request in time"))),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::Guarded;
    use std::io::ErrorKind;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn half_a_preface_is_not_an_answer_but_any_other_byte_is() {
        for (sent, in_time) in [("", false), ("PRI * HTTP/2.0\r\n", false), ("GET /", true), ("PUT /", true)] {
            let (mut far, near) = duplex(64);
            far.write_all(sent.as_bytes()).await.unwrap();
            let mut guarded = Guarded::new(near, SHORT, SHORT);
            let mut buf = vec![0; sent.len()];
            guarded.read_exact(&mut buf).await.unwrap();
            let next = tokio::time::timeout(SHORT * 5, guarded.read_u8()).await;
            assert_eq!(next.is_err(), in_time, "{sent:?}");
            if let Ok(read) = next {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_stops_reading_is_cut_off_and_a_slow_one_is_not() {
        let (mut far, near) = duplex(8);
        let mut guarded = Guarded::new(near, SHORT, SHORT);
        let slow = tokio::spawn(async move {
            let mut buf = [0; 8];
            for _ in 0..5 {
                tokio::time::sleep(SHORT / 2).await;
                far.read_exact(&mut buf).await.unwrap();
            }
            far
        });
        guarded.write_all(&[0; 40]).await.unwrap();
        let far = slow.await.unwrap();
        let stuck = guarded.write_all(&[0; 40]).await.unwrap_err();
        assert_eq!(stuck.kind(), ErrorKind::TimedOut);
        drop(far);
    }
}
