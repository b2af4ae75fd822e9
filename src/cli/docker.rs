//! `transship login`: a registry password where docker, podman and skopeo look for one.
//!
//! What others wrote into those files stays as they wrote it, to the byte of each value. Nothing is written unless
//! every file can be; a file is never seen half written, and never with the password readable by others.

use super::Session;
use super::failure::{Failure, Result};
use crate::clock::Clock;
use crate::identity::Endpoint;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(super) async fn login(session: &Session) -> Result<()> {
    let endpoint = Endpoint::parse(&session.global.endpoint).map_err(|e| Failure::usage(format!("--endpoint: {e}")))?;
    let password = session.client.password().await?;
    let plans = files()?.into_iter().map(|path| Plan::new(path, endpoint.host(), &password));
    for plan in plans.collect::<Result<Vec<_>>>()? {
        let (host, path) = (endpoint.host(), plan.path.display());
        if session.global.dry_run {
            session.note(&format!("would store the password for {host} in {path}"));
        } else {
            plan.carry_out().map_err(|error| Failure::new(format!("{path}: {error}")))?;
            session.note(&format!("stored the password for {host} in {path}"));
        }
        if let Some(helper) = plan.helper {
            eprintln!(
                "warning: {path} sends the tools to the credential helper `{helper}`, which does not know it; run"
            );
            eprintln!("  transship token | docker login --username AWS --password-stdin {host}");
        }
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
    Ok(if docker == containers { vec![docker] } else { vec![docker, containers] })
}

/// A file as it will be.
struct Plan {
    path: PathBuf,
    text: String,
    /// The credential helper that the tools will ask instead.
    helper: Option<String>,
}

impl Plan {
    /// Reads a file and sets one entry; a file that cannot be read as one is refused.
    fn new(path: PathBuf, host: &str, password: &str) -> Result<Self> {
        let failed = |why: &dyn fmt::Display| Failure::new(format!("{}: {why}", path.display()));
        let before = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(&error)),
        };
        let (text, helper) = merged(&before, host, password).map_err(|why| failed(&why))?;
        // A link stays a link, so that what it leads to changes.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        Ok(Self { path, text, helper })
    }

    /// Writes a private neighbour and puts it in the file's place.
    fn carry_out(&self) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let staged = folder.join(format!(".transship-{}", Clock::system().uid()));
        let placed = write_new(&staged, self.text.as_bytes()).and_then(|()| std::fs::rename(&staged, &self.path));
        placed.inspect_err(|_| drop(std::fs::remove_file(&staged)))
    }
}

/// Writes a file that must not exist yet: neither a link nor wider permissions can be waiting there.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn merged(text: &str, host: &str, password: &str) -> Result<(String, Option<String>), &'static str> {
    const BAD: &str = "is no JSON object with an object `auths`; mend it or move it away";
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut document: Entries = serde_json::from_str(text).map_err(|_| BAD)?;
    let mut auths: Entries = match document.get("auths") {
        Some(auths) => serde_json::from_str(auths.get()).map_err(|_| BAD)?,
        None => Entries::default(),
    };
    let entry = serde_json::json!({ "auth": STANDARD.encode(format!("AWS:{password}")) });
    auths.set(host, serde_json::value::to_raw_value(&entry).map_err(|_| BAD)?);
    document.set("auths", serde_json::value::to_raw_value(&auths).map_err(|_| BAD)?);
    let text = serde_json::to_string_pretty(&document).map_err(|_| BAD)?;
    Ok((text + "\n", helper(&document, host)))
}

/// The credential helper that the tools ask for this host, and then ignore `auths`.
fn helper(document: &Entries, host: &str) -> Option<String> {
    let named = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok().filter(|name| !name.is_empty());
    let own = document.get("credHelpers").and_then(|all| serde_json::from_str::<Entries>(all.get()).ok());
    own.and_then(|all| all.get(host).and_then(named)).or_else(|| document.get("credsStore").and_then(named))
}

/// A JSON object in its order, its values as they were written.
#[derive(Default)]
struct Entries(Vec<(String, Box<RawValue>)>);

impl Entries {
    /// The value of a key, the last one if it is there twice, as JSON readers take it.
    fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().rfind(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    fn set(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rfind(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(entry) = map.next_entry()? {
                    entries.0.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, merged};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn store(path: &Path) -> super::Result<()> {
        Ok(Plan::new(path.to_owned(), "here:5000", "pw")?.carry_out()?)
    }

    #[test]
    fn other_entries_stay_as_they_were_to_the_byte() {
        let kept = ["\"auth\" :  \"eA==\\u0041\"", "123456789012345678901234567890", "[1.0, 1e400]"];
        let before = format!(
            r#"{{"credsStore":"","n":{},"auths":{{"z":{{{}}},"here:5000":{{"auth":"old"}},"a":{{}}}},"list":{}}}"#,
            kept[1], kept[0], kept[2]
        );
        let (after, helper) = merged(&before, "here:5000", "pw").unwrap();
        for part in kept {
            assert!(after.contains(part), "{part} in {after}");
        }
        let order =
            ["credsStore", "\"n\"", "auths", "\"z\"", "here:5000", "\"a\"", "list"].map(|key| after.find(key).unwrap());
        assert!(order.is_sorted(), "{after}");
        assert!(after.contains("QVdTOnB3") && !after.contains("old") && helper.is_none());
    }

    #[test]
    fn a_helper_that_hides_the_password_is_named() {
        let helper = |text: &str| merged(text, "here:5000", "pw").unwrap().1;
        assert_eq!(helper("{}"), None);
        assert_eq!(helper(r#"{"credHelpers":{"other":"ecr-login"}}"#), None);
        assert_eq!(helper(r#"{"credsStore":"pass"}"#).as_deref(), Some("pass"));
        assert_eq!(helper(r#"{"credsStore":"pass","credHelpers":{"here:5000":"own"}}"#).as_deref(), Some("own"));
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for bad in ["not json", "[]", "{", r#"{"auths":[]}"#, r#"{"auths":null}"#, "{} {}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(store(&path).is_err(), "{bad}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_password_is_private_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("config.json"));
        std::fs::write(&real, "").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&real, &link).unwrap();
        store(&link).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read_to_string(&real).unwrap().contains("QVdTOnB3"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let plan = Plan::new(path.clone(), "here:5000", "pw").unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(plan.carry_out().is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
