//! Method, path and query of the OCI API as a closed enum whose names are parsed already.
//!
//! Reading a route is pure and comes before authentication: an unknown path costs nothing. A path is read from its
//! right end, so that a repository may be called `a/blobs/uploads`; it is not decoded, but for its last segment,
//! so that a repository has one spelling. Whether the registry named is this one is the caller's question:
//! [`Route::host`] has the region.

use super::address::{self, EcrHost, Repository};
use super::query::{self, Query};
use super::scope;
use crate::ctx::Scope;
use crate::error::{Error as Envelope, Reason};
use crate::names::{Algorithm, Digest, Error as NameError, MediaType, PageSize, Tag, Uid};
use crate::ops::Op;
use http::{Method, Uri};

/// Tags that one manifest may be given in its PUT.
pub const MAX_TAGS: usize = 32;

/// A request for the OCI surface.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// The registry that the host names, if it is of the ECR form.
    pub host: Option<EcrHost>,
    /// What is asked.
    pub call: Call,
}

/// What is asked of the OCI surface.
#[derive(Clone, PartialEq, Debug)]
pub enum Call {
    /// Is this a registry, and am I let in?
    Ping,
    /// A registry token.
    Token {
        /// What it shall be good for; empty is the caller's whole identity.
        scopes: Vec<Scope>,
    },
    /// The list of repositories, which this surface does not offer.
    Catalog,
    /// Something of one repository.
    Repository(Repository, Action),
}

/// What is asked of a repository.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub enum Action {
    /// Read a blob.
    BlobGet { digest: Digest },
    /// Ask for a blob's size.
    BlobHead { digest: Digest },
    /// Remove a blob.
    BlobDelete { digest: Digest },
    /// Begin an upload.
    UploadStart(Start),
    /// Ask how much an upload holds.
    UploadStatus { upload: Uid },
    /// Add bytes to an upload.
    UploadPatch { upload: Uid },
    /// Close an upload under its digest, perhaps with the last bytes.
    UploadPut { upload: Uid, digest: Digest },
    /// Give an upload up.
    UploadCancel { upload: Uid },
    /// Read a manifest.
    ManifestGet { reference: Reference },
    /// Ask for a manifest's digest, type and size.
    ManifestHead { reference: Reference },
    /// Store a manifest under a tag, or under its digest and these tags.
    ManifestPut { reference: Reference, tags: Vec<Tag> },
    /// Remove a tag, or a manifest with its tags.
    ManifestDelete { reference: Reference },
    /// List tags after `last`, at most `n`; `n` is cut to [`PageSize::MAX`].
    Tags { n: Option<u32>, last: Option<Tag> },
    /// List the manifests whose subject this is, after `last`, at most `n`; `n` is cut to [`PageSize::MAX`].
    Referrers { digest: Digest, artifact_type: Option<MediaType>, n: Option<u32>, last: Option<Digest> },
}

/// How an upload begins.
#[derive(Clone, PartialEq, Debug)]
pub enum Start {
    /// Bytes follow in further requests.
    Session {
        /// The algorithm of the digest to come, if announced.
        algorithm: Option<Algorithm>,
    },
    /// The body is the whole blob.
    Whole {
        /// The blob's digest.
        digest: Digest,
    },
    /// The blob may be here already; if not, go on as [`Start::Session`].
    Mount {
        /// The blob's digest.
        digest: Digest,
        /// Where the caller knows it from; `None` leaves the search to the registry.
        from: Option<Repository>,
    },
}

/// How a manifest is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// By a tag.
    Tag(Tag),
    /// By its digest.
    Digest(Digest),
}

impl Call {
    /// The operation that is asked for, as the audit names it when the caller is not believed.
    pub(super) fn op(&self) -> Op {
        match self {
            Self::Ping => Op::GetCallerIdentity,
            Self::Token { .. } => Op::ExchangeToken,
            Self::Catalog => Op::ListRepositories,
            Self::Repository(_, action) => action.op(),
        }
    }

    /// Whether all of the answer is read at once: a manifest, or what is known of a blob before its bytes are sent.
    pub(super) fn is_one_read(&self) -> bool {
        match self {
            Self::Ping | Self::Token { .. } | Self::Catalog => false,
            Self::Repository(_, action) => match action {
                Action::BlobGet { .. }
                | Action::BlobHead { .. }
                | Action::ManifestGet { .. }
                | Action::ManifestHead { .. } => true,
                Action::BlobDelete { .. }
                | Action::UploadStart(_)
                | Action::UploadStatus { .. }
                | Action::UploadPatch { .. }
                | Action::UploadPut { .. }
                | Action::UploadCancel { .. }
                | Action::ManifestPut { .. }
                | Action::ManifestDelete { .. }
                | Action::Tags { .. }
                | Action::Referrers { .. } => false,
            },
        }
    }
}

