//! The accept loop: HTTP/1.1 and HTTP/2 on one port, in clear or over TLS.
//!
//! Guarantees that connections, header bytes, streams, windows and waits are bounded by [`Limits`], that no accept
//! error ends the loop, and that a stop lets requests in flight finish within a grace time. It does not look into
//! requests: every one of them goes to the service, with its [`Peer`] in the extensions.

pub mod descriptors;
mod guarded;
pub mod tls;

use guarded::Guarded;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who is on the other end of a connection; in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address the connection came from.
    pub addr: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The certificate chain the peer proved in the handshake, leaf first; empty when it showed none.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// The bounds of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// Time for a TLS handshake, for the first bytes, and for the headers of each request.
    pub head_timeout: Duration,
    /// Bytes of a request's headers; for HTTP/1.1 this is the connection's whole read buffer.
    pub head_bytes: u32,
    /// Time a peer may leave the answer unread before it is cut off.
    pub write_stall: Duration,
    /// Age at which a connection takes no more requests, so that clients come back through the load balancer.
    pub max_age: Duration,
    /// Time that requests in flight get once `max_age` is reached.
    pub age_grace: Duration,
    /// Time that requests in flight get once the listener is stopped.
    pub drain_grace: Duration,
    /// HTTP/2 streams open at once on one connection.
    pub streams: u32,
    /// HTTP/2 streams that a peer may reset before they were accepted (CVE-2023-44487).
    pub pending_resets: usize,
    /// Bytes of one HTTP/2 frame.
    pub frame: u32,
    /// Bytes of a stream that the peer may send ahead.
    pub stream_window: u32,
    /// Bytes of all streams together that the peer may send ahead.
    pub connection_window: u32,
    /// Bytes of an answer buffered per stream.
    pub send_buffer: usize,
    /// Pause between HTTP/2 pings, and the time in which each must be answered.
    pub ping: Duration,
}

impl Limits {
    /// For strangers: small windows and frames.
    #[must_use]
    pub fn client() -> Self {
        Self {
            connections: 4_096,
            head_timeout: Duration::from_secs(10),
            head_bytes: 64 << 10,
            write_stall: Duration::from_secs(60),
            max_age: Duration::from_secs(3_600),
            age_grace: Duration::from_secs(3_600),
            drain_grace: Duration::from_secs(30),
            streams: 128,
            pending_resets: 20,
            frame: 16 << 10,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            send_buffer: 128 << 10,
            ping: Duration::from_secs(20),
        }
    }

    /// For the other regions of the organization: few connections that carry much.
    #[must_use]
    pub fn peer() -> Self {
        Self {
            connections: 256,
            frame: 1 << 20,
            stream_window: 16 << 20,
            connection_window: 64 << 20,
            send_buffer: 2 << 20,
            ..Self::client()
        }
    }

    /// The same with no more connections than there are descriptors for: each has one, and one more for the file that is
    /// read or written over it. Connections beyond that wait, instead of taking from those that are there.
    #[must_use]
    pub fn within(self, descriptors: u64) -> Self {
        let most = usize::try_from(descriptors.saturating_sub(descriptors::RESERVED) / 2).unwrap_or(usize::MAX);
        Self { connections: self.connections.min(most.max(1)), ..self }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        // INVARIANT: hyper accepts no smaller buffer than 8 KiB.
        let head = usize::try_from(self.head_bytes).unwrap_or(usize::MAX).max(8 << 10);
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.head_timeout).max_buf_size(head);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .max_pending_accept_reset_streams(self.pending_resets)
            .max_frame_size(self.frame)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_send_buf_size(self.send_buffer)
            .max_header_list_size(self.head_bytes)
            .keep_alive_interval(self.ping)
            .keep_alive_timeout(self.ping);
        builder
    }
}

/// Accepts connections and gives their requests to clones of `service` until `stop` is cancelled; then closes the
/// port, lets requests in flight finish, and cuts off what is left after `limits.drain_grace`.
///
/// Returns the number of connections that were cut off.
pub async fn serve<S, B>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    service: S,
    stop: CancellationToken,
) -> usize
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let grace = limits.drain_grace;
    let setup = Arc::new(Setup { builder: limits.builder(), tls, limits, stop, cut: CancellationToken::new() });
    let open = TaskTracker::new();
    while let Some((stream, addr, place)) = accept(&listener, &places, &setup.stop).await {
        let connection = connection(stream, addr, Arc::clone(&setup), service.clone());
        open.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    open.close();
    if timeout(grace, open.wait()).await.is_ok() {
        return 0;
    }
    let left = open.len();
    setup.cut.cancel();
    open.wait().await;
    left
}

/// What all connections of a listener share.
struct Setup {
    builder: Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    /// Take no more requests.
    stop: CancellationToken,
    /// Drop everything now.
    cut: CancellationToken,
}

/// The next connection with its place among the permitted ones; `None` once stopped.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = stop.run_until_cancelled(Arc::clone(places).acquire_owned()).await?.ok()?;
    let mut failures = 0;
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, addr)) => return Some((stream, addr, place)),
            Err(error) => {
                let pause = pause_after(&error, failures);
                failures += 1;
                tracing::warn!(%error, ?pause, "accept failed");
                stop.run_until_cancelled(sleep(pause)).await?;
            }
        }
    }
}

/// How long to wait before the next accept: not at all when one client has vanished, up to a second when the
/// process is short of something (descriptors, memory), because that ends only when a connection does.
fn pause_after(error: &io::Error, failures: u32) -> Duration {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused => {
            Duration::ZERO
        }
        _ => Duration::from_millis(10 << failures.min(7)).min(Duration::from_secs(1)),
    }
}

async fn connection<S, B>(stream: TcpStream, addr: SocketAddr, setup: Arc<Setup>, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%addr, %error, "connection lost before it began");
        return;
    }
    let Some(acceptor) = &setup.tls else {
        let peer = Peer { addr, tls: false, certificates: Arc::new([]) };
        return drive(stream, peer, &setup, service).await;
    };
    let handshake = timeout(setup.limits.head_timeout, acceptor.accept(stream));
    match setup.stop.run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
            Box::pin(drive(stream, Peer { addr, tls: true, certificates }, &setup, service)).await;
        }
        Some(Ok(Err(error))) => tracing::debug!(%addr, %error, "TLS handshake failed"),
        Some(Err(_)) => tracing::debug!(%addr, "TLS handshake too slow"),
        None => {}
    }
}

/// Serves one connection: freely until the stop or its age, then the requests in flight until the cut or the grace.
async fn drive<T, S, B>(io: T, peer: Peer, setup: &Setup, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let limits = &setup.limits;
    let io = TokioIo::new(Guarded::new(io, limits.head_timeout, limits.write_stall));
    let addr = peer.addr;
    let mut serving = pin!(setup.builder.serve_connection(
        io,
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            service.clone().oneshot(request)
        })
    ));
    tokio::select! {
        ended = serving.as_mut() => return log(addr, ended),
        () = setup.stop.cancelled() => {}
        () = sleep(limits.max_age) => {}
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        ended = serving => log(addr, ended),
        () = setup.cut.cancelled() => tracing::debug!(%addr, "cut off at the end of the drain"),
        () = sleep(limits.age_grace) => tracing::debug!(%addr, "cut off at the end of its age"),
    }
}

fn log(addr: SocketAddr, ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(%addr, %error, "connection ended early");
    }
}

#[cfg(test)]
mod tests;
