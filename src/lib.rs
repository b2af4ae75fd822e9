//! Transship: a multi-account container registry whose core is sharing and replication between accounts and regions.
//!
//! `docs/ARCHITECTURE.md` has the map; each module says below what it guarantees.

pub mod api;
pub mod clock;
pub mod ctx;
pub mod domain;
pub mod error;
pub mod listen;
pub mod names;
pub mod ops;
pub mod secret;
