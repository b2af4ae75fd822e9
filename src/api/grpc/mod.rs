//! The gRPC services: a message becomes the domain's values, one call is made, the outcome becomes a message.
//!
//! Names are parsed exactly once, here. Nothing here decides on a tenant's state.

mod asking;
mod identity;
mod keys;
mod locks;
mod names;
mod registry;
mod replication;
mod sharing;
mod status;
mod storage;
mod trust;

pub use status::code;

use crate::domain::App;
use crate::error::{Error, Result};
use crate::identity::Endpoint;
use crate::pb::identity::identity_service_server::IdentityServiceServer;
use crate::pb::keys::key_service_server::KeyServiceServer;
use crate::pb::registry::lock_service_server::LockServiceServer;
use crate::pb::registry::registry_service_server::RegistryServiceServer;
use crate::pb::replication::replication_service_server::ReplicationServiceServer;
use crate::pb::sharing::sharing_service_server::SharingServiceServer;
use crate::pb::storage::storage_service_server::StorageServiceServer;
use crate::pb::trust::trust_service_server::TrustServiceServer;
use std::sync::Arc;
use tonic::service::Routes;

/// The largest message a client may send; policies and names are far smaller.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What every service works with.
#[derive(Clone)]
struct Services {
    app: Arc<App>,
    /// The addresses for which a proof of identity may be made.
    endpoints: Arc<[Endpoint]>,
}

/// All services for clients, with health and reflection.
///
/// # Errors
/// When the descriptors do not read; they are made by the build.
pub async fn routes(app: Arc<App>, endpoints: Vec<Endpoint>) -> Result<Routes> {
    let services = Services { app, endpoints: endpoints.into() };
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(crate::pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(Error::internal)?;
    // Whatever is served says so, by construction.
    macro_rules! bounded {
        ($server:ident) => {{
            reporter.set_serving::<$server<Services>>().await;
            $server::new(services.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
        }};
    }
    Ok(Routes::new(bounded!(TrustServiceServer))
        .add_service(bounded!(IdentityServiceServer))
        .add_service(bounded!(RegistryServiceServer))
        .add_service(bounded!(LockServiceServer))
        .add_service(bounded!(SharingServiceServer))
        .add_service(bounded!(ReplicationServiceServer))
        .add_service(bounded!(KeyServiceServer))
        .add_service(bounded!(StorageServiceServer))
        .add_service(health)
        .add_service(reflection))
}
