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
use crate::clock::{Civil, Clock, Timestamp};
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

/// How long a region's certificate holds: long enough for a laptop between two starts, short enough to be renewed.
const LEAF_YEARS: i64 = 1;
/// How long the organization's root holds.
const AUTHORITY_YEARS: i64 = 10;

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

    /// A certificate for each region, of today: every start renews it. The key stays, and with it what it signed.
    fn certify(&self) -> Result<()> {
        let issuer = self.issuer()?;
        for region in &self.regions {
            let folder = self.folder.join(region.as_str());
            std::fs::create_dir_all(&folder)?;
            let path = folder.join("region.key.pem");
            let key = if path.exists() {
                let text = std::fs::read_to_string(&path)?;
                KeyPair::from_pem(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?
            } else {
                let key = KeyPair::generate().map_err(certificate)?;
                write_private(&path, key.serialize_pem().as_bytes())?;
                key
            };
            write_private(&folder.join("region.pem"), leaf(&issuer, self.uid, region, &key)?.as_bytes())?;
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
        let peers = free_ports(self.regions.len())?;
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
    last(&mut params, AUTHORITY_YEARS);
    Ok(params)
}

/// From yesterday, for the clocks of others, to this day in so many years.
fn last(params: &mut CertificateParams, years: i64) {
    let now = Clock::system().now();
    let day = |at: Timestamp, years: i64| {
        let Civil { year, month, day, .. } = at.civil();
        let small = |number: i64| u8::try_from(number).unwrap_or(1);
        // The 28th is a day of every month and year.
        rcgen::date_time_ymd(i32::try_from(year + years).unwrap_or(i32::MAX), small(month), small(day.min(28)))
    };
    params.not_before = day(Timestamp::from_secs(now.secs() - 86_400), 0);
    params.not_after = day(now, years);
}

fn leaf(issuer: &Issuer<'static, KeyPair>, organization: Uid, region: &Region, key: &KeyPair) -> Result<String> {
    let mut params =
        CertificateParams::new(vec![format!("{region}.region.transship.internal")]).map_err(certificate)?;
    let uri = region_uri(organization, region).try_into().map_err(certificate)?;
    params.distinguished_name = named(&format!("region {region}"));
    params.subject_alt_names.push(SanType::URI(uri));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    last(&mut params, LEAF_YEARS);
    Ok(params.signed_by(key, issuer).map_err(certificate)?.pem())
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

/// Different ports that nobody has just now.
///
/// # Errors
/// When there are not so many.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    // Held until all are found, so that none is found twice.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    Ok(held.iter().map(|listener| listener.local_addr().map(|at| at.port())).collect::<std::io::Result<_>>()?)
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
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, UnixTime};
    use std::path::Path;
    use std::time::Duration;

    /// The leaf is good now and not in 13 months, while its root is good for years.
    fn certificates_end(folder: &Path) {
        let read = |name: &str| CertificateDer::from_pem_file(folder.join(name)).unwrap();
        let (root, leaf) = (read("ca.pem"), read("us-east-1/region.pem"));
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
        let good = |days: u64| {
            let at = UnixTime::now().as_secs() + days * 86_400;
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
            let usage = webpki::KeyUsage::server_auth();
            leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], at, usage, None, None).is_ok()
        };
        assert!(good(0) && good(330) && !good(400), "{} {} {}", good(0), good(330), good(400));
    }

    #[test]
    fn a_folder_opens_again_as_the_same_organization_and_as_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let regions = ["us-east-1", "eu-west-1"].map(|name| Region::parse(name).unwrap());
        let accounts = ["dev".to_owned()];
        let first = Layout::open(folder.path(), &regions, &accounts).unwrap();
        let again = Layout::open(folder.path(), &regions, &accounts).unwrap();
        assert_eq!(first.uid, again.uid);
        assert!(Layout::open(folder.path(), &regions[..1], &accounts).is_err());
        certificates_end(folder.path());
        let placed = again.configure(&[5_000, 5_001], false).unwrap();
        let settings = crate::config::Settings::load(
            Some(&placed[1].folder.join("config.toml")),
            &std::collections::BTreeMap::new(),
        );
        assert_eq!(settings.unwrap().home, regions[0]);
    }
}
