//! An organization on one machine: its certificate authority, and a folder with configuration and data per region.
//!
//! ```text
//! DIR/organization.json          uid, regions, accounts
//! DIR/ca.pem, ca.key.pem         the root that signs the regions' certificates
//! DIR/<region>/config.toml       what `serve` reads; written anew at every start
//! DIR/<region>/region.pem, region.key.pem
//! DIR/<region>/data/             metadata.db, blobs/, root.key, bootstrap.json
//! DIR/<region>/serve.log
//! ```

use super::failure::{Failure, Result};
use crate::clock::Clock;
use crate::names::{Region, Uid};
use crate::peer::region_uri;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The facts of an organization that outlive a start.
#[derive(Serialize, Deserialize, Debug)]
struct Facts {
    uid: String,
    regions: Vec<String>,
    accounts: Vec<String>,
}

/// An organization's folder.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    uid: Uid,
    regions: Vec<Region>,
    accounts: Vec<String>,
}

/// A region's folder, configured for a start.
#[derive(Debug)]
pub struct Placed {
    /// The region.
    pub region: Region,
    /// Where clients reach it.
    pub endpoint: String,
    /// Its folder.
    pub folder: PathBuf,
}

/// An account with the key of its user `admin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    /// What people call it.
    pub name: String,
    /// Its number.
    pub id: String,
    /// The key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl Layout {
    /// Opens an organization's folder; makes what is missing.
    ///
    /// # Errors
    /// When the folder holds another organization's regions, or cannot be written.
    pub fn open(folder: &Path, regions: &[Region], accounts: &[String]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join("organization.json");
        let facts = if path.exists() { known(&path)? } else { found(folder, regions, accounts)? };
        let names: Vec<String> = regions.iter().map(ToString::to_string).collect();
        if facts.regions != names {
            let text = format!(
                "{} holds regions {}; ask for these, or use another --dir",
                folder.display(),
                facts.regions.join(",")
            );
            return Err(Failure::usage(text));
        }
        let mut accounts_known = facts.accounts;
        accounts_known
            .extend(accounts.iter().filter(|name| !accounts_known.contains(name)).cloned().collect::<Vec<_>>());
        let uid = Uid::parse(&facts.uid)?;
        let layout = Self { folder: folder.to_owned(), uid, regions: regions.to_vec(), accounts: accounts_known };
        layout.certify()?;
        Ok(layout)
    }

    /// A certificate for each region that has none.
    fn certify(&self) -> Result<()> {
        let issuer = self.issuer()?;
        for region in &self.regions {
            let folder = self.folder.join(region.as_str());
            std::fs::create_dir_all(&folder)?;
            if folder.join("region.pem").exists() {
                continue;
            }
            let (certificate, key) = leaf(&issuer, self.uid, region)?;
            write_private(&folder.join("region.key.pem"), key.as_bytes())?;
            write_private(&folder.join("region.pem"), certificate.as_bytes())?;
        }
        Ok(())
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let key = std::fs::read_to_string(self.folder.join("ca.key.pem"))?;
        let key = KeyPair::from_pem(&key).map_err(|e| Failure::new(format!("ca.key.pem: {e}")))?;
        Ok(Issuer::new(authority()?, key))
    }

    /// Writes each region's configuration: clients on these ports, peers on free ones.
    ///
    /// # Errors
    /// When a port is taken, or the folder cannot be written.
    pub fn configure(&self, ports: &[u16], sparse_manifests: bool) -> Result<Vec<Placed>> {
        let peers: Vec<u16> = self.regions.iter().map(|_| free_port()).collect::<Result<_>>()?;
        let mut placed = Vec::new();
        for (at, region) in self.regions.iter().enumerate() {
            let folder = self.folder.join(region.as_str());
            let endpoint = format!("http://127.0.0.1:{}", ports[at]);
            let text = self.config(at, ports[at], &peers, &folder, sparse_manifests);
            write_private(&folder.join("config.toml"), text.as_bytes())?;
            placed.push(Placed { region: region.clone(), endpoint, folder });
        }
        Ok(placed)
    }

    fn config(&self, at: usize, port: u16, peers: &[u16], folder: &Path, sparse_manifests: bool) -> String {
        use std::fmt::Write as _;
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let mut text = format!(
            "region = \"{}\"\nlisten = \"127.0.0.1:{port}\"\nendpoint = \"http://127.0.0.1:{port}\"\ndata = {}\naccounts = {:?}\n\n\
             [organization]\nuid = \"{}\"\nhome = \"{}\"\n\n[registry]\ncreate_on_push = true\n\
             sparse_manifests = {sparse_manifests}\n\n\
             [peer]\nlisten = \"127.0.0.1:{}\"\nca = {}\ncertificate = {}\nkey = {}\n",
            self.regions[at],
            quoted(folder.join("data")),
            self.accounts,
            self.uid,
            self.regions[0],
            peers[at],
            quoted(self.folder.join("ca.pem")),
            quoted(folder.join("region.pem")),
            quoted(folder.join("region.key.pem")),
        );
        for (other, region) in self.regions.iter().enumerate().filter(|(other, _)| *other != at) {
            // Writing to text does not fail.
            let _ = write!(text, "\n[[peers]]\nregion = \"{region}\"\naddress = \"127.0.0.1:{}\"\n", peers[other]);
        }
        text
    }

    /// The accounts with their keys, as the home region left them at its first start.
    ///
    /// # Errors
    /// When the home region has not started yet.
    pub fn accounts(&self) -> Result<Vec<Known>> {
        #[derive(Deserialize)]
        struct Bootstrap {
            accounts: Vec<Known>,
        }
        let path = self.folder.join(self.regions[0].as_str()).join("data/bootstrap.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        let found: Bootstrap =
            serde_json::from_str(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        Ok(found.accounts)
    }
}

fn known(path: &Path) -> Result<Facts> {
    let text = std::fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))
}

