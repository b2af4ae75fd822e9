//! The key management service that everything hangs on, as a trait with the methods that are needed.
//!
//! Two implementations exist: the embedded keyring and AWS KMS. Their contract is the list of cases in
//! `tests/it/conformance_kms.rs`.

use super::{Error, Result};
use crate::clock::Timestamp;
use crate::error::Reason;
use crate::names::{AccountId, Arn, Region};
use crate::secret::Secret;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// A key management service with the semantics of AWS KMS.
///
/// Every method may take as long as a network does; implementations bound that. Refusals are [`Error::Kms`] with the
/// [`Refusal`] that AWS would give.
#[async_trait]
pub trait Kms: Send + Sync {
    /// Makes a key, enabled at once.
    async fn create_key(&self, account: AccountId, region: &Region, description: &str) -> Result<KeyInfo>;

    /// Reads a key's state.
    async fn describe_key(&self, arn: &Arn) -> Result<KeyInfo>;

    /// Lists the keys of an account, in the order of their ARNs.
    async fn list_keys(&self, account: AccountId) -> Result<Vec<KeyInfo>>;

    /// Whether a key is one of an account's: the KMS's own answer, for on AWS the account in a key's ARN may be another.
    async fn belongs_to(&self, arn: &Arn, account: AccountId) -> Result<bool>;

    /// Enables or disables a key; repeating it changes nothing. Cached branch keys are the caller's to forget.
    async fn set_enabled(&self, arn: &Arn, enabled: bool) -> Result<()>;

    /// Makes a 256-bit key: in clear, and encrypted under `arn` with the context.
    async fn generate_data_key(&self, arn: &Arn, context: &Context) -> Result<(Secret<[u8; 32]>, Vec<u8>)>;

    /// Decrypts a 256-bit key that was encrypted under `arn` with exactly this context.
    async fn decrypt(&self, arn: &Arn, ciphertext: &[u8], context: &Context) -> Result<Secret<[u8; 32]>>;

    /// Decrypts under one key and context and encrypts under another, without showing the plaintext.
    async fn re_encrypt(
        &self,
        from: &Arn,
        ciphertext: &[u8],
        from_context: &Context,
        to: &Arn,
        to_context: &Context,
    ) -> Result<Vec<u8>>;
}

/// An encryption context: pairs that are authenticated with a ciphertext and stand in the clear in KMS's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context(BTreeMap<String, String>);

impl Context {
    /// The most bytes all names and values of a context may have together, as in AWS KMS.
    pub const MAX_LEN: usize = 8_192;

    /// The context of a repository's branch keys: `aws:ecr:arn` is the repository's ARN, as ECR has it.
    #[must_use]
    pub fn repository(arn: &Arn) -> Self {
        // An ARN has at most 2,048 bytes, so the limit holds.
        Self(BTreeMap::from([("aws:ecr:arn".to_owned(), arn.to_string())]))
    }

    /// A context of any pairs; their order means nothing, their case does.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond [`Context::MAX_LEN`].
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let pairs: BTreeMap<_, _> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > Self::MAX_LEN {
            return Err(Error::TooLarge { what: "encryption context", limit: Self::MAX_LEN as u64 });
        }
        Ok(Self(pairs))
    }

    /// The pairs, sorted by the bytes of their names.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What a KMS says of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    /// `arn:aws:kms:<region>:<account>:key/<id>`.
    pub arn: Arn,
    /// Whether it can be used.
    pub state: KeyState,
    /// What its maker wrote, at most 8,192 bytes.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whether a key can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// It can.
    Enabled,
    /// It cannot, until it is enabled again.
    Disabled,
    /// It cannot, and will be destroyed; other states in which AWS refuses a key count as this one.
    PendingDeletion,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $refusal:ident $name:literal $reason:ident $sentence:literal;)*) => {
        /// Why a KMS did not do what was asked.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Refusal { $($(#[$doc])* $refusal,)* }

        impl Refusal {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$refusal,)*];

            /// The exception's name on AWS's wire, or a name of ours where KMS has not answered.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$refusal => $name,)* }
            }

            /// The reason a caller is given.
            #[must_use]
            pub fn reason(self) -> Reason {
                match self { $(Self::$refusal => Reason::$reason,)* }
            }

            /// One sentence about the key.
            pub(super) fn sentence(self, key: &str) -> String {
                match self { $(Self::$refusal => format!($sentence, key = key),)* }
            }
        }
    };
}

refusals! {
    /// The key is disabled.
    Disabled "DisabledException" KeyUnavailable "{key} is disabled.";
    /// The key is pending deletion, or in another state that forbids its use.
    InvalidState "KMSInvalidStateException" KeyUnavailable "{key} is pending deletion or otherwise not usable.";
    /// There is no such key.
    NotFound "NotFoundException" KeyUnavailable "Key '{key}' does not exist";
    /// This server may not use the key.
    AccessDenied "AccessDeniedException" KeyUnavailable "this server may not use {key}; see its key policy";
    /// The KMS has too many requests.
    Throttled "ThrottlingException" KeyUnavailable "too many requests for {key} at once";
    /// The KMS did not answer in time, or not in a way that can be understood.
    Unreachable "Unreachable" KeyUnavailable "the KMS that holds {key} did not give an answer";
    /// The ciphertext or its context is not what was encrypted.
    InvalidCiphertext "InvalidCiphertextException" DataLoss "the ciphertext or its context is not what {key} encrypted";
    /// The ciphertext was made under another key.
    IncorrectKey "IncorrectKeyException" DataLoss "the ciphertext was not made under {key}";
}

#[cfg(test)]
mod tests {
    use super::Context;

    #[test]
    fn a_context_is_sorted_and_bounded() {
        let context = Context::new([("b", "1"), ("a", "2"), ("B", "3")]).unwrap();
        assert_eq!(context.pairs().collect::<Vec<_>>(), [("B", "3"), ("a", "2"), ("b", "1")]);
        let long = "v".repeat(Context::MAX_LEN - 1);
        assert!(Context::new([("k", long.as_str())]).is_ok());
        assert!(Context::new([("kk", long.as_str())]).is_err());
    }
}
