//! One binary over the whole product: a module for each capability, real servers on ports of their own.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on fails, and waits for real processes in real time"
)]

mod architecture;
mod bad_input;
mod certificates;
mod conformance_kms;
mod damage;
mod grants;
mod grpc;
mod harness;
mod independence;
mod isolation;
mod kills;
mod oci_conformance;
mod oci_profiles;
mod operations;
mod push_pull;
mod refusals;
mod replication;
mod sessions;
mod sha512;
mod source;
mod tenants;
