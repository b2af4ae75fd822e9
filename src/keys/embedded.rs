//! The embedded KMS: a keyring in the region's own store, wrapped under the root key, with the answers of AWS KMS.
//!
//! A ciphertext names its key and the version of the key's material, so material can be renewed while old
//! ciphertexts still open. The root key guards it all; a key that is disabled here is a promise of this software,
//! not of hardware.

use super::kms::{Context, KeyInfo, KeyState, Kms, Refusal};
use super::root::RootKey;
use super::wrap::{SALT_LEN, TAG_LEN, open_key, random, seal};
use super::{Error, Result};
use crate::clock::{Clock, Timestamp};
use crate::names::{AccountId, Arn, Region, Uid};
use crate::secret::Secret;
use async_trait::async_trait;
use std::sync::Arc;

/// A key of the embedded KMS, as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRow {
    /// `arn:aws:kms:<region>:<account>:key/<id>`; unique.
    pub arn: Arn,
    /// Whether it can be used.
    pub state: KeyState,
    /// What its maker wrote.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its material, every version; the highest encrypts.
    pub materials: Vec<Material>,
}

/// One version of a key's material, sealed under the root key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Material {
    /// Counts from 1.
    pub version: u32,
    /// Opens with [`RootKey::open`], purpose `kms-material`.
    pub sealed: Vec<u8>,
}

/// Where the rows of the keyring are kept; the store implements it.
///
/// # Errors
/// Each method fails with what the store says when it cannot answer.
#[async_trait]
pub trait KeyRows: Send + Sync {
    /// Reads a key.
    async fn load(&self, arn: &Arn) -> crate::error::Result<Option<KeyRow>>;

    /// Adds a key with all its material.
    async fn insert(&self, row: KeyRow) -> crate::error::Result<()>;

    /// Reads the keys of an account.
    async fn list(&self, account: AccountId) -> crate::error::Result<Vec<KeyRow>>;

    /// Changes a key's state.
    async fn set_state(&self, arn: &Arn, state: KeyState) -> crate::error::Result<()>;
}

/// The embedded KMS.
pub struct EmbeddedKms {
    rows: Arc<dyn KeyRows>,
    root: Arc<RootKey>,
    clock: Clock,
}

impl EmbeddedKms {
    /// The most bytes of a key's description, as in AWS KMS.
    pub const MAX_DESCRIPTION: usize = 8_192;

    /// A KMS over these rows.
    #[must_use]
    pub fn new(rows: Arc<dyn KeyRows>, root: Arc<RootKey>, clock: Clock) -> Self {
        Self { rows, root, clock }
    }

    async fn row(&self, operation: &'static str, arn: &Arn) -> Result<KeyRow> {
        let row = self.rows.load(arn).await.map_err(rows)?;
        row.ok_or_else(|| Error::refused(operation, arn, Refusal::NotFound))
    }

    async fn usable(&self, operation: &'static str, arn: &Arn) -> Result<UsableKey> {
        let row = self.row(operation, arn).await?;
        match row.state {
            KeyState::Enabled => {}
            KeyState::Disabled => return Err(Error::refused(operation, arn, Refusal::Disabled)),
            KeyState::PendingDeletion => return Err(Error::refused(operation, arn, Refusal::InvalidState)),
        }
        let id = key_id(arn).ok_or_else(|| Error::refused(operation, arn, Refusal::NotFound))?;
        Ok(UsableKey { id, row, root: self.root.clone(), operation })
    }
}

