//! The client that pushes and pulls: skopeo if it is there, else the built-in one.

use crate::oci;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long one push or pull may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which client is used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tool {
    Skopeo,
    BuiltIn,
}

/// An image at a registry, and a password for it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) endpoint: String,
    /// `<account>/<name>`.
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) password: String,
}

impl Tool {
    pub(super) fn find() -> Self {
        let found =
            std::process::Command::new("skopeo").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) { Self::Skopeo } else { Self::BuiltIn }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Skopeo => "skopeo",
            Self::BuiltIn => "built-in OCI client",
        }
    }

    /// Pushes an image; the error is what the client said.
    pub(super) async fn push(self, image: &oci::Layout, place: &Place) -> Result<(), String> {
        match self {
            Self::Skopeo => skopeo(&format!("oci:{}", image.root().display()), &place.url(), None, Some(place)).await,
            Self::BuiltIn => place.client().push(image, &place.tag).await.map_err(|error| error.to_string()),
        }
    }

    /// Pulls an image into a new layout; the error is what the client said.
    pub(super) async fn pull(self, place: &Place, root: &Path) -> Result<oci::Layout, String> {
        match self {
            Self::Skopeo => {
                skopeo(&place.url(), &format!("oci:{}", root.display()), Some(place), None).await?;
                Ok(oci::Layout::at(root))
            }
            Self::BuiltIn => place.client().pull(&place.tag, root).await.map_err(|error| error.to_string()),
        }
    }
}

impl Place {
    fn url(&self) -> String {
        format!("docker://{}/{}:{}", self.endpoint.trim_start_matches("http://"), self.repository, self.tag)
    }

    fn client(&self) -> oci::Client {
        oci::Client::new(&self.endpoint, &self.repository, &self.password)
    }
}

/// Runs skopeo; passwords go through a file that only we read, never through its arguments.
async fn skopeo(from: &str, to: &str, source: Option<&Place>, target: Option<&Place>) -> Result<(), String> {
    let folder = super::Folder::new(None).map_err(|error| error.to_string())?;
    run(folder.path(), from, to, source, target).await
}

async fn run(
    folder: &Path,
    from: &str,
    to: &str,
    source: Option<&Place>,
    target: Option<&Place>,
) -> Result<(), String> {
    let auth = folder.join("auth.json");
    let auths: serde_json::Map<_, _> = source
        .into_iter()
        .chain(target)
        .map(|place| (place.endpoint.trim_start_matches("http://").to_owned(), secret(&place.password)))
        .collect();
    let text = serde_json::json!({ "auths": auths }).to_string();
    crate::cli::layout::write_private(&auth, text.as_bytes()).map_err(|error| error.to_string())?;
    let mut command = Command::new("skopeo");
    command
        .args([
            "--insecure-policy",
            "copy",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ])
        .arg("--authfile")
        .arg(&auth)
        .args([from, to])
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.map_err(|_| "skopeo took too long".to_owned())?.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(text.lines().last().unwrap_or("skopeo failed").to_owned())
}

fn secret(password: &str) -> serde_json::Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    serde_json::json!({ "auth": STANDARD.encode(format!("AWS:{password}")) })
}
