//! Uploads over HTTP: POST, PATCH, PUT, GET and DELETE of a session.

use super::route::Start;
use super::{Asking, DIGEST, UPLOAD_ID, bare, range, value};
use crate::api::body::Body;
use crate::domain::uploads::Started;
use crate::error::{Error, Reason, Result};
use crate::names::{Algorithm, Digest, Uid};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::{Response, StatusCode};
use http_body_util::BodyStream;
use hyper::body::Incoming;

pub(super) async fn start(asking: &Asking<'_>, start: &Start, body: &mut Incoming) -> Result<Response<Body>> {
    let (ctx, address) = (&asking.ctx, asking.address());
    let mount = match start {
        Start::Mount { digest, from } => Some((*digest, from.as_ref().map(|from| asking.beside(from)))),
        Start::Session { .. } | Start::Whole { .. } => None,
    };
    let named = match start {
        Start::Session { algorithm } => algorithm.unwrap_or(Algorithm::Sha256),
        Start::Whole { digest } | Start::Mount { digest, .. } => digest.algorithm(),
    };
    let upload = match asking.app.start_upload(ctx, &address, named, mount).await? {
        Started::Mounted(digest) => return created(asking, digest),
        Started::Upload(upload) => upload,
    };
    match start {
        Start::Whole { digest } => {
            asking.app.finish_upload(ctx, &address, upload, None, bytes(body), *digest).await?;
            created(asking, *digest)
        }
        Start::Session { .. } | Start::Mount { .. } => accepted(asking, upload, 0, StatusCode::ACCEPTED),
    }
}

pub(super) async fn status(asking: &Asking<'_>, upload: Uid) -> Result<Response<Body>> {
    let held = asking.app.upload_offset(&asking.ctx, &asking.address(), upload).await?;
    accepted(asking, upload, held, StatusCode::NO_CONTENT)
}

pub(super) async fn patch(asking: &Asking<'_>, upload: Uid, body: &mut Incoming) -> Result<Response<Body>> {
    let from = first_byte(asking)?;
    let held = asking.app.append_upload(&asking.ctx, &asking.address(), upload, from, bytes(body)).await?;
    accepted(asking, upload, held, StatusCode::ACCEPTED)
}

pub(super) async fn put(
    asking: &Asking<'_>,
    upload: Uid,
    digest: Digest,
    body: &mut Incoming,
) -> Result<Response<Body>> {
    let from = first_byte(asking)?;
    asking.app.finish_upload(&asking.ctx, &asking.address(), upload, from, bytes(body), digest).await?;
    created(asking, digest)
}

pub(super) async fn cancel(asking: &Asking<'_>, upload: Uid) -> Result<Response<Body>> {
    asking.app.cancel_upload(&asking.ctx, &asking.address(), upload).await?;
    Ok(bare(StatusCode::NO_CONTENT))
}

/// Where the chunk says it begins, if it says so. A chunk that is not as long as its range is in no place.
fn first_byte(asking: &Asking<'_>) -> Result<Option<u64>> {
    let Some(text) = asking.header(CONTENT_RANGE) else { return Ok(None) };
    let span = range::chunk(text)?;
    let length = asking.header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if let Some(length) = length.filter(|length| *length != span.len()) {
        let text = format!("Content-Range {text} is {} bytes, but Content-Length is {length}", span.len());
        return Err(Error::new(Reason::RangeInvalid, text).with("field", "Content-Range"));
    }
    Ok(Some(span.first()))
}

fn created(asking: &Asking<'_>, digest: Digest) -> Result<Response<Body>> {
    let mut response = bare(StatusCode::CREATED);
    response.headers_mut().insert(LOCATION, value(&asking.path(&format!("blobs/{digest}")))?);
    response.headers_mut().insert(DIGEST, value(&digest.to_string())?);
    Ok(response)
}

fn accepted(asking: &Asking<'_>, upload: Uid, held: u64, status: StatusCode) -> Result<Response<Body>> {
    let mut response = bare(status);
    let headers = response.headers_mut();
    headers.insert(LOCATION, value(&asking.path(&format!("blobs/uploads/{upload}")))?);
    headers.insert(RANGE, value(&range::held(held))?);
    headers.insert(UPLOAD_ID, value(&upload.to_string())?);
    Ok(response)
}

/// A request's body as the domain takes it: what ends early is an error, not an end.
fn bytes(body: &mut Incoming) -> impl Stream<Item = Result<Bytes>> + Send + Unpin + '_ {
    BodyStream::new(body).filter_map(|frame| {
        let bytes = match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => {
                let text = "the body ended before its length; go on from the upload's offset";
                Some(Err(Error::new(Reason::Truncated, text).because(error)))
            }
        };
        std::future::ready(bytes)
    })
}