impl Action {
    fn op(&self) -> Op {
        match self {
            Self::BlobGet { .. } => Op::GetDownloadUrlForLayer,
            Self::BlobHead { .. } => Op::BatchCheckLayerAvailability,
            Self::UploadStart(_) => Op::InitiateLayerUpload,
            Self::UploadStatus { .. } | Self::UploadPatch { .. } | Self::UploadCancel { .. } => Op::UploadLayerPart,
            Self::UploadPut { .. } => Op::CompleteLayerUpload,
            Self::ManifestGet { .. } | Self::ManifestHead { .. } => Op::BatchGetImage,
            Self::ManifestPut { .. } => Op::PutImage,
            Self::BlobDelete { .. } | Self::ManifestDelete { .. } => Op::BatchDeleteImage,
            Self::Tags { .. } => Op::ListImages,
            Self::Referrers { .. } => Op::ListImageReferrers,
        }
    }
}

/// Why a request is none of the OCI API's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such path.
    #[error("there is no such path")]
    UnknownPath,
    /// The path is known, the method is not one of its own.
    #[error("this path answers {allow} only")]
    Method {
        /// The methods it has, as the `Allow` header writes them.
        allow: &'static str,
    },
    /// The repository's address is malformed.
    #[error(transparent)]
    Repository(#[from] address::Error),
    /// A digest is malformed.
    #[error(transparent)]
    Digest(NameError),
    /// The closing PUT of an upload has no digest.
    #[error("the query must have digest=<digest of the whole blob>")]
    NoDigest,
    /// A tag to be written is malformed.
    #[error(transparent)]
    Tag(NameError),
    /// A manifest was asked for by what can be neither tag nor digest.
    #[error("there is no manifest {reference:?}: it is neither a tag nor a digest")]
    NoSuchManifest {
        /// What was asked for, cut to 80 characters.
        reference: String,
    },
    /// An upload id is malformed, so there is no such upload.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// A parameter is malformed.
    #[error("{name}: {rule}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What is accepted.
        rule: String,
    },
    /// The query as a whole is malformed.
    #[error(transparent)]
    Query(#[from] query::Error),
    /// A scope is malformed.
    #[error(transparent)]
    Scope(scope::Error),
}

impl From<scope::Error> for Error {
    fn from(error: scope::Error) -> Self {
        match error {
            scope::Error::Repository(error) => Self::Repository(error),
            scope::Error::Malformed { .. } | scope::Error::TooMany => Self::Scope(error),
        }
    }
}

impl From<Error> for Envelope {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let invalid = |field| Self::new(Reason::InvalidArgument, text.clone()).with("field", field);
        match error {
            Error::UnknownPath => Self::new(Reason::NotFound, text),
            Error::Method { allow } => Self::new(Reason::Unsupported, text).with("allow", allow),
            Error::Repository(_) => invalid("repository name"),
            Error::Digest(_) | Error::NoDigest => invalid("digest"),
            Error::Tag(_) => invalid("tag"),
            Error::NoSuchManifest { reference } => Self::new(Reason::ImageNotFound, text).with("reference", reference),
            Error::NoSuchUpload => Self::new(Reason::UploadNotFound, text),
            Error::Parameter { name, .. } => invalid(name),
            Error::Query(_) => invalid("query"),
            Error::Scope(_) => invalid("scope"),
        }
    }
}

/// Reads a request of the OCI surface. `host` is the host the client asked for, with or without port.
///
/// # Errors
/// When there is no such path or method, or a name or parameter is malformed.
pub fn parse(method: &Method, uri: &Uri, host: &str) -> Result<Route, Error> {
    let host = EcrHost::parse(host);
    let call = call(method, uri, host.as_ref())?;
    Ok(Route { host, call })
}

impl Route {
    /// The scope that a challenge to this request asks for; `None` where an identity is enough.
    #[must_use]
    pub fn scope(&self) -> Option<String> {
        let Call::Repository(repository, action) = &self.call else { return None };
        let host = self.host.as_ref();
        let scope = scope::render(host, repository, action.scope());
        match action {
            Action::UploadStart(Start::Mount { from: Some(from), .. }) => {
                Some(format!("{scope} {}", scope::render(host, from, "pull")))
            }
            Action::UploadStart(Start::Mount { from: None, .. }) => {
                Some(format!("{scope} {}", scope::render_all(host, repository.account, "pull")))
            }
            _ => Some(scope),
        }
    }
}

