//! The transport between regions: mutual TLS, one service, client and server of it.
//!
//! A region's certificate names it (`URI:transship://<organization>/region/<name>`); both ends check that name, and a
//! peer acts only for registries in the region its certificate names. Bulk never shares a connection with control.

mod connect;
mod convert;
mod fetch;
mod follow;
mod server;
mod source;
mod tls;

pub use connect::Peers;
pub use follow::follow;
pub use server::Transport;
pub use source::replicate;
pub use tls::{Identity, public_key, region_uri};

/// The largest HTTP/2 frame between peers: fewer, larger frames (measured 1.5-2 times the throughput of 16 KiB).
pub const FRAME_BYTES: u32 = 1 << 20;
/// The receive window of one stream between peers: 1 Gb/s at 100 ms needs 12.5 MB.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// The receive window of one connection between peers.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// The largest message: a batch of changes with one manifest of 4 MiB beyond its megabyte.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
