//! Where the keys of issuers come from: a trait, for they are fetched over the network, and that is not done here.

use super::error::Error;
use super::jwk::Jwk;
use crate::names::Issuer;
use async_trait::async_trait;
use std::sync::Arc;

/// An issuer that an account trusts, and how to know it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Provider {
    /// Its URL.
    pub issuer: Issuer,
    /// The certificates that vouch for its servers, PEM; those of the system unless given.
    pub ca_pem: Option<Arc<str>>,
}

/// The keys of issuers.
#[async_trait]
pub trait Issuers: Send + Sync {
    /// The key of that id, if its issuer publishes it.
    ///
    /// # Errors
    /// `IssuerSilent` when the issuer cannot be asked, or what it answers is no key set.
    async fn key(&self, provider: &Provider, key_id: &str) -> Result<Option<Jwk>, Error>;
}
