//! One binary over the whole product: a module for each capability, real servers on ports of their own.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on fails, and waits for real processes in real time"
)]

mod architecture;
mod audit;
mod aws;
mod aws_identities;
mod aws_roles;
mod bad_input;
mod bucket;
mod canaries;
mod certificates;
mod conformance_kms;
mod control_policies;
mod cves;
mod damage;
mod denials;
mod dry_runs;
mod faults;
mod federation;
mod fuzz;
mod grants;
mod grpc;
mod harness;
mod https;
mod independence;
mod isolation;
mod issuer;
mod keys;
mod kills;
mod locks;
mod managed_policies;
mod mfa;
mod narrowing;
mod oci_conformance;
mod oci_profiles;
mod operations;
mod policy_operators;
mod proofs;
mod public;
mod push_pull;
mod refusals;
mod replication;
mod revocations;
mod scrub;
mod sessions;
mod sha512;
mod soak;
mod source;
mod storage;
mod tenants;
