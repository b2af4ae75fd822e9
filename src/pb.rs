//! The generated half of the gRPC contract; `proto/` is its source and has the documentation.
//!
//! These types appear only in `api/grpc`, `peer` and `cli`.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// The packages refer to each other as `super::super::<area>::v1`, so they keep their tree.
pub mod transship {
    macro_rules! v1 {
        ($area:ident, $package:literal) => {
            pub mod $area {
                pub mod v1 {
                    tonic::include_proto!($package);
                }
            }
        };
    }
    v1!(identity, "transship.identity.v1");
    v1!(keys, "transship.keys.v1");
    v1!(registry, "transship.registry.v1");
    v1!(replication, "transship.replication.v1");
    v1!(sharing, "transship.sharing.v1");
    v1!(storage, "transship.storage.v1");
    v1!(trust, "transship.trust.v1");
}

pub use transship::{
    identity::v1 as identity, keys::v1 as keys, registry::v1 as registry, replication::v1 as replication,
    sharing::v1 as sharing, storage::v1 as storage, trust::v1 as trust,
};

/// The descriptors of all packages, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptor");
