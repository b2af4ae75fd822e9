use super::{Limits, Peer, pause_after, serve};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};
use tokio_util::sync::CancellationToken;

/// Far more than anything here needs, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener whose service answers `/peer` with what it knows of the peer, and anything else when the gate opens.
struct Server {
    addr: SocketAddr,
    stop: CancellationToken,
    done: JoinHandle<usize>,
    waiting: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Server {
    async fn start(limits: Limits, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, waiting, gate) = (CancellationToken::new(), Arc::default(), Arc::new(Semaphore::new(0)));
        let service = tower::service_fn({
            let (waiting, gate) = (Arc::clone(&waiting), Arc::clone(&gate));
            move |request| answer(request, Arc::clone(&waiting), Arc::clone(&gate))
        });
        let done = tokio::spawn(serve(listener, tls, limits, service, stop.clone()));
        Self { addr, stop, done, waiting, gate }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    async fn until_waiting(&self, count: usize) {
        let reached = async {
            while self.waiting.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, reached).await.expect("requests reach the service");
    }

    async fn drained(self) -> usize {
        self.stop.cancel();
        timeout(PATIENCE, self.done).await.expect("the drain ends").unwrap()
    }
}

async fn answer(
    request: Request<Incoming>,
    waiting: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let peer = request.extensions().get::<Peer>().expect("every request has its peer");
    let text = format!("{} {} {}", peer.addr.ip(), peer.tls, peer.certificates.len());
    if request.uri().path() != "/peer" {
        waiting.fetch_add(1, Ordering::SeqCst);
        gate.acquire().await.expect("the gate is never closed").forget();
    }
    Ok(Response::new(Full::from(text)))
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://localhost{path}")).header("host", "localhost").body(Empty::new()).unwrap()
}

async fn h2<T>(io: T) -> http2::SendRequest<Empty<Bytes>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(driver);
    client
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Reads until the server closes; panics if it does not.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is as good as a close.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes the connection");
    bytes
}

fn hasty() -> Limits {
    Limits { head_timeout: Duration::from_millis(200), ..Limits::client() }
}