impl Action {
    /// The words of the token protocol that the action needs.
    fn scope(&self) -> &'static str {
        match self {
            Self::BlobGet { .. }
            | Self::BlobHead { .. }
            | Self::ManifestGet { .. }
            | Self::ManifestHead { .. }
            | Self::Tags { .. }
            | Self::Referrers { .. } => "pull",
            Self::UploadStart(_)
            | Self::UploadStatus { .. }
            | Self::UploadPatch { .. }
            | Self::UploadPut { .. }
            | Self::UploadCancel { .. }
            | Self::ManifestPut { .. } => "pull,push",
            Self::BlobDelete { .. } | Self::ManifestDelete { .. } => "delete",
        }
    }
}

fn call(method: &Method, uri: &Uri, host: Option<&EcrHost>) -> Result<Call, Error> {
    let get = || if method == Method::GET { Ok(()) } else { Err(Error::Method { allow: "GET" }) };
    match uri.path() {
        "/v2" | "/v2/" if method == Method::GET || method == Method::HEAD => Ok(Call::Ping),
        "/v2" | "/v2/" => Err(Error::Method { allow: "GET, HEAD" }),
        "/v2/_catalog" => get().map(|()| Call::Catalog),
        "/token" => {
            get()?;
            let query = Query::parse(uri.query())?;
            Ok(Call::Token { scopes: scope::parse(host, query.all("scope"))? })
        }
        path => {
            let path = path.strip_prefix("/v2/").ok_or(Error::UnknownPath)?;
            let (address, target) = Target::split(path).ok_or(Error::UnknownPath)?;
            let repository = Repository::parse(host, address)?;
            let query = Query::parse(uri.query())?;
            Ok(Call::Repository(repository, target.action(method, &query, host)?))
        }
    }
}

