//! Transship: a multi-account container registry whose core is sharing and replication between accounts and regions.
//!
//! `docs/ARCHITECTURE.md` has the map; each module says below what it guarantees.

pub mod api;
pub mod authz;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ctx;
pub mod domain;
pub mod error;
pub mod gate;
pub mod identity;
pub mod jobs;
pub mod keys;
pub mod listen;
pub mod names;
pub mod oci;
pub mod ops;
pub mod pb;
pub mod peer;
pub mod secret;
pub mod server;
pub mod store;
pub mod syncs;
pub mod upstream;

/// The conformance cases name this crate as a user of it does, and run inside it too.
#[cfg(test)]
extern crate self as transship;
