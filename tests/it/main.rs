//! One binary over the whole product: a module for each capability, real servers on ports of their own.

mod conformance_kms;
mod damage;
mod harness;
mod independence;
mod kills;
mod push_pull;
mod replication;
