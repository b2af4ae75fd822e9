//! What a token says, and its packed form inside the seal.
//!
//! Identity and constraints, never permissions: a token can only subtract from what its principal may do.
//! Packing is lossless; the packed form is a protobuf message whose policies and scope are deflated together.

use super::bounds;
use super::deflated::{deflate, inflate};
use super::error::Error;
use crate::clock::Timestamp;
use crate::ctx::{Bound, Caller, Mfa, Principal, Scope, Session};
use crate::names::{AccountId, Arn, PrincipalName, RepositoryName, SessionName, SessionTag, Uid};
use prost::Message;
use std::sync::Arc;

/// The largest packed form, in bytes.
pub const PACKED_BYTES_MAX: usize = 4096;
/// The largest unpacked form of policies and scope, in bytes.
pub const CONSTRAINTS_BYTES_MAX: usize = 64 * 1024;

/// For which door a token was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The session token of temporary credentials: only beside a signature or in a proof.
    Session,
    /// A registry password or bearer: on the registry's HTTP surface, and over gRPC to be made into a narrower one.
    Registry,
    /// A bearer token: on gRPC and on the registry's HTTP surface.
    Bearer,
}

impl Kind {
    /// What the registry's HTTP surface accepts by itself.
    pub const ON_REGISTRY: &'static [Self] = &[Self::Registry, Self::Bearer];
    /// What gRPC accepts by itself.
    pub const ON_GRPC: &'static [Self] = &[Self::Bearer];
    /// What a registry password is made from.
    pub const FOR_PASSWORD: &'static [Self] = Self::ON_REGISTRY;

    fn number(self) -> u32 {
        match self {
            Self::Session => 1,
            Self::Registry => 2,
            Self::Bearer => 3,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Session, Self::Registry, Self::Bearer].into_iter().find(|kind| kind.number() == number)
    }
}

/// Who a token speaks for and within which bounds.
///
/// The organization is not among the claims: the seal is bound to it.
#[derive(Clone, Debug)]
pub struct Claims {
    /// For which door.
    pub kind: Kind,
    /// The user or role.
    pub principal: PrincipalName,
    /// Its unique id, so that a successor of the same name inherits nothing.
    pub unique_id: Arc<str>,
    /// Lifetime and constraints.
    pub session: Session,
}

impl Claims {
    /// The caller that the claims describe.
    #[must_use]
    pub fn into_caller(self) -> Caller {
        Caller::Principal(Arc::new(Principal {
            name: self.principal,
            unique_id: self.unique_id,
            session: Some(self.session),
        }))
    }

    /// The packed form.
    ///
    /// # Errors
    /// `PackedPolicyTooLarge` beyond [`PACKED_BYTES_MAX`], or [`CONSTRAINTS_BYTES_MAX`] before compression.
    pub(super) fn pack(&self) -> Result<Vec<u8>, Error> {
        let Session { id, name, issued_at, expires_at, policies, scope, bounds, source_identity, tags, provider, mfa } =
            &self.session;
        let packed = Packed {
            kind: self.kind.number(),
            principal: self.principal.arn().to_string(),
            unique_id: self.unique_id.to_string(),
            session_id: id.bytes().to_vec(),
            session_name: name.as_ref().map(ToString::to_string),
            issued_at: issued_at.micros(),
            expires_at: expires_at.micros(),
            source_identity: source_identity.as_ref().map(ToString::to_string),
            constraints: Constraints::from_session(policies.as_deref(), scope.as_deref(), bounds, tags)
                .map(|constraints| constraints.deflate())
                .transpose()?,
            provider: provider.as_ref().map(ToString::to_string),
            mfa: match mfa {
                Mfa::Unasked => None,
                Mfa::Absent => Some(0),
                Mfa::Given(at) => Some(at.micros()),
            },
        };
        let bytes = packed.encode_to_vec();
        if bytes.len() > PACKED_BYTES_MAX {
            return Err(Error::PackedPolicyTooLarge { bytes: bytes.len(), limit: PACKED_BYTES_MAX });
        }
        Ok(bytes)
    }

