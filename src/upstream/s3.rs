//! An S3 bucket behind the trait of `object_store`.
//!
//! Requests go over a hyper client of our own, so that each wait is bounded; credentials come from where AWS's own
//! programs take theirs, and are renewed before they end. Payloads are signed, hence checked by the server on arrival.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::names::{Digest, Region, Uid};
use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector as Tcp};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::client::{
    CredentialProvider, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub bucket: String,
    /// What the names of all objects begin with, if the bucket has others too.
    pub prefix: String,
    /// The region it lies in.
    pub region: Region,
    /// Another address than AWS's own; requests name the bucket in the path then.
    pub endpoint: Option<String>,
}

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time until the answer to one attempt begins; a part of 8 MiB crosses a slow line in it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a request with its repetitions.
const RETRY_TIMEOUT: Duration = Duration::from_secs(90);
/// Repetitions of one request.
const RETRIES: usize = 6;
/// How long an idle connection is kept; S3 closes its own after some time.
const IDLE: Duration = Duration::from_secs(20);
/// Credentials are renewed this long before they end.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

impl Settings {
    /// The bucket's id, the same from every node.
    #[must_use]
    pub fn place(&self) -> Uid {
        let named = format!("s3\0{}\0{}\0{}", self.region, self.bucket, self.prefix);
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(named.as_bytes()).bytes()[..16]);
        Uid::from_bytes(id)
    }

    /// A client; no request is made yet.
    ///
    /// # Errors
    /// When an address is none, or there is nowhere to take credentials from.
    pub async fn client(&self, clock: Clock) -> Result<Arc<dyn ObjectStore>> {
        let region = aws_config::Region::new(self.region.to_string());
        let config = aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12()).region(region).load().await;
        let source = config
            .credentials_provider()
            .ok_or_else(|| Error::invalid("blobs", "there are no AWS credentials for the bucket"))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(self.region.as_str())
            .with_credentials(Arc::new(Credentials { source, clock, known: Mutex::new(None) }))
            .with_client_options(ClientOptions::new().with_allow_http(self.endpoint.is_some()))
            .with_retry(RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() })
            .with_http_connector(Connector);
        match &self.endpoint {
            Some(endpoint) => builder = builder.with_endpoint(endpoint.trim_end_matches('/')),
            None => builder = builder.with_virtual_hosted_style_request(true),
        }
        let store = builder.build().map_err(|error| Error::invalid("blobs", error))?;
        Ok(match self.prefix.as_str() {
            "" => Arc::new(store),
            prefix => Arc::new(PrefixStore::new(store, prefix)),
        })
    }
}

/// Credentials of AWS's own chain, kept until shortly before they end.
#[derive(Debug)]
struct Credentials {
    source: SharedCredentialsProvider,
    clock: Clock,
    known: Mutex<Option<(Arc<AwsCredential>, Option<SystemTime>)>>,
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        let soon = UNIX_EPOCH + Duration::from_secs(self.clock.now().secs().unsigned_abs()) + RENEW_BEFORE;
        let fresh = |until: Option<SystemTime>| until.is_none_or(|until| until > soon);
        if let Some((credential, until)) = known.as_ref()
            && fresh(*until)
        {
            return Ok(credential.clone());
        }
        let refused = |source| object_store::Error::Unauthenticated { path: String::new(), source };
        let asked = tokio::time::timeout(ATTEMPT_TIMEOUT, self.source.provide_credentials()).await;
        let given = asked.map_err(|e| refused(e.into()))?.map_err(|e| refused(e.into()))?;
        let credential = Arc::new(AwsCredential {
            key_id: given.access_key_id().to_owned(),
            secret_key: given.secret_access_key().to_owned(),
            token: given.session_token().map(str::to_owned),
        });
        *known = Some((credential.clone(), given.expiry()));
        Ok(credential)
    }
}

/// Makes the one client of a bucket.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build::<_, HttpRequestBody>(tls);
        Ok(HttpClient::new(Bounded(client)))
    }
}

/// A client whose every attempt is bounded in time.
#[derive(Debug)]
struct Bounded(Client<HttpsConnector<Tcp>, HttpRequestBody>);

#[async_trait]
impl HttpService for Bounded {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = tokio::time::timeout(ATTEMPT_TIMEOUT, self.0.request(request)).await;
        let answered = answered.map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))?;
        let response = answered.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        let (parts, body) = response.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use crate::names::Region;

    #[test]
    fn a_bucket_is_the_same_place_from_every_node_and_no_other() {
        let settings = |bucket: &str, prefix: &str, endpoint: Option<&str>| Settings {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: Region::parse("us-east-1").unwrap(),
            endpoint: endpoint.map(str::to_owned),
        };
        let one = settings("images", "", None).place();
        assert_eq!(one, settings("images", "", Some("http://127.0.0.1:9000")).place());
        assert_ne!(one, settings("images", "a", None).place());
        assert_ne!(one, settings("image", "", None).place());
    }
}
