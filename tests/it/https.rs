//! The client listener over TLS: registry, gRPC and command line, and a certificate renewed under open connections.

use crate::harness::{Authority, Region};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use std::sync::Arc;

type Https = Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that believes this authority alone; each has connections of its own.
fn client(authority: &Authority) -> Https {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn status(client: &Https, base: &str, password: &str) -> Result<StatusCode, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let basic = format!("Basic {}", STANDARD.encode(format!("AWS:{password}")));
    let request = Request::builder().uri(format!("{base}/v2/")).header("authorization", basic);
    let answer = client.request(request.body(Full::default()).unwrap()).await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(status)
}

fn write(folder: &Path, (certificate, key): &(String, String)) {
    std::fs::write(folder.join("chain.pem"), certificate).unwrap();
    std::fs::write(folder.join("chain.key.pem"), key).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_served_over_tls_and_a_renewed_certificate_is_taken_up() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (first, second) = (Authority::new(), Authority::new());
    write(folder.path(), &first.server("localhost"));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let more = format!("[tls]\ncertificate = {:?}\nkey = {:?}", path("chain.pem"), path("chain.key.pem"));
    let region = Region::configured(&more).await;
    let base = format!("https://localhost:{}", region.server.address().port());
    let password = region.password("dev").await;
    let old = client(&first);
    assert_eq!(status(&old, &base, &password).await, Ok(StatusCode::OK));
    let plain = crate::harness::Http::new(&base.replace("https", "http"), None).try_get("/v2/").await;
    assert!(plain.is_err(), "plain HTTP is not answered: {plain:?}");
    assert!(
        status(&client(&second), &base, &password).await.is_err(),
        "another authority's client does not believe it"
    );

    // A challenge names the token service by the scheme that was asked.
    let request = Request::builder().uri(format!("{base}/v2/")).body(Full::default()).unwrap();
    let challenged = old.request(request).await.unwrap();
    let realm = challenged.headers()["www-authenticate"].to_str().unwrap();
    assert!(realm.contains("realm=\"https://localhost:"), "{realm}");

    // The command line comes by the same door.
    std::fs::write(folder.path().join("root.pem"), first.certificate()).unwrap();
    let (id, secret) = region.access_key("dev");
    let who = std::process::Command::new(env!("CARGO_BIN_EXE_transship"))
        .args(["--endpoint", &base, "--ca", &path("root.pem"), "whoami"])
        .envs([("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)])
        .output()
        .unwrap();
    assert!(who.status.success(), "{}", String::from_utf8_lossy(&who.stderr));

    // A key that is not the certificate's is not taken up, and costs nothing.
    std::fs::write(folder.path().join("chain.key.pem"), second.server("localhost").1).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(status(&client(&first), &base, &password).await, Ok(StatusCode::OK));
    write(folder.path(), &second.server("localhost"));
    crate::harness::eventually("the new certificate is presented", async || {
        status(&client(&second), &base, &password).await.ok().filter(|status| *status == StatusCode::OK)
    })
    .await;
    assert_eq!(status(&old, &base, &password).await, Ok(StatusCode::OK), "an open connection goes on");
    assert!(status(&client(&first), &base, &password).await.is_err());
    region.server.stop().await;
}
