//! Blobs over HTTP: GET with ranges, HEAD, DELETE.

use super::range::{self, Wanted};
use super::{Asking, DIGEST, bare, value};
use crate::api::body::{self, Body};
use crate::domain::blobs::Blob;
use crate::domain::trust::Stood;
use crate::error::{Error, Reason, Result};
use crate::names::Digest;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use http::{Response, StatusCode};
use std::ops::Range;

pub(super) async fn get(asking: &Asking<'_>, digest: Digest, stood: Option<Stood>) -> Result<Response<Body>> {
    let blob = asking.app.get_blob(&asking.ctx, &asking.address(), digest, stood).await?;
    let size = blob.size;
    match range::wanted(asking.header(RANGE), size) {
        Wanted::Whole => send(blob, 0..size, StatusCode::OK),
        Wanted::Part(span) => {
            let mut response = send(blob, span.first()..span.last() + 1, StatusCode::PARTIAL_CONTENT)?;
            response.headers_mut().insert(CONTENT_RANGE, value(&span.content_range(size))?);
            Ok(response)
        }
        Wanted::Unsatisfiable => {
            let text = format!("blob {digest} has {size} bytes ({})", range::unsatisfiable(size));
            Err(Error::new(Reason::RangeInvalid, text).with("size", size))
        }
    }
}

pub(super) async fn head(asking: &Asking<'_>, digest: Digest, stood: Option<Stood>) -> Result<Response<Body>> {
    let size = asking.app.head_blob(&asking.ctx, &asking.address(), digest, stood).await?;
    let mut response = bare(StatusCode::OK);
    describe(&mut response, digest, size)?;
    Ok(response)
}

pub(super) async fn delete(asking: &Asking<'_>, digest: Digest) -> Result<Response<Body>> {
    asking.app.delete_blob(&asking.ctx, &asking.address(), digest).await?;
    Ok(bare(StatusCode::ACCEPTED))
}

fn send(blob: Blob, range: Range<u64>, status: StatusCode) -> Result<Response<Body>> {
    let (digest, length) = (blob.digest, range.end - range.start);
    let mut response = Response::new(body::stream(blob.stream(range), length));
    *response.status_mut() = status;
    describe(&mut response, digest, length)?;
    Ok(response)
}

fn describe(response: &mut Response<Body>, digest: Digest, length: u64) -> Result<()> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(DIGEST, value(&digest.to_string())?);
    Ok(())
}
