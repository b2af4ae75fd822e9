//! Manifests: what a registry must know of them, read from bytes that are never written anew.
//!
//! Guarantees that a manifest accepted here means the same to every client: one media type, one shape, no member
//! twice, bounded in size, depth and counts. Unknown members are left alone. Whether the things a manifest names
//! exist is not asked here.

mod json;

use crate::error::{Error as Envelope, Reason};
use crate::names::{Algorithm, Digest, Error as NameError, MediaType};
use bytes::Bytes;
use json::Members;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Bytes of a manifest.
pub const MAX_BYTES: usize = 4 << 20;
/// Layers of an image.
pub const MAX_LAYERS: usize = 1_000;
/// Manifests of an index.
pub const MAX_CHILDREN: usize = 1_000;

const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// Layers whose bytes their owner forbids to redistribute, so that clients do not push them.
const NOT_DISTRIBUTABLE: [&str; 2] =
    ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign."];

const MEMBERS: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
];
const DESCRIPTOR_MEMBERS: [&str; 8] =
    ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];

/// A manifest's bytes with the digest they were proven to have and the media type they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// The bytes as they came and as they will be served.
    pub bytes: Bytes,
    /// Their digest: the one claimed, else SHA-256.
    pub digest: Digest,
    /// The media type under which they are served.
    pub media_type: MediaType,
}

/// What a manifest says.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Image or index.
    pub kind: Kind,
    /// The image's configuration.
    pub config: Option<Descriptor>,
    /// The image's layers in order.
    pub layers: Vec<Descriptor>,
    /// The index's manifests in order.
    pub children: Vec<Descriptor>,
    /// The manifest that this one is about.
    pub subject: Option<Descriptor>,
    /// What it is: its `artifactType`, else the media type of its configuration.
    pub artifact_type: Option<MediaType>,
    /// The annotations as written: a JSON object of strings.
    pub annotations: Option<Box<RawValue>>,
}

/// The two shapes of manifests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Has a configuration and layers.
    Image,
    /// Has manifests.
    Index,
}

/// A reference to content by media type, digest and size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// The content's media type.
    pub media_type: MediaType,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes, below 2^63.
    pub size: u64,
}

/// Why bytes are no manifest that is taken here. Every message names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than a manifest may have.
    #[error("the manifest has {size} bytes; at most {MAX_BYTES} are taken")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// More elements than a field may have.
    #[error("{field} has more than {limit} elements")]
    TooMany {
        /// The field.
        field: String,
        /// How many it may have.
        limit: usize,
    },
    /// The bytes hash to another digest.
    #[error("the manifest's digest is {actual}, not {claimed}")]
    Digest {
        /// What the request says.
        claimed: Box<Digest>,
        /// What the bytes say.
        actual: Box<Digest>,
    },
    /// No UTF-8.
    #[error("the manifest is not UTF-8")]
    NotText,
    /// No JSON.
    #[error("the manifest is not JSON: line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Nested too deep.
    #[error("the manifest nests deeper than {} levels", json::MAX_DEPTH)]
    TooDeep,
    /// A form that was given up years ago.
    #[error(
        "schemaVersion: Docker schema 1 manifests are not taken; push with a client that writes \
         {DOCKER_IMAGE} or {OCI_IMAGE}"
    )]
    SchemaOne,
    /// A document that some clients take for an image and others for an index (GHSA-qq97-vm5h-rrhg).
    #[error("manifests: an index has no {other}; a manifest is an image or an index, not both")]
    Ambiguous {
        /// The member of an image that it has too.
        other: &'static str,
    },
    /// A field is missing or malformed.
    #[error("{field} {problem}")]
    Field {
        /// The field, such as `layers[3].digest`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl From<Error> for Envelope {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let invalid = |field: &str| Self::new(Reason::ManifestInvalid, text.clone()).with("field", field);
        match &error {
            Error::TooLarge { size } => Self::new(Reason::TooLarge, text).with("size", size).with("limit", MAX_BYTES),
            Error::TooMany { field, limit } => {
                Self::new(Reason::TooLarge, text).with("field", field).with("limit", limit)
            }
            Error::Digest { claimed, actual } => {
                Self::new(Reason::DigestMismatch, text).with("claimed", claimed).with("actual", actual)
            }
            Error::NotText | Error::NotJson { .. } | Error::TooDeep => invalid("manifest"),
            Error::SchemaOne => invalid("schemaVersion"),
            Error::Ambiguous { .. } => invalid("manifests"),
            Error::Field { field, .. } => invalid(field),
        }
    }
}

