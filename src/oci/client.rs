//! Pushes and pulls image layouts over the OCI distribution API, with a registry password.
//!
//! The password goes to the endpoint and nowhere else. Of a blob no more is taken than its descriptor says, and what is not
//! the blob that was asked for is not left on disk.

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
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a response's head may take after the request's last byte: a large blob is synced before it.
const ANSWER: Duration = Duration::from_secs(120);
/// How long the next bytes of a body may take.
const PAUSE: Duration = Duration::from_secs(60);
/// The slowest way to a registry on which an upload is not given up.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;
/// Bytes of a manifest or an error.
const SMALL: usize = 4 << 20;
/// How deep indexes may nest.
const DEPTH_MAX: usize = 8;
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
        wanted: Box<Digest>,
        /// What came.
        found: Box<Digest>,
    },
    /// The registry said something that has no meaning here, or that is not followed.
    #[error("the registry's answer cannot be used: {0}")]
    Answer(String),
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
        self.expect(request, full(found.bytes.clone()), 0, StatusCode::CREATED).await?;
        Ok(())
    }

    async fn push_blob(&self, layout: &Layout, digest: &Digest) -> Result<(), Error> {
        let head = self.request(Method::HEAD, &format!("{}/blobs/{digest}", self.base));
        let there = self.send(head, full(""), 0).await?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let start = self.request(Method::POST, &format!("{}/blobs/uploads/", self.base));
        let started = self.expect(start, full(""), 0, StatusCode::ACCEPTED).await?;
        let location = started.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let location = self.absolute(location)?;
        let file = tokio::fs::File::open(layout.blob(digest)).await?;
        let length = file.metadata().await?.len();
        let joint = if location.contains('?') { '&' } else { '?' };
        let put = self
            .request(Method::PUT, &format!("{location}{joint}digest={digest}"))
            .header(CONTENT_LENGTH, length)
            .header(CONTENT_TYPE, "application/octet-stream");
        self.expect(put, bytes_of(file), length, StatusCode::CREATED).await?;
        Ok(())
    }

    /// Pulls an image by tag or digest into a new layout; every byte is verified.
    ///
    /// # Errors
    /// When the registry refuses, or what it sends is not what was asked for.
    pub async fn pull(&self, reference: &str, root: &Path) -> Result<Layout, Error> {
        let layout = Layout::create(root)?;
        let (digest, media_type, size) = self.pull_manifest(&layout, reference, DEPTH_MAX).await?;
        layout.set_index(&digest, media_type.as_str(), size)?;
        Ok(layout)
    }

    async fn pull_manifest(
        &self,
        layout: &Layout,
        reference: &str,
        depth: usize,
    ) -> Result<(Digest, MediaType, usize), Error> {
        let depth = depth.checked_sub(1).ok_or_else(|| Error::Answer(format!("{DEPTH_MAX} indexes in each other")))?;
        let get = self.request(Method::GET, &format!("{}/manifests/{reference}", self.base)).header(ACCEPT, MANIFESTS);
        let answer = self.expect(get, full(""), 0, StatusCode::OK).await?;
        let media_type =
            answer.headers().get(CONTENT_TYPE).and_then(|value| MediaType::parse(value.to_str().ok()?).ok());
        let media_type = media_type.ok_or_else(|| io::Error::other("the manifest came without a media type"))?;
        let bytes = small(answer).await?;
        let digest = layout.put(&bytes)?;
        if let Ok(wanted) = Digest::parse(reference)
            && wanted != digest
        {
            return Err(Error::Digest { wanted: Box::new(wanted), found: Box::new(digest) });
        }
        let descriptor = serde_json::json!({"mediaType": media_type.as_str(), "digest": digest.to_string()});
        let found = layout.manifest(&descriptor)?;
        for child in found.children() {
            let child = child["digest"].as_str().unwrap_or_default().to_owned();
            Box::pin(self.pull_manifest(layout, &child, depth)).await?;
        }
        for (blob, size) in found.sized_blobs()? {
            self.pull_blob(layout, blob, size).await?;
        }
        Ok((digest, media_type, bytes.len()))
    }

    async fn pull_blob(&self, layout: &Layout, wanted: Digest, size: u64) -> Result<(), Error> {
        let path = layout.blob(&wanted);
        if path.exists() {
            return Ok(());
        }
        let get = self.request(Method::GET, &format!("{}/blobs/{wanted}", self.base));
        let mut body = self.expect(get, full(""), 0, StatusCode::OK).await?.into_body();
        let staged = Staged(path.with_extension("new"));
        let mut file = tokio::fs::File::create(&staged.0).await?;
        let (mut hash, mut left) = (sha2::Sha256::new(), size);
        while let Some(frame) = timely(PAUSE, body.frame()).await? {
            let frame = frame.map_err(io::Error::other)?;
            if let Some(bytes) = frame.data_ref() {
                left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                    Error::Answer(format!("{wanted} has more than the {size} bytes of its descriptor"))
                })?;
                hash.update(bytes);
                file.write_all(bytes).await?;
            }
        }
        file.flush().await?;
        let found = Digest::sha256(hash.finalize().into());
        if found != wanted {
            return Err(Error::Digest { wanted: Box::new(wanted), found: Box::new(found) });
        }
        Ok(tokio::fs::rename(&staged.0, path).await?)
    }

    /// Whether an image is there.
    ///
    /// # Errors
    /// When the registry refuses for another reason than that it is not.
    pub async fn exists(&self, reference: &str) -> Result<bool, Error> {
        let head =
            self.request(Method::HEAD, &format!("{}/manifests/{reference}", self.base)).header(ACCEPT, MANIFESTS);
        match self.send(head, full(""), 0).await?.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(Error::Refused { status, message: String::new() }),
        }
    }

    /// Where an upload goes on: a path, or a URL of the endpoint's own host.
    fn absolute(&self, location: &str) -> Result<String, Error> {
        let endpoint = self.base.split("/v2/").next().unwrap_or_default();
        // A path of two slashes would name another host.
        let path = location.strip_prefix(endpoint).unwrap_or(location);
        if path.starts_with('/') && !path.starts_with("//") {
            return Ok(format!("{endpoint}{path}"));
        }
        Err(Error::Answer(format!("an upload is to go on at {location:?}, which is not at {endpoint}")))
    }

    fn request(&self, method: Method, uri: &str) -> http::request::Builder {
        Request::builder().method(method).uri(uri).header(AUTHORIZATION, &self.authorization)
    }

    /// Sends a body of so many bytes and waits for the response's head.
    async fn send(&self, request: http::request::Builder, body: Body, bytes: u64) -> Result<Response<Incoming>, Error> {
        let request = request.body(body).map_err(io::Error::other)?;
        let limit = ANSWER + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        Ok(timely(limit, self.http.request(request)).await?.map_err(io::Error::other)?)
    }

    async fn expect(
        &self,
        request: http::request::Builder,
        body: Body,
        bytes: u64,
        wanted: StatusCode,
    ) -> Result<Response<Incoming>, Error> {
        let answer = self.send(request, body, bytes).await?;
        let status = answer.status();
        if status == wanted {
            return Ok(answer);
        }
        // The status alone says it, if the words do not come.
        let text = small(answer).await.map(|body| String::from_utf8_lossy(&body).into_owned()).unwrap_or_default();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let message = document["errors"][0]["message"].as_str().map_or(text, ToOwned::to_owned);
        Err(Error::Refused { status, message })
    }
}

