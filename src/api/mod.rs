//! The surfaces: each parses its wire format, makes one call of the domain and renders the outcome.
//!
//! This file decides which surface a request on the shared port belongs to, from its head alone. It does not decide
//! whether the request is any good; that is the surface's part.

pub mod aws;
pub mod body;
mod caller;
pub mod grpc;
pub mod oci;
pub mod service;

use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderName, Method};

const AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// One of the wire formats that share the client port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surface {
    /// gRPC.
    Grpc,
    /// The OCI distribution API with its token service.
    Oci,
    /// AWS JSON 1.1 and AWS query.
    Aws,
    /// Liveness and readiness, without credentials.
    Probe,
}

/// The surface a request is meant for; `None` is a 404 that costs nothing.
#[must_use]
pub fn surface(parts: &Parts) -> Option<Surface> {
    let content = header(parts, &CONTENT_TYPE).to_ascii_lowercase();
    let path = parts.uri.path();
    if parts.method == Method::POST && is_grpc(&content) {
        return Some(Surface::Grpc);
    }
    match path {
        "/livez" | "/readyz" => Some(Surface::Probe),
        "/v2" | "/token" => Some(Surface::Oci),
        "/" if is_aws(parts, &content) => Some(Surface::Aws),
        _ if path.starts_with("/v2/") => Some(Surface::Oci),
        _ => None,
    }
}

/// The host the client asked for, with its port: the URI's authority, else the `Host` header, else nothing.
#[must_use]
pub fn host(parts: &Parts) -> &str {
    parts.uri.authority().map_or_else(|| header(parts, &HOST), http::uri::Authority::as_str)
}

/// SPEC: gRPC over HTTP/2: `application/grpc`, optionally followed by `+` or `;`. `grpc-web` is another protocol.
fn is_grpc(content: &str) -> bool {
    let rest = content.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';', ' ']))
}

/// AWS JSON names its operation in a header; AWS query posts a form, or puts `Action` into the query of a GET.
fn is_aws(parts: &Parts, content: &str) -> bool {
    let query = || parts.uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("Action="));
    let form = content.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded";
    match parts.method {
        Method::POST => parts.headers.contains_key(AMZ_TARGET) || form || query(),
        Method::GET => query(),
        _ => false,
    }
}

fn header<'a>(parts: &'a Parts, name: &HeaderName) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Surface, host, surface};
    use http::Request;
    use http::request::Parts;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_goes_to_the_surface_its_head_names() {
        let grpc = [("content-type", "application/grpc")];
        let proto = [("content-type", "Application/gRPC+proto")];
        let web = [("content-type", "application/grpc-web")];
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let json = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.X"),
        ];
        let cases: [(&str, &str, &[(&str, &str)], Option<Surface>); 19] = [
            ("POST", "/transship.repository.v1.RepositoryService/Get", &grpc, Some(Surface::Grpc)),
            ("POST", "/a/B", &proto, Some(Surface::Grpc)),
            ("POST", "/a/B", &web, None),
            ("GET", "/a/B", &grpc, None),
            ("GET", "/v2/", &[], Some(Surface::Oci)),
            ("GET", "/v2", &[], Some(Surface::Oci)),
            ("PUT", "/v2/111122223333/app/manifests/v1", &[], Some(Surface::Oci)),
            ("GET", "/token?service=x", &[], Some(Surface::Oci)),
            ("GET", "/v2x", &[], None),
            ("GET", "/tokens", &[], None),
            ("POST", "/", &json, Some(Surface::Aws)),
            ("POST", "/", &form, Some(Surface::Aws)),
            ("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", &[], Some(Surface::Aws)),
            ("GET", "/?Version=2011-06-15&Action=GetCallerIdentity", &[], Some(Surface::Aws)),
            ("GET", "/", &[], None),
            ("DELETE", "/?Action=x", &[], None),
            ("POST", "/", &[], None),
            ("GET", "/livez", &[], Some(Surface::Probe)),
            ("GET", "/readyz", &[], Some(Surface::Probe)),
        ];
        for (method, uri, headers, expected) in cases {
            assert_eq!(surface(&parts(method, uri, headers)), expected, "{method} {uri} {headers:?}");
        }
    }

    #[test]
    fn the_authority_goes_before_the_host_header() {
        assert_eq!(host(&parts("GET", "/v2/", &[("host", "a:5000")])), "a:5000");
        assert_eq!(host(&parts("GET", "http://b/v2/", &[("host", "a:5000")])), "b");
        assert_eq!(host(&parts("GET", "/v2/", &[])), "");
    }
}
