//! Services of others that this server calls. Nothing outside this module names an AWS client.

mod ambient;
mod broker;
mod exchange;
mod issuers;
mod kms;
mod role;
pub mod s3;
mod sts;

pub use ambient::ambient;
pub use broker::Broker;
pub use issuers::{Egress, HttpsIssuers};
pub use kms::{AwsKms, Credentials, Settings};
pub use role::Role;
pub use sts::RemoteSts;
