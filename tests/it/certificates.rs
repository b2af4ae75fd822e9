//! Whose certificate opens the peer port, and whose answer a region believes.

use crate::harness::{Authority, Organization, Region, eventually};
use crate::replication::carry;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use transship::clock::Clock;
use transship::pb::replication as pb;
use transship::pb::replication::transport_service_client::TransportServiceClient;

/// Certificate and key, PEM.
type Pair = (String, String);

fn far() -> time::OffsetDateTime {
    rcgen::date_time_ymd(2100, 1, 1)
}

/// A region's own certificate and key.
pub fn own(region: &Region) -> Pair {
    let read = |name: &str| std::fs::read_to_string(region.folder.path().join(name)).unwrap();
    (read("region.pem"), read("region.key.pem"))
}

fn roots(ca: &str) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    roots
}

fn parsed((certificate, key): &Pair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

/// The transport service of a region for a client with this certificate, which knows the server by this root.
pub async fn transport(region: &Region, ca: &str, pair: &Pair) -> Result<TransportServiceClient<Channel>, String> {
    let (chain, key) = parsed(pair);
    let config = rustls::ClientConfig::builder().with_root_certificates(roots(ca));
    dial(region, config.with_client_auth_cert(chain, key).unwrap()).await
}

async fn dial(region: &Region, config: rustls::ClientConfig) -> Result<TransportServiceClient<Channel>, String> {
    let (address, name, config) = (region.server.peer_address().unwrap(), server_name(region), alpn(config));
    let connector = tower::service_fn(move |_: Uri| {
        let (name, config) = (name.clone(), config.clone());
        async move {
            let socket = TcpStream::connect(address).await?;
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, socket).await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    let connecting = Endpoint::from_static("http://peer").connect_with_connector(connector).await;
    connecting.map(TransportServiceClient::new).map_err(|error| format!("{error:?}"))
}

fn server_name(region: &Region) -> ServerName<'static> {
    ServerName::try_from(format!("{}.region.transship.internal", region.app().settings().region)).unwrap()
}

fn alpn(mut config: rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// The alert with which a region answers a handshake; with TLS 1.3 it comes after the client's own end of it.
async fn alert(region: &Region, ca: &str, pair: Option<&Pair>) -> String {
    let config = rustls::ClientConfig::builder().with_root_certificates(roots(ca));
    let config = match pair {
        Some(pair) => {
            let (chain, key) = parsed(pair);
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let socket = TcpStream::connect(region.server.peer_address().unwrap()).await.unwrap();
    let connecting = tokio_rustls::TlsConnector::from(alpn(config)).connect(server_name(region), socket);
    let read = async { connecting.await?.read_u8().await };
    let outcome = tokio::time::timeout(Duration::from_secs(5), read).await.expect("an alert comes at once");
    outcome.expect_err("no byte of an answer").to_string()
}

/// What a client hears that asks for the directory: its first message, or why there is none.
async fn asks(client: Result<TransportServiceClient<Channel>, String>) -> Result<pb::FollowResponse, (Code, String)> {
    let refused = |text: String| (Code::Unavailable, text);
    let mut client = client.map_err(refused)?;
    let stream = pb::follow_request::Stream::Directory.into();
    let answer = client.follow(pb::FollowRequest { stream, cursors: Vec::new() }).await;
    let told = |status: tonic::Status| (status.code(), format!("{status:?}"));
    answer
        .map_err(told)?
        .into_inner()
        .message()
        .await
        .map_err(told)?
        .ok_or_else(|| refused("an empty stream".to_owned()))
}

/// Two regions, of which the first must refuse somebody; the second is let in, so that the refusal has a reason.
async fn guarded() -> Organization {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let news = asks(transport(home, &organization.ca(), &own(away)).await).await.unwrap();
    assert!(!news.entries.is_empty(), "a peer is told the directory");
    organization
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_a_certificate_is_refused() {
    let organization = guarded().await;
    let told = alert(&organization.regions[0], &organization.ca(), None).await;
    assert!(told.contains("CertificateRequired"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_an_expired_certificate_is_refused() {
    let organization = guarded().await;
    let ended = rcgen::date_time_ymd(2020, 1, 1);
    let pair = organization.authority.region_until(organization.uid, "eu-west-1", ended);
    let told = alert(&organization.regions[0], &organization.ca(), Some(&pair)).await;
    assert!(told.contains("CertificateExpired"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_a_certificate_of_another_authority_is_refused() {
    let organization = guarded().await;
    let pair = Authority::new().region(organization.uid, "eu-west-1");
    let told = alert(&organization.regions[0], &organization.ca(), Some(&pair)).await;
    // The authorities have one name, so what does not fit is the signature.
    assert!(told.contains("UnknownCA") || told.contains("DecryptError"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_the_certificate_of_a_region_that_is_no_peer_is_refused() {
    let organization = guarded().await;
    let pair = organization.authority.region(organization.uid, "ap-south-1");
    let (code, told) = asks(transport(&organization.regions[0], &organization.ca(), &pair).await).await.unwrap_err();
    assert_eq!(code, Code::PermissionDenied, "{told}");
    assert!(told.contains("ap-south-1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_names_no_region_of_this_organization_or_several_is_refused() {
    let organization = guarded().await;
    let region = |name: &str| transship::names::Region::parse(name).unwrap();
    let uri = |name: &str| transship::peer::region_uri(organization.uid, &region(name));
    let elsewhere = transship::peer::region_uri(Clock::system().uid(), &region("eu-west-1"));
    let nested = format!("{}/x", uri("eu-west-1"));
    for uris in [vec![], vec![elsewhere], vec![nested], vec![uri("us-east-1"), uri("eu-west-1")]] {
        let pair = organization.authority.named("eu-west-1", &uris, far());
        let answer = asks(transport(&organization.regions[0], &organization.ca(), &pair).await).await;
        assert_eq!(answer.unwrap_err().0, Code::Unauthenticated, "{uris:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_does_not_start_under_the_certificate_of_another() {
    let organization = Organization::start(&["us-east-1"]).await;
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = organization.authority.region(organization.uid, "ap-south-1");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let text = format!(
        "region = \"eu-west-1\"\nlisten = \"127.0.0.1:0\"\ndata = {:?}\n[organization]\nuid = \"{}\"\nhome = \"us-east-1\"\n\
         [peer]\nlisten = \"127.0.0.1:0\"\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        folder.path().join("data"),
        organization.uid,
        path("ca.pem", &organization.ca()),
        path("region.pem", &certificate),
        path("region.key.pem", &key),
    );
    let config = path("config.toml", &text);
    let settings = transship::config::Settings::load(Some(&config), &std::collections::BTreeMap::new()).unwrap();
    let refused = transship::server::Server::start(settings).await.err().expect("it does not start");
    assert!(refused.message.contains("ap-south-1"), "{refused}");
}

/// A port where something answers TLS with this certificate, asking for none.
async fn impostor(pair: &Pair) -> u16 {
    let (chain, key) = parsed(pair);
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(socket).await {
                    // It takes whatever the client would tell it.
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_believes_no_server_whose_certificate_names_another_region_or_authority() {
    let organization = Organization::with_cuts(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let dev = home.account("dev");
    let http = home.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"for eu-west-1 only"]).await;
    let status = async || home.app().replication_status(&home.admin("dev").await, dev).await.unwrap().remove(0);
    eventually("the image to arrive", async || (status().await.pending == 0).then_some(())).await;
    let uid = organization.uid;
    let south = transship::names::Region::parse("ap-south-1").unwrap();
    let named = transship::peer::region_uri(uid, &south);
    let west = &["eu-west-1"];
    let cases = [
        (organization.authority.region(uid, "ap-south-1"), "not valid for name"),
        // The name that TLS checks is right, the region is not.
        (organization.authority.named(west[0], &[named], far()), "region ap-south-1 answered"),
        (organization.authority.named(west[0], &[], far()), "names no region of organization"),
        (organization.authority.region_until(uid, west[0], rcgen::date_time_ymd(2020, 1, 1)), "certificate expired"),
        (Authority::new().region(uid, west[0]), "invalid peer certificate"),
    ];
    for (at, (pair, reason)) in cases.into_iter().enumerate() {
        organization.cuts[1].lead_to(impostor(&pair).await);
        http.push_image(&format!("{dev}/app"), &format!("w{at}"), &[b"for eu-west-1 only"]).await;
        let told =
            eventually(reason, async || status().await.last_error.filter(|(text, _)| text.contains(reason))).await;
        assert!(told.0.contains("eu-west-1"), "{}", told.0);
        assert!(status().await.pending > 0);
    }
}
