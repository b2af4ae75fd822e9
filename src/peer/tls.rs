//! A region's certificate, and what it takes to believe a peer's.

use crate::error::{Error, Reason, Result};
use crate::names::{Region, Uid};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;

/// The URI by which a certificate names a region.
#[must_use]
pub fn region_uri(organization: Uid, region: &Region) -> String {
    format!("transship://{organization}/region/{region}")
}

/// A region's certificate and key, and the organization's root.
#[derive(Clone)]
pub struct Identity {
    organization: Uid,
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
    roots: Arc<RootCertStore>,
}

impl Identity {
    /// Reads PEM files: the organization's root, this region's certificate, its PKCS#8 key.
    ///
    /// # Errors
    /// When a file cannot be read, or the certificate names another region or organization.
    pub fn load(organization: Uid, region: &Region, ca: &Path, certificate: &Path, key: &Path) -> Result<Self> {
        let read = |path: &Path, what: &'static str| {
            std::fs::read(path).map_err(|e| Error::invalid(what, format!("{}: {e}", path.display())))
        };
        let pem = |e: rustls::pki_types::pem::Error, what| Error::invalid(what, format!("not PEM: {e}"));
        let root = CertificateDer::from_pem_slice(&read(ca, "peer.ca")?).map_err(|e| pem(e, "peer.ca"))?;
        let leaf = CertificateDer::from_pem_slice(&read(certificate, "peer.certificate")?)
            .map_err(|e| pem(e, "peer.certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(key, "peer.key")?).map_err(|e| pem(e, "peer.key"))?;
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|e| Error::invalid("peer.ca", e))?;
        let identity = Self { organization, certificate: leaf, key: Arc::new(key), roots: Arc::new(roots) };
        let named = identity.region_of(&identity.certificate)?;
        if named != *region {
            return Err(Error::invalid("peer.certificate", format!("it names region {named}, not {region}")));
        }
        Ok(identity)
    }

    /// This region's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// This region's key, PKCS#8 DER.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.secret_der()
    }

    /// The region that a certificate names, if it is one of this organization.
    ///
    /// # Errors
    /// `CALLER_UNKNOWN` when it names none.
    pub fn region_of(&self, certificate: &CertificateDer<'_>) -> Result<Region> {
        let unknown = || {
            let text = format!("the peer's certificate names no region of organization {}", self.organization);
            Error::new(Reason::CallerUnknown, text)
        };
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| unknown())?;
        let prefix = region_uri(self.organization, &Region::parse("xx")?).replace("xx", "");
        let mut regions = parsed.valid_uri_names().filter_map(|uri| uri.strip_prefix(prefix.as_str()));
        match (regions.next(), regions.next()) {
            (Some(region), None) => Region::parse(region).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }

    /// The server's side: a client certificate under the organization's root is mandatory.
    ///
    /// # Errors
    /// When certificate and key do not belong together.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let verifier = WebPkiClientVerifier::builder(self.roots.clone()).build().map_err(Error::internal)?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|e| Error::invalid("peer.key", e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// The client's side.
    ///
    /// # Errors
    /// When certificate and key do not belong together.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|e| Error::invalid("peer.key", e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The DNS name by which a region's certificate is verified; it is never resolved.
pub(super) fn server_name(region: &Region) -> Result<ServerName<'static>> {
    ServerName::try_from(format!("{region}.region.transship.internal")).map_err(Error::internal)
}

/// The P-256 point of a certificate's public key: the last 65 bytes of its key info.
///
/// # Errors
/// When the certificate does not read or has another key.
pub fn public_key(certificate: &[u8]) -> Result<Vec<u8>> {
    let der = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&der).map_err(Error::internal)?;
    let info = parsed.subject_public_key_info();
    let point = info.as_ref().len().checked_sub(65).and_then(|at| info.as_ref().get(at..));
    point
        .filter(|point| point[0] == 4)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| Error::new(Reason::CallerUnknown, "the peer's certificate has no P-256 key"))
}
