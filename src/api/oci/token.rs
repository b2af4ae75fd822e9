//! The token service beside the registry: a scoped bearer token for who can already prove itself, and for who shows
//! nothing the token of nobody, with which clients pull what is public.
//!
//! SPEC: Docker registry token specification; the scope is an upper bound, permissions are judged at every use.

use crate::api::body::{self, Body};
use crate::ctx::{Ctx, Scope};
use crate::domain::App;
use crate::error::Result;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

pub(super) async fn answer(app: &App, ctx: &Ctx, scopes: &[Scope]) -> Result<Response<Body>> {
    let token = app.scoped_token(ctx, Some(scopes.to_vec())).await?;
    let document = serde_json::json!({
        "token": token.text.expose(),
        "access_token": token.text.expose(),
        "expires_in": token.expires_at.since(ctx.now).as_secs(),
        "issued_at": ctx.now.to_string(),
    });
    let mut response = Response::new(body::full(document.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
