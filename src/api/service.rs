//! The services behind the two ports: everything clients may ask on one, replication between regions on the other.

use super::body::{self, Body};
use super::{Surface, aws, oci, surface};
use crate::domain::App;
use crate::error::Error;
use crate::pb::replication::transport_service_server::TransportServiceServer;
use crate::peer::Transport;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::service::Routes;
use tower::Service;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer that is being made.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What clients may ask: gRPC, the OCI API, the probes.
#[derive(Clone)]
pub struct Clients {
    app: Arc<App>,
    grpc: Routes,
}

impl Clients {
    /// The service with these gRPC routes.
    #[must_use]
    pub fn new(app: Arc<App>, grpc: Routes) -> Self {
        Self { app, grpc }
    }
}

impl Service<Request<Incoming>> for Clients {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answering {
        let (parts, body) = request.into_parts();
        let surface = surface(&parts);
        let request = Request::from_parts(parts, body);
        let app = self.app.clone();
        if let Some(Surface::Grpc) = surface {
            let grpc = self.grpc.clone();
            return Box::pin(async move { Ok(identified(&app, routed(grpc, request).await)) });
        }
        Box::pin(async move {
            Ok(match surface {
                Some(Surface::Oci) => oci::handle(&app, request).await,
                Some(Surface::Probe) => probe(&app, request.uri().path()),
                Some(Surface::Aws) => aws::handle(&app, request).await,
                Some(Surface::Grpc) | None => bare(StatusCode::NOT_FOUND),
            })
        })
    }
}

/// What peers may ask: replication, and nothing else.
#[derive(Clone)]
pub struct PeersOnly(Routes);

impl PeersOnly {
    /// The service around the transport.
    #[must_use]
    pub fn new(transport: TransportServiceServer<Transport>) -> Self {
        Self(Routes::new(transport))
    }
}

impl Service<Request<Incoming>> for PeersOnly {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answering {
        let routes = self.0.clone();
        Box::pin(async move { Ok(routed(routes, request).await) })
    }
}

async fn routed(mut routes: Routes, request: Request<Incoming>) -> Response<Body> {
    match routes.call(request).await {
        Ok(response) => response.map(|body| body.map_err(Error::internal).boxed_unsync()),
        Err(never) => match never {},
    }
}

/// What was refused before it came to a service, such as an unknown method, has an id too.
fn identified(app: &App, mut response: Response<Body>) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(&app.clock().uid().to_string()) {
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
    }
    response
}

/// Alive is the process; what it takes to be ready, the domain says.
fn probe(app: &App, path: &str) -> Response<Body> {
    let ready = if path == "/livez" { Ok(()) } else { app.ready() };
    match ready {
        Ok(()) => Response::new(body::full("ok\n")),
        Err(error) => {
            let mut response = Response::new(body::full(format!("{}\n", error.message)));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}