#[async_trait]
impl Kms for EmbeddedKms {
    async fn create_key(&self, account: AccountId, region: &Region, description: &str) -> Result<KeyInfo> {
        if description.len() > Self::MAX_DESCRIPTION {
            return Err(Error::TooLarge { what: "key description", limit: Self::MAX_DESCRIPTION as u64 });
        }
        let arn = Arn::new("kms", region.as_str(), Some(account), &format!("key/{}", self.clock.uid()));
        let material = Secret::new(random::<32>()?);
        let sealed = self.root.seal(PURPOSE, &material_aad(&arn, FIRST_VERSION)?, material.expose())?;
        let row = KeyRow {
            arn,
            state: KeyState::Enabled,
            description: description.to_owned(),
            created_at: self.clock.now(),
            materials: vec![Material { version: FIRST_VERSION, sealed }],
        };
        self.rows.insert(row.clone()).await.map_err(rows)?;
        Ok(row.into())
    }

    async fn describe_key(&self, arn: &Arn) -> Result<KeyInfo> {
        Ok(self.row("DescribeKey", arn).await?.into())
    }

    async fn list_keys(&self, account: AccountId) -> Result<Vec<KeyInfo>> {
        let rows = self.rows.list(account).await.map_err(rows)?;
        let mut keys: Vec<KeyInfo> = rows.into_iter().map(KeyInfo::from).collect();
        keys.sort_by(|a, b| a.arn.cmp(&b.arn));
        Ok(keys)
    }

    async fn belongs_to(&self, arn: &Arn, account: AccountId) -> Result<bool> {
        Ok(arn.account() == Some(account))
    }

    async fn set_enabled(&self, arn: &Arn, enabled: bool) -> Result<()> {
        let (operation, state) =
            if enabled { ("EnableKey", KeyState::Enabled) } else { ("DisableKey", KeyState::Disabled) };
        match self.row(operation, arn).await?.state {
            KeyState::PendingDeletion => Err(Error::refused(operation, arn, Refusal::InvalidState)),
            KeyState::Enabled | KeyState::Disabled => self.rows.set_state(arn, state).await.map_err(rows),
        }
    }

    async fn generate_data_key(&self, arn: &Arn, context: &Context) -> Result<(Secret<[u8; 32]>, Vec<u8>)> {
        let key = self.usable("GenerateDataKey", arn).await?;
        let plain = Secret::new(random()?);
        let ciphertext = key.encrypt(&plain, context)?;
        Ok((plain, ciphertext))
    }

    async fn decrypt(&self, arn: &Arn, ciphertext: &[u8], context: &Context) -> Result<Secret<[u8; 32]>> {
        self.usable("Decrypt", arn).await?.decrypt(ciphertext, context)
    }

    async fn re_encrypt(
        &self,
        from: &Arn,
        ciphertext: &[u8],
        from_context: &Context,
        to: &Arn,
        to_context: &Context,
    ) -> Result<Vec<u8>> {
        let target = self.usable("ReEncrypt", to).await?;
        let plain = self.usable("ReEncrypt", from).await?.decrypt(ciphertext, from_context)?;
        target.encrypt(&plain, to_context)
    }
}

impl From<KeyRow> for KeyInfo {
    fn from(row: KeyRow) -> Self {
        Self { arn: row.arn, state: row.state, description: row.description, created_at: row.created_at }
    }
}

/// An enabled key.
struct UsableKey {
    id: Uid,
    row: KeyRow,
    root: Arc<RootKey>,
    operation: &'static str,
}

impl UsableKey {
    fn encrypt(&self, plain: &Secret<[u8; 32]>, context: &Context) -> Result<Vec<u8>> {
        let newest = self.row.materials.iter().max_by_key(|material| material.version);
        let newest = newest.ok_or(Error::Malformed { what: "a row of the keyring", rule: "has key material" })?;
        let salt = random()?;
        let mut out = [&[VERSION, ALGORITHM], &self.id.bytes()[..], &newest.version.to_be_bytes(), &salt].concat();
        let aad = ciphertext_aad(&out, context)?;
        out.extend_from_slice(&seal(self.open(newest)?.expose(), &salt, INFO, &aad, plain.expose())?);
        Ok(out)
    }

    fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Result<Secret<[u8; 32]>> {
        let refused = |refusal| Error::refused(self.operation, &self.row.arn, refusal);
        let invalid = || refused(Refusal::InvalidCiphertext);
        let (header, body) = ciphertext.split_first_chunk::<HEADER_LEN>().ok_or_else(invalid)?;
        if header[..2] != [VERSION, ALGORITHM] || body.len() != 32 + TAG_LEN {
            return Err(invalid());
        }
        if header[2..18] != self.id.bytes()[..] {
            return Err(refused(Refusal::IncorrectKey));
        }
        let (version, salt) = header[18..].split_first_chunk::<4>().ok_or_else(invalid)?;
        let version = u32::from_be_bytes(*version);
        let salt = <&[u8; SALT_LEN]>::try_from(salt).map_err(|_| invalid())?;
        let material = self.row.materials.iter().find(|material| material.version == version).ok_or_else(invalid)?;
        let aad = ciphertext_aad(header, context)?;
        match open_key(self.open(material)?.expose(), salt, INFO, &aad, body, "a KMS ciphertext") {
            Ok(plain) => Ok(Secret::new(plain)),
            Err(Error::Tampered { .. }) => Err(invalid()),
            Err(other) => Err(other),
        }
    }

    fn open(&self, material: &Material) -> Result<Secret<[u8; 32]>> {
        let opened = self.root.open(PURPOSE, &material_aad(&self.row.arn, material.version)?, &material.sealed)?;
        let bytes = <[u8; 32]>::try_from(opened.expose().as_slice());
        bytes.map(Secret::new).map_err(|_| Error::Malformed { what: "key material", rule: "32 bytes" })
    }
}

const PURPOSE: &str = "kms-material";
const FIRST_VERSION: u32 = 1;
const INFO: &[&[u8]] = &[b"transship/kms/v1\0"];
const VERSION: u8 = 1;
/// Algorithm 1: HKDF-SHA256 and AES-256-GCM as a salted wrap.
const ALGORITHM: u8 = 1;
/// `version ‖ algorithm ‖ key id[16] ‖ u32be material version ‖ salt[16]`.
const HEADER_LEN: usize = 2 + 16 + 4 + SALT_LEN;

/// The id in a key's ARN.
fn key_id(arn: &Arn) -> Option<Uid> {
    Uid::parse(arn.resource().strip_prefix("key/")?).ok()
}

/// `u16be len ‖ key ARN ‖ u32be version`: material moved to another row does not open.
fn material_aad(arn: &Arn, version: u32) -> Result<Vec<u8>> {
    let mut aad = Vec::new();
    push_text(&mut aad, arn.as_str())?;
    aad.extend_from_slice(&version.to_be_bytes());
    Ok(aad)
}

/// `header ‖ u16be n ‖ n × (u16be len ‖ name ‖ u16be len ‖ value)`, names sorted by their bytes.
fn ciphertext_aad(header: &[u8], context: &Context) -> Result<Vec<u8>> {
    let mut aad = header.to_vec();
    let count = u16::try_from(context.pairs().count()).map_err(|_| too_long())?;
    aad.extend_from_slice(&count.to_be_bytes());
    for (name, value) in context.pairs() {
        push_text(&mut aad, name)?;
        push_text(&mut aad, value)?;
    }
    Ok(aad)
}