impl RawManifest {
    /// Takes a manifest's bytes: `declared` is the request's media type, without which the document's own counts;
    /// `claimed` is the digest under which it is pushed, without which it gets its SHA-256.
    ///
    /// # Errors
    /// When the bytes are too many, hash to another digest, or have no media type.
    pub fn new(bytes: Bytes, declared: Option<MediaType>, claimed: Option<Digest>) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::TooLarge { size: bytes.len() });
        }
        let digest = Digest::hash(claimed.map_or(Algorithm::Sha256, |digest| digest.algorithm()), &bytes);
        if let Some(claimed) = claimed.filter(|claimed| *claimed != digest) {
            return Err(Error::Digest { claimed: Box::new(claimed), actual: Box::new(digest) });
        }
        let media_type = match declared {
            Some(declared) => declared,
            None => members(&bytes)?.need("mediaType", "a media type, or the request's Content-Type")?,
        };
        Ok(Self { bytes, digest, media_type })
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is no JSON object of the shape its media type calls for, or beyond a limit.
    pub fn parse(raw: &RawManifest) -> Result<Self, Error> {
        let media_type = raw.media_type.as_str();
        if DOCKER_SCHEMA_1.contains(&media_type) {
            return Err(Error::SchemaOne);
        }
        let members = members(&raw.bytes)?;
        check_version(&members, media_type)?;
        check_media_type(&members, &raw.media_type)?;
        let kind = Kind::of(&members, media_type)?;
        let config = descriptor(&members, "config")?;
        if config.is_none() && [OCI_IMAGE, DOCKER_IMAGE].contains(&media_type) {
            return Err(members.error("config", "is missing"));
        }
        let own_type = members.get::<String>("artifactType", "must be a string")?.filter(|text| !text.is_empty());
        let own_type = own_type.map(|text| parsed(MediaType::parse(&text), &members, "artifactType")).transpose()?;
        Ok(Self {
            kind,
            layers: descriptors(&members, "layers", MAX_LAYERS)?,
            children: descriptors(&members, "manifests", MAX_CHILDREN)?,
            subject: descriptor(&members, "subject")?,
            artifact_type: own_type.or_else(|| config.as_ref().map(|config| config.media_type.clone())),
            annotations: annotations(&members)?,
            config,
        })
    }
}

impl Kind {
    /// The shape of a document, which must be the one its media type has.
    fn of(members: &Members<'_>, media_type: &str) -> Result<Self, Error> {
        let image = ["layers", "config"].into_iter().find(|member| members.has(member));
        let kind = match (members.has("manifests"), image) {
            (true, Some(other)) => return Err(Error::Ambiguous { other }),
            (true, None) => Self::Index,
            (false, Some(_)) => Self::Image,
            (false, None) => {
                return Err(members.error("manifests", "is missing, and so are config and layers: no manifest"));
            }
        };
        let expected = match media_type {
            OCI_IMAGE | DOCKER_IMAGE => Self::Image,
            OCI_INDEX | DOCKER_LIST => Self::Index,
            _ => kind,
        };
        if kind == expected {
            return Ok(kind);
        }
        let problem = match kind {
            Self::Image => "says index, but the document is an image",
            Self::Index => "says image, but the document is an index",
        };
        Err(members.error("mediaType", problem))
    }
}

impl Descriptor {
    /// Whether the content may be passed on, and hence must be here; foreign layers are fetched from elsewhere.
    #[must_use]
    pub fn distributable(&self) -> bool {
        !NOT_DISTRIBUTABLE.iter().any(|prefix| self.media_type.as_str().starts_with(prefix))
    }

    fn read(raw: &RawValue, at: &str) -> Result<Self, Error> {
        let members = Members::read(raw.get(), &DESCRIPTOR_MEMBERS, at)?;
        let media_type: String = members.need("mediaType", "must be a media type")?;
        let digest: String = members.need("digest", "must be a digest")?;
        let size: i64 = members.need("size", "must be a whole number")?;
        Ok(Self {
            media_type: parsed(MediaType::parse(&media_type), &members, "mediaType")?,
            digest: parsed(Digest::parse(&digest), &members, "digest")?,
            size: u64::try_from(size).map_err(|_| members.error("size", "is below zero"))?,
        })
    }
}

fn members(bytes: &[u8]) -> Result<Members<'_>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotText)?;
    json::check_depth(text)?;
    Members::read(text, &MEMBERS, "")
}

/// SPEC: OCI image-spec, `schemaVersion` is 2; types of others may leave it out.
fn check_version(members: &Members<'_>, media_type: &str) -> Result<(), Error> {
    let known = [OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST].contains(&media_type);
    match members.get::<i64>("schemaVersion", "must be 2")? {
        Some(2) => {}
        Some(1) => return Err(Error::SchemaOne),
        None if !known => {}
        Some(_) | None => return Err(members.error("schemaVersion", "must be 2")),
    }
    if members.has("fsLayers") { Err(Error::SchemaOne) } else { Ok(()) }
}

fn check_media_type(members: &Members<'_>, given: &MediaType) -> Result<(), Error> {
    match members.get::<String>("mediaType", "must be a string")? {
        Some(own) if own != given.as_str() => {
            let own: String = own.chars().take(80).collect();
            Err(members.error("mediaType", &format!("is {own:?}, but the request says {given}")))
        }
        Some(_) | None => Ok(()),
    }
}

fn descriptor(members: &Members<'_>, member: &str) -> Result<Option<Descriptor>, Error> {
    members.raw(member).map(|raw| Descriptor::read(raw, &members.path(member))).transpose()
}

fn descriptors(members: &Members<'_>, member: &str, limit: usize) -> Result<Vec<Descriptor>, Error> {
    let list = members.list(member, limit)?;
    list.into_iter().enumerate().map(|(at, raw)| Descriptor::read(raw, &format!("{member}[{at}]"))).collect()
}

fn annotations(members: &Members<'_>) -> Result<Option<Box<RawValue>>, Error> {
    let read = members.get::<BTreeMap<String, String>>("annotations", "must be an object of strings")?;
    Ok(read.and_then(|_| members.raw("annotations")).map(ToOwned::to_owned))
}

fn parsed<T>(result: Result<T, NameError>, members: &Members<'_>, member: &str) -> Result<T, Error> {
    result.map_err(|error| members.error(member, &format!("is {:?}, not {}", error.text, error.rule)))
}

#[cfg(test)]
mod tests;
