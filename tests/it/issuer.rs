//! An issuer of identity tokens as CI services and clusters are: discovery and keys over HTTPS, tokens signed with them.

use crate::harness::Authority;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// What a path is answered.
#[derive(Clone)]
pub struct Page {
    pub status: StatusCode,
    pub location: Option<String>,
    pub body: String,
}

/// Pages, and how often each path was asked for.
#[derive(Default)]
struct Site {
    pages: BTreeMap<String, Page>,
    asked: BTreeMap<String, usize>,
    /// While it is closed, nobody is answered.
    gate: Arc<tokio::sync::RwLock<()>>,
}

/// An issuer that runs inside the test.
pub struct Issuer {
    pub url: String,
    /// The certificate that vouches for it.
    pub ca: String,
    pub rsa: RsaKeyPair,
    pub elliptic: EcdsaKeyPair,
    site: Arc<Mutex<Site>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    /// An issuer with an RSA key `r` and an elliptic one `e`.
    pub async fn start() -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.server("127.0.0.1");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let site = Arc::new(Mutex::new(Site::default()));
        let serving = tokio::spawn(serve(listener, acceptor(&certificate, &key), site.clone()));
        let issuer = Self {
            url,
            ca: authority.certificate().to_owned(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            elliptic: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            site,
            serving,
        };
        issuer.publish(&issuer.url, &format!("{}/keys", issuer.url));
        issuer.show("/keys", StatusCode::OK, &issuer.keys().to_string());
        issuer
    }

    /// Publishes what discovery says.
    pub fn publish(&self, issuer: &str, keys: &str) {
        let document = json!({"issuer": issuer, "jwks_uri": keys, "id_token_signing_alg_values_supported": ["RS256"]});
        self.show("/.well-known/openid-configuration", StatusCode::OK, &document.to_string());
    }

    pub fn show(&self, path: &str, status: StatusCode, body: &str) {
        let page = Page { status, location: None, body: body.to_owned() };
        self.site.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// Sends who asks for a path elsewhere.
    pub fn redirect(&self, path: &str, location: &str) {
        let page = Page { status: StatusCode::FOUND, location: Some(location.to_owned()), body: String::new() };
        self.site.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// Answers nobody until the guard is dropped.
    pub async fn silence(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        let gate = self.site.lock().unwrap().gate.clone();
        gate.write_owned().await
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.site.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }

    /// Its key set.
    pub fn keys(&self) -> Value {
        json!({"keys": [self.rsa_jwk(), self.elliptic_jwk()]})
    }

    pub fn rsa_jwk(&self) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        json!({"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": encoded(public.n), "e": encoded(public.e)})
    }

    pub fn elliptic_jwk(&self) -> Value {
        let (x, y) = self.elliptic.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "kid": "e", "use": "sig", "alg": "ES256", "crv": "P-256", "x": encoded(x), "y": encoded(y)})
    }

    /// The public RSA key as a PEM file has it, for whoever takes it for the secret of an HMAC.
    pub fn rsa_der(&self) -> Vec<u8> {
        let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = self.rsa.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// A token with these claims, signed with the RSA key.
    pub fn token(&self, claims: &Value) -> String {
        self.signed(&json!({"typ": "JWT", "alg": "RS256", "kid": "r"}), claims)
    }

    /// A token under this header, signed with the key that the header's algorithm is for.
    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match header["alg"].as_str() {
            Some("ES256") => self.elliptic.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            _ => rsa_signature(&self.rsa, message.as_bytes()),
        };
        format!("{message}.{}", encoded(signature))
    }

    /// What GitHub says of a job on a branch of acme's.
    pub fn github(&self, branch: &str, now: i64) -> Value {
        json!({
            "jti": format!("{branch}-{now}"), "iss": self.url, "aud": "sts.amazonaws.com",
            "sub": format!("repo:acme/app:ref:refs/heads/{branch}"), "ref": format!("refs/heads/{branch}"),
            "sha": "1111111111111111111111111111111111111111", "repository": "acme/app", "repository_owner": "acme",
            "repository_id": "1296269", "repository_visibility": "private", "run_id": "42", "run_number": "7",
            "run_attempt": "1", "actor": "octocat", "actor_id": "583231", "workflow": "release", "head_ref": "",
            "base_ref": "", "event_name": "push", "ref_protected": "true", "ref_type": "branch",
            "job_workflow_ref": format!("acme/app/.github/workflows/release.yml@refs/heads/{branch}"),
            "runner_environment": "github-hosted", "nbf": now - 300, "iat": now, "exp": now + 300,
        })
    }

    /// What a cluster says of a pod of this service account.
    pub fn kubernetes(&self, namespace: &str, account: &str, now: i64) -> Value {
        json!({
            "aud": ["sts.amazonaws.com"], "iss": self.url, "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "iat": now, "nbf": now, "exp": now + 3_607, "jti": "7f0d-1",
            "kubernetes.io": {
                "namespace": namespace, "node": {"name": "n1", "uid": "u0"}, "pod": {"name": "web-1", "uid": "u1"},
                "serviceaccount": {"name": account, "uid": "u2"}, "warnafter": now + 3_607,
            },
        })
    }
}

/// A signature of that key over a message.
pub fn rsa_signature(key: &RsaKeyPair, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut bytes).unwrap();
    bytes
}

fn acceptor(certificate: &str, key: &str) -> tokio_rustls::TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: tokio::net::TcpListener, acceptor: tokio_rustls::TlsAcceptor, site: Arc<Mutex<Site>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, site) = (acceptor.clone(), site.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let answer = service_fn(|request: Request<Incoming>| {
                let answer = page(&mut site.lock().unwrap(), request.uri().path());
                let gate = site.lock().unwrap().gate.clone();
                async move {
                    let _open = gate.read().await;
                    Ok::<_, Infallible>(answer)
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn page(site: &mut Site, path: &str) -> Response<Full<Bytes>> {
    *site.asked.entry(path.to_owned()).or_default() += 1;
    let absent = Page { status: StatusCode::NOT_FOUND, location: None, body: String::new() };
    let page = site.pages.get(path).cloned().unwrap_or(absent);
    let mut response = Response::builder().status(page.status).header("content-type", "application/json");
    if let Some(location) = page.location {
        response = response.header("location", location);
    }
    response.body(Full::new(Bytes::from(page.body))).unwrap()
}
