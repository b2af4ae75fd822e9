//! Pushes and pulls image layouts over the OCI distribution API, with a registry password.

use super::layout::{Found, Layout};
use crate::names::{Digest, MediaType};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Digest as _;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a response's head may take; a large blob's last byte is synced before it.
const ANSWER: Duration = Duration::from_secs(120);
/// Bytes of a manifest or an error.
const SMALL: usize = 4 << 20;
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why a push or pull did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry refused.
    #[error("{status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What the registry said.
        message: String,
    },
    /// The bytes are not those of the digest.
    #[error("the bytes received for {wanted} hash to {found}")]
    Digest {
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// The connection or the disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A registry, a repository in it, and a password.
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Body>,
    base: String,
    authorization: String,
}

impl Client {
    /// A client for a repository: `http://host:port` and `<account>/<name>`.
    #[must_use]
    pub fn new(endpoint: &str, repository: &str, password: &str) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        let authorization = format!("Basic {}", STANDARD.encode(format!("AWS:{password}")));
        Self { http, base: format!("{}/v2/{repository}", endpoint.trim_end_matches('/')), authorization }
    }

    /// Pushes a layout's first image under a tag.
    ///
    /// # Errors
    /// When the registry refuses, or the layout cannot be read.
    pub async fn push(&self, layout: &Layout, tag: &str) -> Result<(), Error> {
        let image = layout.image()?;
        self.push_manifest(layout, &image, tag).await
    }

    async fn push_manifest(&self, layout: &Layout, found: &Found, reference: &str) -> Result<(), Error> {
        for child in found.children() {
            let child = layout.manifest(child)?;
            let digest = child.digest.to_string();
            Box::pin(self.push_manifest(layout, &child, &digest)).await?;
        }
        for digest in found.blobs()? {
            self.push_blob(layout, &digest).await?;
        }
        let request = self
            .request(Method::PUT, &format!("{}/manifests/{reference}", self.base))
            .header(CONTENT_TYPE, found.media_type.as_str());
        self.expect(request, full(found.bytes.clone()), StatusCode::CREATED).await?;
        Ok(())
    }

    async fn push_blob(&self, layout: &Layout, digest: &Digest) -> Result<(), Error> {
        let there = self.send(self.request(Method::HEAD, &format!("{}/blobs/{digest}", self.base)), full("")).await?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let start = self.request(Method::POST, &format!("{}/blobs/uploads/", self.base));
        let started = self.expect(start, full(""), StatusCode::ACCEPTED).await?;
        let location = started.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let location = self.absolute(location);
        let file = tokio::fs::File::open(layout.blob(digest)).await?;
        let length = file.metadata().await?.len();
        let joint = if location.contains('?') { '&' } else { '?' };
        let put = self
            .request(Method::PUT, &format!("{location}{joint}digest={digest}"))
            .header(CONTENT_LENGTH, length)
            .header(CONTENT_TYPE, "application/octet-stream");
        self.expect(put, bytes_of(file), StatusCode::CREATED).await?;
        Ok(())
    }

    /// Pulls an image by tag or digest into a new layout; every byte is verified.
    ///
    /// # Errors
    /// When the registry refuses, or what it sends is not what was asked for.
    pub async fn pull(&self, reference: &str, root: &Path) -> Result<Layout, Error> {
        let layout = Layout::create(root)?;
        let (digest, media_type, size) = self.pull_manifest(&layout, reference).await?;
        layout.set_index(&digest, media_type.as_str(), size)?;
        Ok(layout)
    }

    async fn pull_manifest(&self, layout: &Layout, reference: &str) -> Result<(Digest, MediaType, usize), Error> {
        let get = self.request(Method::GET, &format!("{}/manifests/{reference}", self.base)).header(ACCEPT, MANIFESTS);
        let answer = self.expect(get, full(""), StatusCode::OK).await?;
        let media_type =
            answer.headers().get(CONTENT_TYPE).and_then(|value| MediaType::parse(value.to_str().ok()?).ok());
        let media_type = media_type.ok_or_else(|| io::Error::other("the manifest came without a media type"))?;
        let bytes = Limited::new(answer.into_body(), SMALL).collect().await.map_err(io::Error::other)?.to_bytes();
        let digest = layout.put(&bytes)?;
        if let Ok(wanted) = Digest::parse(reference)
            && wanted != digest
        {
            return Err(Error::Digest { wanted, found: digest });
        }
        let descriptor = serde_json::json!({"mediaType": media_type.as_str(), "digest": digest.to_string()});
        let found = layout.manifest(&descriptor)?;
        for child in found.children() {
            let child = child["digest"].as_str().unwrap_or_default().to_owned();
            Box::pin(self.pull_manifest(layout, &child)).await?;
        }
        for blob in found.blobs()? {
            self.pull_blob(layout, blob).await?;
        }
        Ok((digest, media_type, bytes.len()))
    }

    async fn pull_blob(&self, layout: &Layout, wanted: Digest) -> Result<(), Error> {
        let path = layout.blob(&wanted);
        if path.exists() {
            return Ok(());
        }
        let get = self.request(Method::GET, &format!("{}/blobs/{wanted}", self.base));
        let mut body = self.expect(get, full(""), StatusCode::OK).await?.into_body();
        let staged = path.with_extension("new");
        let mut file = tokio::fs::File::create(&staged).await?;
        let mut hash = sha2::Sha256::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(io::Error::other)?;
            if let Some(bytes) = frame.data_ref() {
                hash.update(bytes);
                file.write_all(bytes).await?;
            }
        }
        file.flush().await?;
        let found = Digest::sha256(hash.finalize().into());
        if found != wanted {
            return Err(Error::Digest { wanted, found });
        }
        Ok(tokio::fs::rename(staged, path).await?)
    }

    /// Whether an image is there.
    ///
    /// # Errors
    /// When the registry refuses for another reason than that it is not.
    pub async fn exists(&self, reference: &str) -> Result<bool, Error> {
        let head =
            self.request(Method::HEAD, &format!("{}/manifests/{reference}", self.base)).header(ACCEPT, MANIFESTS);
        match self.send(head, full("")).await?.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(Error::Refused { status, message: String::new() }),
        }
    }

    fn absolute(&self, location: &str) -> String {
        if location.starts_with("http") {
            return location.to_owned();
        }
        let host = self.base.split("/v2/").next().unwrap_or_default();
        format!("{host}{location}")
    }

    fn request(&self, method: Method, uri: &str) -> http::request::Builder {
        Request::builder().method(method).uri(uri).header(AUTHORIZATION, &self.authorization)
    }

    async fn send(&self, request: http::request::Builder, body: Body) -> Result<Response<Incoming>, Error> {
        let request = request.body(body).map_err(io::Error::other)?;
        let answer = tokio::time::timeout(ANSWER, self.http.request(request)).await;
        let answer = answer.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the registry did not answer"))?;
        Ok(answer.map_err(io::Error::other)?)
    }

    async fn expect(
        &self,
        request: http::request::Builder,
        body: Body,
        wanted: StatusCode,
    ) -> Result<Response<Incoming>, Error> {
        let answer = self.send(request, body).await?;
        let status = answer.status();
        if status == wanted {
            return Ok(answer);
        }
        let body = Limited::new(answer.into_body(), SMALL).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let message = document["errors"][0]["message"].as_str().map_or(text, ToOwned::to_owned);
        Err(Error::Refused { status, message })
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A file's bytes, a megabyte at a time.
fn bytes_of(file: tokio::fs::File) -> Body {
    let pieces = stream::unfold(file, |mut file| async move {
        let mut buffer = bytes::BytesMut::with_capacity(1 << 20);
        match file.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(buffer.freeze()), file)),
            Err(error) => Some((Err(error), file)),
        }
    });
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}
