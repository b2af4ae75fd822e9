//! The client listener's certificate: read from files, and read again when they change, without a connection lost.

use crate::error::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How often the files are looked at: renewals come weeks before the end, and a test can wait for it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Certificate chain and key, PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What the two files held, hashed: it is compared, and a debug print of a server's configuration reaches it.
type Seen = [u8; 32];

/// A certificate that is presented to clients and follows its files.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    present: RwLock<(Seen, Arc<CertifiedKey>)>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, is no PEM, or the key is another certificate's.
    pub fn load(files: Files) -> Result<Arc<Self>> {
        let read = files.read()?;
        let key = Arc::new(read.certified()?);
        Ok(Arc::new(Self { files, present: RwLock::new((read.seen(), key)) }))
    }

    /// Handshakes with this certificate: TLS 1.2 and 1.3, h2 and HTTP/1.1.
    #[must_use]
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Follows the files until told to stop. What cannot be used is told in the log, and what was there goes on.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut told = None;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let own = self.clone();
            let looked = tokio::task::spawn_blocking(move || own.look()).await;
            match looked.map_err(Error::internal).flatten() {
                Ok(true) => tracing::info!(file = %self.files.certificate.display(), "the certificate was renewed"),
                Ok(false) => told = None,
                // Once, not every two seconds.
                Err(error) if told.as_ref() != Some(&error.message) => {
                    tracing::error!(error = ?error, "the new certificate cannot be used; the old one is still presented");
                    told = Some(error.message);
                }
                Err(_) => {}
            }
        }
    }

    /// Takes up what the files hold now, if that is new.
    fn look(&self) -> Result<bool> {
        let read = self.files.read()?;
        let seen = read.seen();
        if self.present.read().unwrap_or_else(PoisonError::into_inner).0 == seen {
            return Ok(false);
        }
        let key = Arc::new(read.certified()?);
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = (seen, key);
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present.read().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}

impl Files {
    fn read(&self) -> Result<Pem> {
        let read = |path: &PathBuf, what: &'static str| {
            std::fs::read(path).map_err(|e| Error::invalid(what, format!("{}: {e}", path.display())))
        };
        let certificate = read(&self.certificate, "tls.certificate")?;
        Ok(Pem { certificate, key: Zeroizing::new(read(&self.key, "tls.key")?) })
    }
}

/// What the files hold.
struct Pem {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Pem {
    fn seen(&self) -> Seen {
        Sha256::new().chain_update(Sha256::digest(&self.certificate)).chain_update(&*self.key).finalize().into()
    }

    fn certified(&self) -> Result<CertifiedKey> {
        let pem = |e: rustls::pki_types::pem::Error, what| Error::invalid(what, format!("not PEM: {e}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|e| pem(e, "tls.certificate"))?;
        if chain.is_empty() {
            return Err(Error::invalid("tls.certificate", "the file has no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| pem(e, "tls.key"))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|e| Error::invalid("tls.key", e))
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificate, Files};

    #[test]
    fn a_debug_print_shows_nothing_of_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = Files { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        let shown = format!("{:?}", Certificate::load(files).unwrap());
        // Bytes print as a list of numbers: the key's own, as PEM and as DER, in any run of eight.
        for secret in [key.serialize_pem().into_bytes(), key.serialize_der()] {
            for run in secret.windows(8) {
                let list = format!("{run:?}");
                assert!(!shown.contains(&list[1..list.len() - 1]), "{shown}");
            }
        }
    }
}
