//! A small OCI client and image layout: what the demo pushes and pulls with where there is no skopeo.
//!
//! It streams; no layer is ever in memory as a whole. What it pulls it verifies against the digest it asked for.

mod client;
mod layout;
mod pack;

pub use client::{Client, Error};
pub use layout::Layout;
pub use pack::pack;