    /// Reads the packed form; `None` when it is none that this version writes.
    pub(super) fn unpack(bytes: &[u8]) -> Option<Self> {
        let packed = Packed::decode(bytes).ok()?;
        let constraints = packed.constraints.as_deref().map(Constraints::inflate);
        let Constraints { policies, scope, tags, bounds } = match constraints {
            Some(constraints) => constraints?,
            None => Constraints::default(),
        };
        Some(Self {
            kind: Kind::from_number(packed.kind)?,
            principal: PrincipalName::from_arn(&Arn::parse(&packed.principal).ok()?).ok()?,
            unique_id: packed.unique_id.into(),
            session: Session {
                id: Uid::from_bytes(packed.session_id.try_into().ok()?),
                name: packed.session_name.map(|name| SessionName::parse(&name)).transpose().ok()?,
                issued_at: Timestamp::from_micros(packed.issued_at),
                expires_at: Timestamp::from_micros(packed.expires_at),
                policies: policies.map(|list| list.texts.into_iter().map(Arc::from).collect()),
                scope: match scope {
                    Some(list) => Some(list.entries.iter().map(Entry::scope).collect::<Option<_>>()?),
                    None => None,
                },
                bounds: bounds.iter().map(|bound| bound.bound().map(Arc::new)).collect::<Option<_>>()?,
                source_identity: packed.source_identity.map(Arc::from),
                tags: tags.iter().map(Tag::session_tag).collect::<Option<_>>()?,
                provider: packed.provider.map(Arc::from),
                mfa: match packed.mfa {
                    None => Mfa::Unasked,
                    Some(0) => Mfa::Absent,
                    Some(at) => Mfa::Given(Timestamp::from_micros(at)),
                },
            },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    principal: String,
    #[prost(string, tag = "3")]
    unique_id: String,
    #[prost(bytes = "vec", tag = "4")]
    session_id: Vec<u8>,
    #[prost(string, optional, tag = "5")]
    session_name: Option<String>,
    #[prost(int64, tag = "6")]
    issued_at: i64,
    #[prost(int64, tag = "7")]
    expires_at: i64,
    #[prost(string, optional, tag = "8")]
    source_identity: Option<String>,
    #[prost(bytes = "vec", optional, tag = "9")]
    constraints: Option<Vec<u8>>,
    #[prost(string, optional, tag = "10")]
    provider: Option<String>,
    /// The moment of a second factor, or 0 for none.
    #[prost(int64, optional, tag = "11")]
    mfa: Option<i64>,
}

/// A list that is absent does not constrain; a list that is empty permits nothing. Hence messages, not repeated fields.
#[derive(Clone, PartialEq, Message)]
struct Constraints {
    #[prost(message, optional, tag = "1")]
    policies: Option<Policies>,
    #[prost(message, optional, tag = "2")]
    scope: Option<Entries>,
    #[prost(message, repeated, tag = "3")]
    tags: Vec<Tag>,
    #[prost(message, repeated, tag = "20")]
    bounds: Vec<bounds::Packed>,
}

#[derive(Clone, PartialEq, Message)]
struct Tag {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(bool, tag = "3")]
    transitive: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Policies {
    #[prost(string, repeated, tag = "1")]
    texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Entries {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    account: String,
    #[prost(string, tag = "2")]
    repository: String,
    #[prost(bool, tag = "3")]
    pull: bool,
    #[prost(bool, tag = "4")]
    push: bool,
    #[prost(bool, tag = "5")]
    delete: bool,
}

impl Constraints {
    fn from_session(
        policies: Option<&[Arc<str>]>,
        scope: Option<&[Scope]>,
        bounds: &[Arc<Bound>],
        tags: &[SessionTag],
    ) -> Option<Self> {
        if policies.is_none() && scope.is_none() && bounds.is_empty() && tags.is_empty() {
            return None;
        }
        let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect();
        let entries = |list: &[Scope]| list.iter().map(Entry::from_scope).collect();
        Some(Self {
            policies: policies.map(|list| Policies { texts: texts(list) }),
            scope: scope.map(|list| Entries { entries: entries(list) }),
            tags: tags.iter().map(Tag::from_session).collect(),
            bounds: bounds.iter().map(|bound| bounds::Packed::from_bound(bound)).collect(),
        })
    }

    fn deflate(&self) -> Result<Vec<u8>, Error> {
        let bytes = self.encoded_len();
        if bytes > CONSTRAINTS_BYTES_MAX {
            return Err(Error::PackedPolicyTooLarge { bytes, limit: CONSTRAINTS_BYTES_MAX });
        }
        Ok(deflate(&self.encode_to_vec()))
    }

    /// Never holds more than [`CONSTRAINTS_BYTES_MAX`] and one byte, whatever the input claims.
    fn inflate(bytes: &[u8]) -> Option<Self> {
        Self::decode(inflate(bytes, CONSTRAINTS_BYTES_MAX)?.as_slice()).ok()
    }
}

impl Tag {
    fn from_session(tag: &SessionTag) -> Self {
        Self { key: tag.key().to_owned(), value: tag.value().to_owned(), transitive: tag.is_transitive() }
    }

    fn session_tag(&self) -> Option<SessionTag> {
        SessionTag::new(&self.key, &self.value, self.transitive).ok()
    }
}

impl Entry {
    fn from_scope(scope: &Scope) -> Self {
        let account = scope.account.to_string();
        // No repository has an empty name, so it stands for all of them.
        let repository = scope.repository.as_ref().map_or_else(String::new, ToString::to_string);
        Self { account, repository, pull: scope.pull, push: scope.push, delete: scope.delete }
    }

    fn scope(&self) -> Option<Scope> {
        let account = AccountId::parse(&self.account).ok()?;
        let repository = match self.repository.as_str() {
            "" => None,
            name => Some(RepositoryName::parse(name).ok()?),
        };
        Some(Scope { account, repository, pull: self.pull, push: self.push, delete: self.delete })
    }
}

#[cfg(test)]
mod tests {
    use super::{CONSTRAINTS_BYTES_MAX, Constraints};
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_deflate_bomb_is_refused_at_the_limit() {
        // One unknown field (number 15, bytes) filled with zeros is a valid message of any size.
        let message = |length: usize| {
            let mut bytes = vec![0x7a];
            prost::encoding::encode_varint(length as u64, &mut bytes);
            bytes.resize(bytes.len() + length, 0);
            bytes
        };
        let fits = message(CONSTRAINTS_BYTES_MAX - 4);
        assert_eq!(fits.len(), CONSTRAINTS_BYTES_MAX);
        assert!(Constraints::inflate(&deflated(&fits)).is_some());
        assert!(Constraints::inflate(&deflated(&message(CONSTRAINTS_BYTES_MAX - 3))).is_none());
        let bomb = deflated(&message(100 << 20));
        assert!(bomb.len() < 128 * 1024, "the bomb is small: {}", bomb.len());
        assert!(Constraints::inflate(&bomb).is_none());
    }

    #[test]
    fn bytes_after_the_stream_are_refused() {
        let mut bytes = deflated(b"");
        assert!(Constraints::inflate(&bytes).is_some());
        bytes.push(0);
        assert!(Constraints::inflate(&bytes).is_none());
        assert!(Constraints::inflate(b"not deflate").is_none());
        assert!(Constraints::inflate(b"").is_none());
    }
}
