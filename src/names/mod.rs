//! The names every module speaks: parsed once at the edge, valid ever after.
//!
//! A value of these types is well formed; whether the thing it names exists is another question.
//! Nothing here performs I/O, reads the clock or knows a wire format.

mod account;
mod arn;
mod digest;
mod issuer;
mod media_type;
mod mutability;
mod network;
mod page;
mod principal;
mod profile;
mod protected;
mod region;
mod repository;
mod session_tag;
mod tag;
mod uid;

pub use account::AccountId;
pub use arn::Arn;
pub use digest::{Algorithm, Digest, Hasher};
pub use issuer::Issuer;
pub use media_type::MediaType;
pub use mutability::{TagFilter, TagMutability};
pub use network::Network;
pub use page::{PageSize, PageToken};
pub use principal::{
    AwsRoleName, AwsRoleRef, FederatedName, MfaDeviceName, MfaDeviceRef, PolicyName, PolicyRef, PrincipalKind,
    PrincipalName, RoleArn, RoleName, SessionName, UserName,
};
pub use profile::Profile;
pub use protected::Protected;
pub use region::Region;
pub use repository::{RepositoryName, RepositoryPattern, RepositoryRef};
pub use session_tag::SessionTag;
pub use tag::{Tag, TagPattern};
pub use uid::Uid;

/// Why a text is not the name it claims to be.
///
/// The message names the kind, quotes the text (shortened) and says what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct Error {
    /// The kind of name that was expected, e.g. `repository name`.
    pub kind: &'static str,
    /// The offending text, cut to 80 characters.
    pub text: String,
    /// What is accepted.
    pub rule: &'static str,
}

impl Error {
    pub(crate) fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        Self { kind, text: text.chars().take(80).collect(), rule }
    }
}

/// Implements serde for a name through its `Display` and `FromStr`.
macro_rules! text_serde {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_serde;

/// Implements `Display`, `Debug`, `AsRef<str>`, `TryFrom<String>` and serde for a name that wraps text
/// and has `parse(&str) -> Result<Self, Error>` and `as_str(&self) -> &str`.
macro_rules! text_name {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::names::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
        $crate::names::text_serde!($name);
    };
}
pub(crate) use text_name;