#[tokio::test]
async fn one_port_speaks_http_1_and_http_2() {
    let server = Server::start(Limits::client(), None).await;
    let (mut one, driver) = http1::handshake(TokioIo::new(server.connect().await)).await.unwrap();
    tokio::spawn(driver);
    assert_eq!(text(one.send_request(get("/peer")).await.unwrap()).await, "127.0.0.1 false 0");
    let mut two = h2(server.connect().await).await;
    assert_eq!(text(two.send_request(get("/peer")).await.unwrap()).await, "127.0.0.1 false 0");
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn silent_and_slow_clients_are_closed() {
    let server = Server::start(hasty(), None).await;
    for sent in ["", "P", "PRI * HTTP/2.0\r\n", "GET /peer HTTP/1.1\r\nhost: loc"] {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let got = until_closed(&mut stream).await;
        assert!(!got.windows(6).any(|w| w == b"200 OK"), "{sent:?}");
    }
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let server = Server::start(Limits::client(), None).await;
    let mut stream = server.connect().await;
    let head = format!("GET /peer HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(100 << 10));
    // The server may close before it has all of it.
    let _ = stream.write_all(head.as_bytes()).await;
    assert!(!until_closed(&mut stream).await.windows(6).any(|w| w == b"200 OK"));
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn a_hundred_streams_share_a_connection() {
    let server = Server::start(Limits::client(), None).await;
    let client = h2(server.connect().await).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.send_request(get("/wait")).await.unwrap().status() })
        })
        .collect();
    server.until_waiting(100).await;
    server.gate.add_permits(100);
    for call in calls {
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), 200);
    }
    drop(client);
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let server = Server::start(Limits::client(), None).await;
    let (addr, gate) = (server.addr, Arc::clone(&server.gate));
    let mut one = server.connect().await;
    one.write_all(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut two = h2(server.connect().await).await;
    let call = tokio::spawn(async move { two.send_request(get("/wait")).await });
    let mut idle = server.connect().await;
    server.until_waiting(2).await;
    let drained = tokio::spawn(server.drained());
    // The idle connection closing shows that the drain has begun.
    until_closed(&mut idle).await;
    timeout(PATIENCE, async { while TcpStream::connect(addr).await.is_ok() {} }).await.expect("the port closes");
    assert!(!drained.is_finished());
    gate.add_permits(2);
    assert!(until_closed(&mut one).await.starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(text(call.await.unwrap().unwrap()).await, "127.0.0.1 false 0");
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_grace() {
    let server = Server::start(Limits { drain_grace: Duration::from_millis(100), ..Limits::client() }, None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    server.until_waiting(1).await;
    assert_eq!(server.drained().await, 1);
    assert!(until_closed(&mut stream).await.is_empty());
}

#[tokio::test]
async fn an_old_connection_is_retired() {
    let server = Server::start(Limits { max_age: Duration::from_millis(100), ..Limits::client() }, None).await;
    let (mut one, driver) = http1::handshake(TokioIo::new(server.connect().await)).await.unwrap();
    let driver = tokio::spawn(driver);
    text(one.send_request(get("/peer")).await.unwrap()).await;
    timeout(PATIENCE, driver).await.expect("the server closes it").unwrap().unwrap();
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn clients_that_vanish_neither_end_the_loop_nor_keep_their_place() {
    let server = Server::start(Limits { connections: 2, ..Limits::client() }, None).await;
    for sent in ["", "GET /wait HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0"] {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        drop(stream);
    }
    let mut client = h2(server.connect().await).await;
    let response = timeout(PATIENCE, client.send_request(get("/peer"))).await.expect("a place is free").unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let server = Server::start(Limits { connections: 1, ..Limits::client() }, None).await;
    let mut first = h2(server.connect().await).await;
    first.send_request(get("/peer")).await.unwrap();
    let mut second = server.connect().await;
    second.write_all(b"GET /peer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(100), second.read(&mut byte)).await.is_err());
    drop(first);
    assert!(until_closed(&mut second).await.starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(server.drained().await, 0);
}

#[tokio::test]
async fn tls_gives_the_peers_certificates_and_slow_handshakes_are_closed() {
    let Identities { acceptor, connector } = identities();
    let server = Server::start(hasty(), Some(acceptor)).await;
    let mut silent = server.connect().await;
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, server.connect().await).await.unwrap();
    let mut client = h2(stream).await;
    assert_eq!(text(client.send_request(get("/peer")).await.unwrap()).await, "127.0.0.1 true 1");
    assert!(until_closed(&mut silent).await.is_empty());
    drop(client);
    assert_eq!(server.drained().await, 0);
}

struct Identities {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Both ends of a mutual TLS connection under one self-signed certificate.
fn identities() -> Identities {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = || rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.clone()], key())
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key())
        .unwrap();
    client.alpn_protocols = vec![b"h2".to_vec()];
    Identities { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() }
}

#[test]
fn a_shortage_slows_the_loop_and_a_vanished_client_does_not() {
    const EMFILE: i32 = 24;
    let shortage = |failures| pause_after(&io::Error::from_raw_os_error(EMFILE), failures);
    assert_eq!(shortage(0), Duration::from_millis(10));
    assert_eq!(shortage(3), Duration::from_millis(80));
    assert_eq!(shortage(u32::MAX), Duration::from_secs(1));
    assert_eq!(pause_after(&io::ErrorKind::ConnectionAborted.into(), 5), Duration::ZERO);
}

#[test]
fn connections_leave_descriptors_for_files_and_the_database() {
    for (descriptors, connections) in [(0, 1), (160, 48), (1_024, 480), (1 << 20, 4_096), (u64::MAX, 4_096)] {
        assert_eq!(Limits::client().within(descriptors).connections, connections, "{descriptors}");
    }
}