fn push_text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    out.extend_from_slice(&u16::try_from(text.len()).map_err(|_| too_long())?.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn too_long() -> Error {
    Error::TooLarge { what: "text or list in authenticated data", limit: u64::from(u16::MAX) }
}

fn rows(source: crate::error::Error) -> Error {
    Error::Rows { source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::{Context, EmbeddedKms, KeyRows, KeyState, Kms, Material, PURPOSE, Refusal, RootKey, material_aad};
    use crate::clock::Clock;
    use crate::keys::Error;
    use crate::keys::conformance::MemoryRows;
    use crate::names::{AccountId, Arn, Region};
    use std::sync::Arc;

    fn kms() -> (EmbeddedKms, Arc<MemoryRows>) {
        let rows = Arc::new(MemoryRows::default());
        (EmbeddedKms::new(rows.clone(), Arc::new(RootKey::from_bytes([3; 32])), Clock::system()), rows)
    }

    async fn key(kms: &EmbeddedKms) -> Arn {
        kms.create_key(AccountId::from_seed(1), &Region::parse("us-east-1").unwrap(), "").await.unwrap().arn
    }

    fn context() -> Context {
        Context::new([("a", "b")]).unwrap()
    }

    fn refusal<T>(result: Result<T, Error>) -> Option<Refusal> {
        let Error::Kms { refusal, .. } = result.err()? else { return None };
        Some(refusal)
    }

    #[tokio::test]
    async fn old_ciphertexts_open_after_the_material_is_renewed() {
        let (kms, rows) = kms();
        let arn = key(&kms).await;
        let (old, old_ciphertext) = kms.generate_data_key(&arn, &context()).await.unwrap();

        let mut row = rows.load(&arn).await.unwrap().unwrap();
        let sealed = kms.root.seal(PURPOSE, &material_aad(&arn, 2).unwrap(), &[8; 32]).unwrap();
        row.materials.push(Material { version: 2, sealed });
        rows.insert(row).await.unwrap();

        let (new, new_ciphertext) = kms.generate_data_key(&arn, &context()).await.unwrap();
        assert_eq!((old_ciphertext[21], new_ciphertext[21]), (1, 2), "the version stands in the ciphertext");
        assert_eq!(kms.decrypt(&arn, &old_ciphertext, &context()).await.unwrap(), old);
        assert_eq!(kms.decrypt(&arn, &new_ciphertext, &context()).await.unwrap(), new);
        let mut unknown = new_ciphertext;
        unknown[21] = 3;
        assert_eq!(refusal(kms.decrypt(&arn, &unknown, &context()).await), Some(Refusal::InvalidCiphertext));
    }

    #[tokio::test]
    async fn a_key_pending_deletion_is_refused_in_the_words_of_kms() {
        let (kms, rows) = kms();
        let arn = key(&kms).await;
        let (_, ciphertext) = kms.generate_data_key(&arn, &context()).await.unwrap();
        rows.set_state(&arn, KeyState::PendingDeletion).await.unwrap();
        let error = kms.decrypt(&arn, &ciphertext, &context()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("KMSInvalidStateException") && text.contains(&format!("{arn} is pending deletion")));
        assert_eq!(refusal(kms.generate_data_key(&arn, &context()).await), Some(Refusal::InvalidState));
        assert_eq!(refusal(kms.set_enabled(&arn, true).await), Some(Refusal::InvalidState));
    }

    #[tokio::test]
    async fn material_moved_to_another_row_or_root_key_does_not_open() {
        let (kms, rows) = kms();
        let (a, b) = (key(&kms).await, key(&kms).await);
        let mut row = rows.load(&b).await.unwrap().unwrap();
        row.materials = rows.load(&a).await.unwrap().unwrap().materials;
        rows.insert(row).await.unwrap();
        assert!(matches!(kms.generate_data_key(&b, &context()).await, Err(Error::Tampered { .. })));

        let other = EmbeddedKms::new(rows, Arc::new(RootKey::from_bytes([4; 32])), Clock::system());
        assert!(matches!(other.generate_data_key(&a, &context()).await, Err(Error::Tampered { .. })));
    }

    #[tokio::test]
    async fn descriptions_are_bounded() {
        let (kms, _) = kms();
        let region = Region::parse("us-east-1").unwrap();
        for (len, good) in [(EmbeddedKms::MAX_DESCRIPTION, true), (EmbeddedKms::MAX_DESCRIPTION + 1, false)] {
            assert_eq!(kms.create_key(AccountId::from_seed(1), &region, &"d".repeat(len)).await.is_ok(), good);
        }
    }
}
