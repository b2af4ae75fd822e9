//! Manifests over HTTP: GET, HEAD, PUT and DELETE by tag or digest, the list of tags, the list of referrers.

use super::route::Reference as Asked;
use super::{Asking, DIGEST, bare, referrers as index, value};
use crate::api::body::{self, Body};
use crate::domain::images::{Image, Pushed, Reference};
use crate::domain::lists::ReferrersOf;
use crate::domain::manifest::MAX_BYTES;
use crate::domain::trust::Stood;
use crate::error::Result;
use crate::names::{MediaType, PageSize, Tag};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LINK, LOCATION};
use http::{HeaderName, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::NON_ALPHANUMERIC;
use serde_json::value::RawValue;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

impl From<&Asked> for Reference {
    fn from(asked: &Asked) -> Self {
        match asked {
            Asked::Tag(tag) => Self::Tag(tag.clone()),
            Asked::Digest(digest) => Self::Digest(*digest),
        }
    }
}

pub(super) async fn get(asking: &Asking<'_>, reference: &Asked, stood: Option<Stood>) -> Result<Response<Body>> {
    let image = asking.app.get_image(&asking.ctx, &asking.address(), &reference.into(), stood).await?;
    let mut response = Response::new(body::full(image.bytes.clone()));
    describe(&mut response, &image)?;
    Ok(response)
}

pub(super) async fn head(asking: &Asking<'_>, reference: &Asked, stood: Option<Stood>) -> Result<Response<Body>> {
    let image = asking.app.head_image(&asking.ctx, &asking.address(), &reference.into(), stood).await?;
    let mut response = bare(StatusCode::OK);
    describe(&mut response, &image)?;
    Ok(response)
}

pub(super) async fn put(
    asking: &Asking<'_>,
    reference: &Asked,
    tags: &[Tag],
    body: &mut Incoming,
) -> Result<Response<Body>> {
    let (app, ctx, address) = (asking.app, &asking.ctx, asking.address());
    let media_type = asking.header(CONTENT_TYPE).map(media_type).transpose()?;
    app.check_put(ctx, &address, &reference.into(), tags).await?;
    let bytes = body::receive(body, MAX_BYTES, "a manifest").await?;
    let claimed = match reference {
        Asked::Digest(digest) => Some(*digest),
        Asked::Tag(_) => None,
    };
    let put = |reference| app.put_image(ctx, &address, reference, claimed, media_type.clone(), bytes.clone());
    let pushed = put(reference.into()).await?;
    for tag in tags {
        put(Reference::Tag(tag.clone())).await?;
    }
    let mut response = created(asking, &pushed)?;
    for tag in tags {
        response.headers_mut().append(TAG, value(tag.as_str())?);
    }
    Ok(response)
}

pub(super) async fn delete(asking: &Asking<'_>, reference: &Asked) -> Result<Response<Body>> {
    asking.app.delete_image(&asking.ctx, &asking.address(), reference.into()).await?;
    Ok(bare(StatusCode::ACCEPTED))
}

/// SPEC: OCI distribution-spec 1.1, "Listing Tags": lexical order, `Link` while there is more.
pub(super) async fn tags(asking: &Asking<'_>, n: Option<u32>, last: Option<&Tag>) -> Result<Response<Body>> {
    let limit = n.unwrap_or(PageSize::MAX);
    let after = last.map_or("", |tag| tag.as_str());
    let page = asking.app.list_tags(&asking.ctx, &asking.address(), after, limit).await?;
    let name = asking.repository.address(asking.route.host.as_ref());
    let document = serde_json::json!({ "name": name, "tags": page.tags });
    let mut response = Response::new(body::full(document.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(last) = page.tags.last().filter(|_| page.more) {
        link(&mut response, &format!("{}?n={limit}&last={last}", asking.path("tags/list")))?;
    }
    Ok(response)
}

/// SPEC: OCI distribution-spec 1.1, "Listing Referrers".
pub(super) async fn referrers(asking: &Asking<'_>, asked: &ReferrersOf<'_>) -> Result<Response<Body>> {
    let page = asking.app.list_referrers(&asking.ctx, &asking.address(), asked).await?;
    let entries: Vec<index::Entry> = page
        .rows
        .into_iter()
        .map(|row| index::Entry {
            media_type: row.media_type,
            digest: row.digest,
            size: row.size,
            artifact_type: row.artifact_type.and_then(|text| MediaType::parse(&text).ok()),
            annotations: row.annotations.and_then(|text| RawValue::from_string(text).ok()),
        })
        .collect();
    let mut response = index::render(&entries, asked.artifact_type.is_some());
    if let Some(next) = page.next {
        let path = asking.path(&format!("referrers/{}", asked.subject));
        let kind = asked.artifact_type.map_or_else(String::new, |kind| {
            format!("&artifactType={}", percent_encoding::utf8_percent_encode(kind.as_str(), NON_ALPHANUMERIC))
        });
        link(&mut response, &format!("{path}?n={}&last={next}{kind}", asked.limit))?;
    }
    Ok(response)
}

/// SPEC: RFC 5988; where the next page is.
fn link(response: &mut Response<Body>, target: &str) -> Result<()> {
    response.headers_mut().insert(LINK, value(&format!("<{target}>; rel=\"next\""))?);
    Ok(())
}

/// A media type, without the parameters that some clients add.
fn media_type(text: &str) -> Result<MediaType> {
    Ok(MediaType::parse(text.split(';').next().unwrap_or_default().trim())?)
}

fn created(asking: &Asking<'_>, pushed: &Pushed) -> Result<Response<Body>> {
    let mut response = bare(StatusCode::CREATED);
    let headers = response.headers_mut();
    headers.insert(LOCATION, value(&asking.path(&format!("manifests/{}", pushed.digest)))?);
    headers.insert(DIGEST, value(&pushed.digest.to_string())?);
    if let Some(subject) = pushed.subject {
        headers.insert(SUBJECT, value(&subject.to_string())?);
    }
    Ok(response)
}

fn describe(response: &mut Response<Body>, image: &Image) -> Result<()> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(image.media_type.as_str())?);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(image.size));
    headers.insert(DIGEST, value(&image.digest.to_string())?);
    Ok(())
}
