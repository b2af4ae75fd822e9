//! The AWS wire: JSON 1.1 for `ecr`, query and XML for `sts`, both signed with Signature Version 4, all at `/`.
//!
//! The operation is read from the head (`X-Amz-Target`) or the parameters (`Action`) before anybody is authenticated, so
//! that a refusal is audited under it. What was signed is what is read: the parameters are those whose text was hashed.
//!
//! SPEC: AWS JSON 1.1 and AWS query protocols of Smithy; the Amazon ECR API and AWS STS API references.

mod ecr;
mod error;
mod sts;
mod tree;

use super::body::{self, Body};
use super::caller;
use crate::ctx::{Caller, Ctx};
use crate::domain::App;
use crate::error::{Error, Reason, Result};
use crate::identity::canonical::{Payload, form_pairs, query_pairs, sha256};
use crate::identity::sigv4::{self, chunked};
use crate::ops::Op;
use error::Dialect;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// What the target of Amazon ECR begins with.
const ECR: &str = "AmazonEC2ContainerRegistry_V20150921.";
/// Bytes of a request's body: a policy document is 10 KiB, a web identity token 20 KB.
const BODY_MAX: usize = 1 << 20;

/// Every operation that is offered, with its service's name for signing.
#[must_use]
pub fn operations() -> Vec<(&'static str, &'static str)> {
    let ecr = ecr::Call::ALL.iter().map(|call| ("ecr", call.name()));
    ecr.chain(sts::Call::ALL.iter().map(|call| ("sts", call.name()))).collect()
}

/// A request that was received whole.
struct Received<'a> {
    parts: &'a Parts,
    /// Its content.
    bytes: &'a [u8],
    /// What of its body is signed.
    payload: Payload<'a>,
}

/// A request whose caller is known.
struct Asking<'a> {
    app: &'a App,
    ctx: Ctx,
}

/// Answers a request of the AWS wire.
pub(super) async fn handle(app: &App, request: Request<Incoming>) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let ctx = caller::context(app, &parts.headers, &parts.extensions);
    let dialect = if parts.headers.contains_key(TARGET) { Dialect::Json } else { Dialect::of_query(&parts.headers) };
    let outcome = async {
        let bytes = body::receive(&mut body, BODY_MAX, "a request").await?;
        let chunked = chunked::read(&parts.headers, &bytes);
        let (bytes, payload) = match &chunked {
            Some((content, chunks)) => (content.as_slice(), Payload::Chunked(chunks)),
            None => (bytes.as_ref(), Payload::Whole(sha256(&bytes))),
        };
        let received = Received { parts: &parts, bytes, payload };
        match dialect {
            Dialect::Json => ecr(app, &ctx, &received).await,
            Dialect::QueryXml | Dialect::QueryJson => sts(app, &ctx, &received, dialect).await,
        }
    };
    let mut response = outcome.await.unwrap_or_else(|error| {
        caller::log(&ctx, &error);
        error::render(&error, dialect, ctx.request_id)
    });
    if let Ok(id) = HeaderValue::from_str(&ctx.request_id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn ecr(app: &App, ctx: &Ctx, received: &Received<'_>) -> Result<Response<Body>> {
    let target = received.parts.headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
    let call = target.strip_prefix(ECR).and_then(ecr::Call::named).ok_or_else(|| unknown(target))?;
    let caller = signed(app, ctx, call.op(), received, "ecr").await?;
    let asking = Asking { app, ctx: Ctx { caller, ..ctx.clone() } };
    let document = call.answer(&asking, received.bytes).await.map_err(|error| error.with("operation", call.name()))?;
    Ok(answer(document.to_string(), "application/x-amz-json-1.1"))
}

async fn sts(app: &App, ctx: &Ctx, received: &Received<'_>, dialect: Dialect) -> Result<Response<Body>> {
    let parameters = parameters(received.parts, received.bytes)?;
    let action = parameters.text("Action").unwrap_or_default();
    let call = sts::Call::named(action).ok_or_else(|| unknown(action))?;
    let caller = match call.is_unsigned() {
        true => Caller::Anonymous,
        false => signed(app, ctx, call.op(), received, "sts").await?,
    };
    let asking = Asking { app, ctx: Ctx { caller, ..ctx.clone() } };
    let result = call.answer(&asking, &parameters).await?;
    let (text, media_type) = match dialect {
        Dialect::QueryJson => (tree::json(call.name(), &result, ctx.request_id), "application/json"),
        Dialect::QueryXml | Dialect::Json => (tree::xml(call.name(), &result, ctx.request_id), "text/xml"),
    };
    Ok(answer(text, media_type))
}

/// The caller by the signature over what was received.
async fn signed(app: &App, ctx: &Ctx, op: Op, received: &Received<'_>, service: &'static str) -> Result<Caller> {
    let Parts { method, uri, headers, .. } = received.parts;
    let request = sigv4::Request { method, uri, headers, payload: received.payload };
    app.identify_signed(ctx, op, &request, service).await
}

/// The parameters of a query request: those of the form, or for a GET those of the URL, without the signature's own.
fn parameters(parts: &Parts, bytes: &[u8]) -> Result<Parameters> {
    let mut pairs = query_pairs(parts.uri.query().unwrap_or_default())?;
    if parts.method == Method::POST {
        let form = std::str::from_utf8(bytes).map_err(|_| Error::invalid("body", "a form in UTF-8"))?;
        pairs.extend(form_pairs(form)?);
    }
    pairs.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("x-amz-"));
    Parameters::new(pairs)
}