/// A blob on its way to its name; what has not got there goes.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // A blob that arrived has left this name.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn timely<T>(limit: Duration, wait: impl Future<Output = T>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the registry did not answer");
    tokio::time::timeout(limit, wait).await.map_err(late)
}

/// The whole of a body that is small.
async fn small(answer: Response<Incoming>) -> Result<Bytes, Error> {
    let body = timely(PAUSE, Limited::new(answer.into_body(), SMALL).collect()).await?;
    Ok(body.map_err(io::Error::other)?.to_bytes())
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

#[cfg(test)]
mod tests {
    use super::{Client, Error, Layout};
    use crate::names::Digest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    /// A registry that gives these answers, one for each connection, and tells the heads of the requests.
    async fn scripted(answers: Vec<Vec<u8>>) -> (Client, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(&answer).await.unwrap();
                heads.push(String::from_utf8(head).unwrap().to_ascii_lowercase());
            }
            heads
        });
        (Client::new(&endpoint, "1/a", "pw"), served)
    }

    fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_blob_that_is_another_or_larger_is_refused_and_nothing_is_kept() {
        let answers = [&b"right"[..], b"wrong", b"right!"].map(|body| response("200 OK", "", body));
        let (client, _) = scripted(answers.to_vec()).await;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let (wanted, blobs) = (Digest::of(b"right"), folder.path().join("blobs/sha256"));
        client.pull_blob(&layout, wanted, 5).await.unwrap();
        std::fs::remove_file(layout.blob(&wanted)).unwrap();
        let error = client.pull_blob(&layout, wanted, 5).await.unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        let error = client.pull_blob(&layout, wanted, 5).await.unwrap_err();
        assert!(matches!(error, Error::Answer(_)), "{error}");
        assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_upload_goes_on_at_the_endpoint_and_nowhere_else() {
        for (location, followed) in [
            ("/v2/1/a/blobs/uploads/u?s=1", true),
            ("http://elsewhere/upload", false),
            ("//elsewhere/upload", false),
            ("upload", false),
            ("", false),
        ] {
            let started = response("202 Accepted", &format!("Location: {location}\r\n"), b"");
            let mut answers = vec![response("404 Not Found", "", b""), started];
            if followed {
                answers.push(response("201 Created", "", b""));
            }
            let (client, served) = scripted(answers).await;
            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::create(folder.path()).unwrap();
            let pushed = client.push_blob(&layout, &layout.put(b"bytes").unwrap()).await;
            let heads = served.await.unwrap();
            assert!(heads[0].contains("authorization: basic qvdtonb3"), "{heads:?}");
            match pushed {
                Ok(()) => {
                    assert!(followed && heads[2].starts_with("put /v2/1/a/blobs/uploads/u?s=1&digest="), "{heads:?}")
                }
                Err(error) => assert!(!followed && matches!(error, Error::Answer(_)), "{location}: {error}"),
            }
        }
        let client = Client::new("http://127.0.0.1:80", "1/a", "pw");
        assert_eq!(client.absolute("http://127.0.0.1:80/x").unwrap(), "http://127.0.0.1:80/x");
        assert!(client.absolute("http://127.0.0.1:8080/x").is_err(), "another port is another host");
        assert!(client.absolute("http://127.0.0.1:80@elsewhere/x").is_err());
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_registrys_words() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"log in first"}]}"#;
        let (client, _) = scripted(vec![response("401 Unauthorized", "", body)]).await;
        let folder = tempfile::tempdir().unwrap();
        let error = client.pull("v1", folder.path()).await.unwrap_err();
        assert_eq!(error.to_string(), "401 Unauthorized: log in first");
    }
}