/// A new organization: its id and its root.
fn found(folder: &Path, regions: &[Region], accounts: &[String]) -> Result<Facts> {
    let key = KeyPair::generate().map_err(certificate)?;
    let root = authority()?.self_signed(&key).map_err(certificate)?;
    write_private(&folder.join("ca.key.pem"), key.serialize_pem().as_bytes())?;
    write_private(&folder.join("ca.pem"), root.pem().as_bytes())?;
    let facts = Facts {
        uid: Clock::system().uid().to_string(),
        regions: regions.iter().map(ToString::to_string).collect(),
        accounts: accounts.to_vec(),
    };
    let text = serde_json::to_vec_pretty(&facts).map_err(|e| Failure::new(e.to_string()))?;
    write_private(&folder.join("organization.json"), &text)?;
    Ok(facts)
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(certificate)?;
    params.distinguished_name = named("transship organization");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(issuer: &Issuer<'static, KeyPair>, organization: Uid, region: &Region) -> Result<(String, String)> {
    let key = KeyPair::generate().map_err(certificate)?;
    let mut params =
        CertificateParams::new(vec![format!("{region}.region.transship.internal")]).map_err(certificate)?;
    let uri = region_uri(organization, region).try_into().map_err(certificate)?;
    params.distinguished_name = named(&format!("region {region}"));
    params.subject_alt_names.push(SanType::URI(uri));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let signed = params.signed_by(&key, issuer).map_err(certificate)?;
    Ok((signed.pem(), key.serialize_pem()))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn certificate(error: rcgen::Error) -> Failure {
    Failure::new(format!("the certificate cannot be made: {error}"))
}

/// A port that nobody has just now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Writes a file that only its owner reads, whole or not at all.
///
/// # Errors
/// When the disk fails.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(std::fs::rename(&staged, path)?)
}

#[cfg(test)]
mod tests {
    use super::Layout;
    use crate::names::Region;

    #[test]
    fn a_folder_opens_again_as_the_same_organization_and_as_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let regions = ["us-east-1", "eu-west-1"].map(|name| Region::parse(name).unwrap());
        let accounts = ["dev".to_owned()];
        let first = Layout::open(folder.path(), &regions, &accounts).unwrap();
        let again = Layout::open(folder.path(), &regions, &accounts).unwrap();
        assert_eq!(first.uid, again.uid);
        assert!(Layout::open(folder.path(), &regions[..1], &accounts).is_err());
        let placed = again.configure(&[5_000, 5_001], false).unwrap();
        let settings = crate::config::Settings::load(
            Some(&placed[1].folder.join("config.toml")),
            &std::collections::BTreeMap::new(),
        );
        assert_eq!(settings.unwrap().home, regions[0]);
    }
}
