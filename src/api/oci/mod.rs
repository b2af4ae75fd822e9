//! The OCI distribution API: a request becomes a [`Route`](route::Route), the route one call of the domain, the
//! outcome an answer.
//!
//! The route is read before anybody is authenticated, so an unknown path costs nothing; every answer carries the
//! request's id, every refusal for want of credentials its challenge.

mod address;
mod blobs;
pub mod error;
mod manifests;
pub mod query;
pub mod range;
pub mod referrers;
pub mod route;
mod scope;
mod token;
mod uploads;

use super::body::{self, Body};
use super::caller;
use crate::ctx::{Caller, Ctx};
use crate::domain::App;
use crate::domain::lists::ReferrersOf;
use crate::error::{Error, Reason, Result};
use crate::names::{PageSize, RepositoryRef};
use address::Repository;
use error::{Asked, Challenge};
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use route::{Action, Call, Route};
use std::sync::Arc;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// A request whose caller is known.
struct Asking<'a> {
    app: &'a Arc<App>,
    ctx: Ctx,
    route: &'a Route,
    repository: Repository,
    headers: HeaderMap,
}

impl Asking<'_> {
    /// The repository's full address in this region.
    fn address(&self) -> RepositoryRef {
        self.beside(&self.repository)
    }

    /// Another repository of this region.
    fn beside(&self, repository: &Repository) -> RepositoryRef {
        let region = self.ctx.region.clone();
        RepositoryRef { account: repository.account, region, name: repository.name.clone() }
    }

    /// A path below the repository, as the client addressed it.
    fn path(&self, below: &str) -> String {
        format!("/v2/{}/{below}", self.repository.address(self.route.host.as_ref()))
    }

    fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Answers a request of the OCI surface.
pub async fn handle(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let (parts, mut incoming) = request.into_parts();
    let host = super::host(&parts).to_owned();
    let mut ctx = caller::context(app, &parts.headers, &parts.extensions);
    let (request_id, secure, head) = (ctx.request_id, ctx.secure, parts.method == Method::HEAD);
    let parsed = route::parse(&parts.method, &parts.uri, &host);
    let scope = parsed.as_ref().ok().and_then(Route::scope);
    let waits = parts.headers.contains_key(EXPECT);
    let answered = match parsed {
        Ok(route) => answer(app, &mut ctx, &route, parts.headers, &mut incoming).await,
        Err(error) => Err(error.into()),
    };
    let reusable = answered.is_ok() || body::drained(&mut incoming, waits).await;
    let mut response = answered.unwrap_or_else(|error| {
        let error = unproven(&ctx, error);
        let spoiled = match (error.reason, &ctx.caller) {
            (Reason::ScopeInsufficient, _) => Some("insufficient_scope"),
            (Reason::CallerUnknown, Caller::Anonymous) => None,
            _ => Some("invalid_token"),
        };
        let challenge = Challenge::for_host(&host, secure, scope, spoiled);
        caller::log(&ctx, &error);
        error::render(&error, &Asked { head, request_id, challenge: &challenge })
    });
    error::identify(response.headers_mut(), request_id);
    if !reusable && parts.version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(
    app: &Arc<App>,
    ctx: &mut Ctx,
    route: &Route,
    headers: HeaderMap,
    body: &mut Incoming,
) -> Result<Response<Body>> {
    check_region(ctx, route)?;
    let (caller, stood) = caller::of_registry(app, ctx, route.call.op(), &headers).await?;
    ctx.caller = caller;
    // Only what is one read goes on with its snapshot; anything else would keep a connection while it waits for others.
    let stood = stood.filter(|_| route.call.is_one_read());
    let (repository, action) = match &route.call {
        Call::Ping => return ping(app, ctx).await,
        Call::Token { scopes } => return token::answer(app, ctx, scopes).await,
        Call::Catalog => {
            return Err(Error::new(Reason::Unsupported, "list repositories over the API, an account at a time"));
        }
        Call::Repository(repository, action) => (repository, action),
    };
    let asking = Asking { app, ctx: ctx.clone(), route, repository: repository.clone(), headers };
    match action {
        Action::BlobGet { digest } => blobs::get(&asking, *digest, stood).await,
        Action::BlobHead { digest } => blobs::head(&asking, *digest, stood).await,
        Action::BlobDelete { digest } => blobs::delete(&asking, *digest).await,
        Action::UploadStart(start) => uploads::start(&asking, start, body).await,
        Action::UploadStatus { upload } => uploads::status(&asking, *upload).await,
        Action::UploadPatch { upload } => uploads::patch(&asking, *upload, body).await,
        Action::UploadPut { upload, digest } => uploads::put(&asking, *upload, *digest, body).await,
        Action::UploadCancel { upload } => uploads::cancel(&asking, *upload).await,
        Action::ManifestGet { reference } => manifests::get(&asking, reference, stood).await,
        Action::ManifestHead { reference } => manifests::head(&asking, reference, stood).await,
        Action::ManifestPut { reference, tags } => manifests::put(&asking, reference, tags, body).await,
        Action::ManifestDelete { reference } => manifests::delete(&asking, reference).await,
        Action::Tags { n, last } => manifests::tags(&asking, *n, last.as_ref()).await,
        Action::Referrers { digest, artifact_type, n, last } => {
            let asked = ReferrersOf {
                subject: *digest,
                artifact_type: artifact_type.as_ref(),
                after: *last,
                limit: n.unwrap_or(PageSize::MAX),
            };
            manifests::referrers(&asking, &asked).await
        }
    }
}

/// Who has not said who it is, is asked to before it is refused.
fn unproven(ctx: &Ctx, error: Error) -> Error {
    match (&ctx.caller, error.reason) {
        (Caller::Anonymous, Reason::AccessDenied) => log_in(),
        _ => error,
    }
}

fn log_in() -> Error {
    Error::new(Reason::CallerUnknown, "log in first: user AWS with a registry password")
}

/// A request under another region's name is sent there.
fn check_region(ctx: &Ctx, route: &Route) -> Result<()> {
    match &route.host {
        Some(host) if host.region != ctx.region => {
            let text =
                format!("this is region {}; the registry of {host} is served by region {}", ctx.region, host.region);
            Err(Error::new(Reason::WrongRegion, text).with("region", &host.region))
        }
        Some(_) | None => Ok(()),
    }
}

/// SPEC: OCI distribution-spec 1.1, "Determining Support"; clients learn here whether they must log in.
async fn ping(app: &App, ctx: &Ctx) -> Result<Response<Body>> {
    // Every client begins by asking without credentials: that is no refusal, and nothing to audit.
    if matches!(ctx.caller, Caller::Anonymous) {
        return Err(log_in());
    }
    app.caller_identity(ctx).await?;
    let mut response = Response::new(body::full("{}"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// An answer without a body.
fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}

/// A header value made of our own parts.
fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(Error::internal)
}
