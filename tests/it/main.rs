//! One binary over the whole product: a module for each capability, real servers on ports of their own.

mod conformance_kms;
mod harness;
mod kills;
mod push_pull;
mod replication;
