//! Helpers that other programs start: docker's credential helper and the kubelet's credential provider.
//!
//! Neither keeps anything: a registry password is made anew from what the environment proves, keys or an identity token.
//!
//! SPEC: docker-credential-helpers, protocol of `get`, `store`, `erase`, `list`; Kubernetes, kubelet credential provider
//! API `credentialprovider.kubelet.k8s.io/v1`.

use super::client::{Client, Proof, WebIdentity};
use super::failure::{Failure, Result};
use super::output::line;
use super::{Global, bounded, read, started};
use crate::clock::Clock;
use crate::identity::Endpoint;
use crate::pb::trust::get_authorization_token_request::Action;
use crate::secret::Secret;
use std::process::ExitCode;
use std::time::Duration;

/// The name under which docker starts this program.
pub(super) const DOCKER: &str = "docker-credential-transship";
/// The user name beside a registry password.
const USER: &str = "AWS";
/// What docker must hear to go on without credentials.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The annotation of a service account that names the role of its pods.
const ROLE_ANNOTATION: &str = "transship.dev/role-arn";
/// A password is asked for anew so long before its end: a pull that begins with it should not outlive it.
const EARLY: Duration = Duration::from_secs(120);
/// Runs as docker's credential helper: one word, an answer on standard output, failures there too.
pub(super) fn docker(words: &[String]) -> ExitCode {
    let answer = match words {
        [word] if word == "get" => standard_input().and_then(|server| started(get(server.trim().to_owned()))),
        [word] if word == "list" => Ok("{}".to_owned()),
        // Nothing is kept, so nothing has to be removed.
        [word] if word == "erase" => standard_input().map(|_| String::new()),
        [word] if word == "store" => Err(Failure::new(
            "transship keeps no passwords: it makes them from the environment; log out of this registry",
        )),
        [word] if ["version", "--version"].contains(&word.as_str()) => {
            Ok(format!("{DOCKER} {}", env!("CARGO_PKG_VERSION")))
        }
        _ => Err(Failure::usage(format!("Usage: {DOCKER} <store|get|erase|list|version>"))),
    };
    match answer {
        Ok(text) if text.is_empty() => ExitCode::SUCCESS,
        Ok(text) => {
            line(text);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            line(failure.message());
            ExitCode::FAILURE
        }
    }
}

fn standard_input() -> Result<String> {
    Ok(bounded(std::io::stdin().lock())?)
}

async fn get(server: String) -> Result<String> {
    if server.is_empty() {
        return Err(Failure::new("no credentials server URL"));
    }
    let proof = Proof::from_environment().map_err(|_| Failure::new(NOT_FOUND))?;
    let client = Client::log_in(&endpoint_of(&server)?, certificates()?.as_deref(), &proof).await?;
    let secret = client.password().await?;
    Ok(serde_json::json!({ "ServerURL": server, "Username": USER, "Secret": secret }).to_string())
}

/// The endpoint of a registry's address: that of the environment if it is the same host; else over TLS, unless the host is
/// this machine.
fn endpoint_of(server: &str) -> Result<String> {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let configured = std::env::var("TRANSSHIP_ENDPOINT").unwrap_or_default();
    if Endpoint::parse(&configured).is_ok_and(|endpoint| endpoint.host() == host) {
        return Ok(configured);
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
    let endpoint = format!("{}://{host}", if local { "http" } else { "https" });
    Endpoint::parse(&endpoint).map_err(|e| Failure::usage(format!("{server}: {e}")))?;
    Ok(endpoint)
}

/// The certificates of the environment.
fn certificates() -> Result<Option<Vec<u8>>> {
    let path = std::env::var_os("TRANSSHIP_CA").filter(|path| !path.is_empty());
    path.map(|path| Ok(read(path.as_ref())?.into_bytes())).transpose()
}

/// Answers the kubelet on standard output which password pulls an image.
#[derive(clap::Args, Debug)]
pub(super) struct CredentialProvider {
    /// The role of pods whose service account names none; only with tokens of service accounts.
    #[arg(long, value_name = "ARN", env = "AWS_ROLE_ARN")]
    role_arn: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    api_version: String,
    kind: String,
    image: String,
    #[serde(default)]
    service_account_token: String,
    #[serde(default)]
    service_account_annotations: std::collections::BTreeMap<String, String>,
}

impl CredentialProvider {
    pub(super) fn run(self, global: &Global) -> ExitCode {
        match standard_input().and_then(|text| started(self.answer(text, global.clone()))) {
            Ok(text) => {
                line(text);
                ExitCode::SUCCESS
            }
            Err(failure) => failure.report(),
        }
    }

    async fn answer(self, text: String, global: Global) -> Result<String> {
        let asked: Asked =
            serde_json::from_str(&text).map_err(|e| Failure::usage(format!("no CredentialProviderRequest: {e}")))?;
        let versions = ["credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1"];
        if asked.kind != "CredentialProviderRequest" || !versions.contains(&asked.api_version.as_str()) {
            let text = format!("{} of {} is not understood; {} is", asked.kind, asked.api_version, versions[0]);
            return Err(Failure::usage(text));
        }
        let host = asked.image.split('/').next().unwrap_or_default().to_owned();
        let (endpoint, ca) = (endpoint_of(&host)?, global.ca.as_deref().map(read).transpose()?);
        let proof = self.proof(&asked)?;
        let client = Client::log_in(&endpoint, ca.as_deref().map(str::as_bytes), &proof).await?;
        // Images are pulled with it, whatever the pod's role or the node may do.
        let (password, until) = client.password_for(vec![Action::Pull.into()]).await?;
        let good = until.since(Clock::system().now()).saturating_sub(EARLY).as_secs();
        let auth = serde_json::json!({ host: { "username": USER, "password": password } });
        Ok(serde_json::json!({
            "apiVersion": asked.api_version,
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "cacheDuration": format!("{good}s"),
            "auth": auth,
        })
        .to_string())
    }

    /// The pod's own token for the role that its service account names, or what the node's environment proves.
    fn proof(&self, asked: &Asked) -> Result<Proof> {
        if asked.service_account_token.is_empty() {
            return Proof::from_environment();
        }
        let role_arn = asked.service_account_annotations.get(ROLE_ANNOTATION).or(self.role_arn.as_ref());
        let role_arn = role_arn.cloned().ok_or_else(|| {
            Failure::usage(format!("annotate the service account with {ROLE_ANNOTATION}, or give --role-arn"))
        })?;
        Ok(Proof::WebIdentity(WebIdentity {
            role_arn,
            session_name: "kubelet".to_owned(),
            token: Secret::new(asked.service_account_token.clone()),
        }))
    }
}