/// Parameters by name; each at most once, however it is spelled.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn new(pairs: Vec<(String, String)>) -> Result<Self> {
        let mut names: Vec<String> = pairs.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid("parameters", format!("{} is given more than once", twice[0])));
        }
        Ok(Self(pairs))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How many parameters are sent of a list; an empty one is sent as its name alone.
    fn members(&self, list: &str) -> usize {
        let of = |name: &str| name.strip_prefix(list).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.0.iter().filter(|(name, value)| of(name) && !(name == list && value.is_empty())).count()
    }

    /// Refuses what is asked for in vain: a parameter that is left out in silence could have taken rights away.
    fn only(&self, known: &[&str]) -> Result<()> {
        let known = |name: &str| {
            ["Action", "Version"].contains(&name) || known.contains(&name.split('.').next().unwrap_or_default())
        };
        match self.0.iter().find(|(name, _)| !known(name)) {
            None => Ok(()),
            Some((name, _)) => Err(Error::invalid("parameters", format!("{name} is not supported by this operation"))),
        }
    }
}

fn unknown(named: &str) -> Error {
    let named: String = named.chars().take(80).collect();
    Error::new(Reason::Unsupported, format!("the operation {named:?} is not known here")).with("unknown", "true")
}

fn answer(text: String, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::Parameters;

    #[test]
    fn a_parameter_that_is_given_twice_in_any_spelling_is_refused() {
        let pairs = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        assert!(Parameters::new(pairs(&["Action", "Version", "Tags.member.1.Key", "Tags.member.2.Key"])).is_ok());
        for twice in [["Action", "Action"], ["Action", "action"], ["Tags.member.1.Key", "tags.member.1.key"]] {
            assert!(Parameters::new(pairs(&twice)).is_err(), "{twice:?}");
        }
    }

    #[test]
    fn what_an_operation_does_not_know_is_refused_by_name() {
        let parameters = Parameters::new(vec![("Tags.member.1.Key".to_owned(), "a".to_owned())]).unwrap();
        assert!(parameters.only(&["Tags"]).is_ok());
        assert!(parameters.only(&["RoleArn"]).unwrap_err().message.contains("Tags.member.1.Key"));
    }
}
