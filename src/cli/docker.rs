//! `transship login`: a registry password where docker, podman and skopeo look for one.

use super::Session;
use super::failure::{Failure, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(super) async fn login(session: &Session) -> Result<()> {
    let password = session.client.password().await?;
    let host = session.global.endpoint.split_once("://").map_or(session.global.endpoint.as_str(), |(_, host)| host);
    let host = host.trim_end_matches('/');
    for path in files()? {
        store(&path, host, &password)?;
        eprintln!("stored the password for {host} in {}", path.display());
    }
    Ok(())
}

/// Docker's file, and that of the containers tools.
fn files() -> Result<Vec<PathBuf>> {
    let read = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = read("HOME").ok_or_else(|| Failure::usage("HOME is not set"))?;
    let docker = read("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker")).join("config.json");
    let containers = read("REGISTRY_AUTH_FILE").unwrap_or_else(|| match read("XDG_RUNTIME_DIR") {
        Some(runtime) => runtime.join("containers/auth.json"),
        None => home.join(".config/containers/auth.json"),
    });
    Ok(vec![docker, containers])
}

/// Sets one entry and leaves the others; a file that cannot be read as one is left alone.
fn store(path: &Path, host: &str, password: &str) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
        Err(error) => return Err(Failure::new(format!("{}: {error}", path.display()))),
    };
    let merged = merged(&text, host, password).map_err(|why| Failure::new(format!("{}: {why}", path.display())))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let staged = path.with_extension("transship-new");
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&staged)?;
    file.write_all(merged.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    Ok(())
}

fn merged(text: &str, host: &str, password: &str) -> Result<String, &'static str> {
    const BAD: &str = "is no JSON object with an object `auths`; mend it or move it away";
    let mut document: Map<String, Value> = serde_json::from_str(text).map_err(|_| BAD)?;
    let auths = document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let entry = serde_json::json!({ "auth": STANDARD.encode(format!("AWS:{password}")) });
    auths.as_object_mut().ok_or(BAD)?.insert(host.to_owned(), entry);
    Ok(format!("{:#}\n", Value::Object(document)))
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn other_entries_stay_as_they_were() {
        let before = r#"{"credsStore":"pass","auths":{"other":{"auth":"eA=="}}}"#;
        let after: serde_json::Value = serde_json::from_str(&merged(before, "here:5000", "pw").unwrap()).unwrap();
        assert_eq!(after["auths"]["other"]["auth"], "eA==");
        assert_eq!(after["auths"]["here:5000"]["auth"], "QVdTOnB3");
        assert_eq!(after["credsStore"], "pass");
        assert!(merged("not json", "h", "p").is_err());
        assert!(merged(r#"{"auths":[]}"#, "h", "p").is_err());
    }
}