/// What a path names inside a repository; its text not yet parsed.
#[derive(Clone, Copy)]
enum Target<'a> {
    Blob(&'a str),
    Uploads,
    Upload(&'a str),
    Manifest(&'a str),
    Tags,
    Referrers(&'a str),
}

impl<'a> Target<'a> {
    /// Splits the path behind `/v2/` into the repository's address and the target.
    fn split(path: &'a str) -> Option<(&'a str, Self)> {
        if let Some(address) = path.strip_suffix("/blobs/uploads") {
            return Some((address, Self::Uploads));
        }
        let (rest, last) = path.rsplit_once('/')?;
        let (address, noun) = rest.rsplit_once('/')?;
        match (noun, last) {
            ("manifests", reference) => Some((address, Self::Manifest(reference))),
            ("blobs", digest) => Some((address, Self::Blob(digest))),
            ("referrers", digest) => Some((address, Self::Referrers(digest))),
            ("tags", "list") => Some((address, Self::Tags)),
            ("uploads", id) => {
                let address = address.strip_suffix("/blobs")?;
                Some((address, if id.is_empty() { Self::Uploads } else { Self::Upload(id) }))
            }
            _ => None,
        }
    }

    fn action(self, method: &Method, query: &Query<'_>, host: Option<&EcrHost>) -> Result<Action, Error> {
        match self {
            Self::Blob(text) => blob(text, method),
            Self::Uploads if method == Method::POST => start(query, host).map(Action::UploadStart),
            Self::Uploads => Err(Error::Method { allow: "POST" }),
            Self::Upload(id) => upload(id, method, query),
            Self::Manifest(text) => manifest(text, method, query),
            Self::Tags if method == Method::GET => tags(query),
            Self::Referrers(text) if method == Method::GET => referrers(text, query),
            Self::Tags | Self::Referrers(_) => Err(Error::Method { allow: "GET" }),
        }
    }
}

fn blob(text: &str, method: &Method) -> Result<Action, Error> {
    let digest = || digest(&query::decode(text)?);
    match *method {
        Method::GET => Ok(Action::BlobGet { digest: digest()? }),
        Method::HEAD => Ok(Action::BlobHead { digest: digest()? }),
        Method::DELETE => Ok(Action::BlobDelete { digest: digest()? }),
        _ => Err(Error::Method { allow: "GET, HEAD, DELETE" }),
    }
}

/// SPEC: OCI distribution-spec 1.1, "Mounting a blob": a repository that cannot be one begins an ordinary upload.
fn start(query: &Query<'_>, host: Option<&EcrHost>) -> Result<Start, Error> {
    let algorithm = query.one("digest-algorithm")?.map(algorithm).transpose()?;
    if let Some(mount) = query.one("mount")? {
        let digest = digest(mount)?;
        let from = query.one("from")?.filter(|from| !from.is_empty());
        return Ok(match from.map(|from| Repository::parse(host, from)).transpose() {
            Ok(from) => Start::Mount { digest, from },
            Err(_) => Start::Session { algorithm: algorithm.or(Some(digest.algorithm())) },
        });
    }
    match query.one("digest")? {
        Some(text) => Ok(Start::Whole { digest: digest(text)? }),
        None => Ok(Start::Session { algorithm }),
    }
}

fn upload(id: &str, method: &Method, query: &Query<'_>) -> Result<Action, Error> {
    let upload = Uid::parse(id).map_err(|_| Error::NoSuchUpload);
    match *method {
        Method::GET => Ok(Action::UploadStatus { upload: upload? }),
        Method::PATCH => Ok(Action::UploadPatch { upload: upload? }),
        Method::PUT => {
            let digest = digest(query.one("digest")?.ok_or(Error::NoDigest)?)?;
            Ok(Action::UploadPut { upload: upload?, digest })
        }
        Method::DELETE => Ok(Action::UploadCancel { upload: upload? }),
        _ => Err(Error::Method { allow: "GET, PATCH, PUT, DELETE" }),
    }
}

fn manifest(text: &str, method: &Method, query: &Query<'_>) -> Result<Action, Error> {
    let text = query::decode(text)?;
    // No malformed tag can have been stored, so asking for one is asking for what is not there.
    let stored = || match reference(&text) {
        Err(Error::Tag(error)) => Err(Error::NoSuchManifest { reference: error.text }),
        read => read,
    };
    match *method {
        Method::GET => Ok(Action::ManifestGet { reference: stored()? }),
        Method::HEAD => Ok(Action::ManifestHead { reference: stored()? }),
        Method::PUT => {
            let reference = reference(&text)?;
            let tags = new_tags(&reference, query)?;
            Ok(Action::ManifestPut { reference, tags })
        }
        Method::DELETE => Ok(Action::ManifestDelete { reference: reference(&text)? }),
        _ => Err(Error::Method { allow: "GET, HEAD, PUT, DELETE" }),
    }
}

/// The `tag` parameters of a manifest's PUT, which go with a digest only.
fn new_tags(reference: &Reference, query: &Query<'_>) -> Result<Vec<Tag>, Error> {
    let values: Vec<_> = query.all("tag").collect();
    match reference {
        Reference::Tag(_) if !values.is_empty() => {
            Err(parameter("tag", "goes with a manifest pushed by its digest only"))
        }
        _ if values.len() > MAX_TAGS => Err(parameter("tag", &format!("at most {MAX_TAGS} of them"))),
        _ => values.into_iter().map(|tag| Tag::parse(tag).map_err(Error::Tag)).collect(),
    }
}

fn tags(query: &Query<'_>) -> Result<Action, Error> {
    let last = query.one("last")?.filter(|last| !last.is_empty());
    let last = last.map(|last| Tag::parse(last).map_err(|error| parameter("last", &error))).transpose()?;
    Ok(Action::Tags { n: query.one("n")?.map(page).transpose()?, last })
}

fn page(text: &str) -> Result<u32, Error> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(parameter("n", "a number of entries, 0 or more"));
    }
    // Digits that do not fit are a large number, and large numbers are cut (CVE-2023-2253).
    Ok(text.parse().unwrap_or(PageSize::MAX).min(PageSize::MAX))
}

fn referrers(text: &str, query: &Query<'_>) -> Result<Action, Error> {
    let artifact_type = query.one("artifactType")?.filter(|kind| !kind.is_empty());
    let artifact_type = artifact_type
        .map(|kind| MediaType::parse(kind).map_err(|error| parameter("artifactType", &error)))
        .transpose()?;
    let last = query.one("last")?.filter(|last| !last.is_empty());
    let last = last.map(|last| Digest::parse(last).map_err(|error| parameter("last", &error))).transpose()?;
    let n = query.one("n")?.map(page).transpose()?;
    Ok(Action::Referrers { digest: digest(&query::decode(text)?)?, artifact_type, n, last })
}

fn reference(text: &str) -> Result<Reference, Error> {
    // No tag has a colon and every digest has one.
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    Tag::parse(text).map(Reference::Tag).map_err(Error::Tag)
}

fn digest(text: &str) -> Result<Digest, Error> {
    Digest::parse(text).map_err(Error::Digest)
}

fn algorithm(text: &str) -> Result<Algorithm, Error> {
    let known = [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|algorithm| algorithm.as_str() == text);
    known.ok_or_else(|| parameter("digest-algorithm", "sha256 or sha512"))
}

fn parameter(name: &'static str, rule: &(impl ToString + ?Sized)) -> Error {
    Error::Parameter { name, rule: rule.to_string() }
}

#[cfg(test)]
mod tests;
