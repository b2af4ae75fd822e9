//! Connections to peer regions, each checked to end where it should.

use super::tls::{Identity, server_name};
use super::{CONNECTION_WINDOW_BYTES, FRAME_BYTES, MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES};
use crate::error::{Error, Reason, Result};
use crate::names::Region;
use crate::pb::replication::transport_service_client::TransportServiceClient;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// How long a connection, its handshake included, may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it lives, and how long the answer may take.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The peers this region knows, by name, itself included.
#[derive(Clone)]
pub struct Peers {
    identity: Identity,
    config: Arc<ClientConfig>,
    addresses: Arc<BTreeMap<Region, String>>,
}

/// A connection to a peer, and the certificate it showed.
pub(super) struct Connected {
    pub(super) client: TransportServiceClient<Channel>,
    pub(super) certificate: Vec<u8>,
}

impl Peers {
    /// The peers at these addresses (`host:port`).
    ///
    /// # Errors
    /// When this region's certificate and key do not belong together.
    pub fn new(identity: Identity, addresses: BTreeMap<Region, String>) -> Result<Self> {
        let config = identity.client()?;
        Ok(Self { identity, config, addresses: Arc::new(addresses) })
    }

    /// The regions.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.addresses.keys()
    }

    /// Whether a region is known.
    #[must_use]
    pub fn knows(&self, region: &Region) -> bool {
        self.addresses.contains_key(region)
    }

    /// This region's identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Connects to a region.
    ///
    /// # Errors
    /// When it is unknown, cannot be reached, or something else answers at its address.
    pub(super) async fn connect(&self, region: &Region) -> Result<Connected> {
        let address = self.addresses.get(region).ok_or_else(|| {
            let text = format!("region {region} is not among this region's peers; add it to the configuration");
            Error::new(Reason::Unavailable, text).with("region", region)
        })?;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (peers, wanted, address, kept) = (self.clone(), region.clone(), address.clone(), shown.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (peers, wanted, address, kept) = (peers.clone(), wanted.clone(), address.clone(), kept.clone());
            async move { peers.dial(&wanted, &address, &kept).await }
        });
        let channel = Endpoint::from_static("http://peer")
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_timeout(CONNECT)
            .connect_with_connector(connector)
            .await
            .map_err(|e| unreachable(region, &e))?;
        let client = TransportServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let certificate = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Connected { client, certificate })
    }

    async fn dial(
        &self,
        region: &Region,
        address: &str,
        shown: &Mutex<Vec<u8>>,
    ) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
        let socket = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
        socket.set_nodelay(true)?;
        let name = server_name(region).map_err(io::Error::other)?;
        let connecting = TlsConnector::from(self.config.clone()).connect(name, socket);
        let stream = tokio::time::timeout(CONNECT, connecting).await??;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
        let named = self.identity.region_of(certificate).map_err(io::Error::other)?;
        if named != *region {
            return Err(io::Error::other(format!("region {named} answered at the address of region {region}")));
        }
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = certificate.to_vec();
        Ok(TokioIo::new(stream))
    }
}

fn unreachable(region: &Region, error: &dyn std::error::Error) -> Error {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        cause = source.to_string();
        next = source.source();
    }
    Error::new(Reason::Unavailable, format!("region {region} cannot be reached: {cause}")).with("region", region)
}
