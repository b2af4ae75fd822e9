//! What asking others over HTTP has in common: one request over one connection, a bounded answer, and TLS.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request and reads the whole answer, of at most `max` bytes. Whoever calls bounds the time.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    max: usize,
) -> Result<Response<Bytes>, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(parts, Limited::new(body, max).collect().await?.to_bytes()))
    };
    tokio::pin!(exchange);
    // The connection is driven beside the exchange; when it ends first, what came over it may still wait.
    tokio::select! {
        answer = &mut exchange => return answer,
        ended = connection => ended?,
    }
    exchange.await
}

/// The certificates of the system.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A client of TLS that believes these roots.
pub(super) fn tls_client(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
