//! Images: manifests with their tags, put whole or not at all, read by tag or digest, listed and removed.

use super::manifest::{Manifest, RawManifest};
use super::{App, keyring};
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Object, Repository, RepositoryAddress, Stood, View};
use crate::keys::{BranchKey, DataKey, Envelope, Hashes, Part, SEGMENT_SIZE, open_bytes, seal_bytes};
use crate::names::{Arn, Digest, MediaType, PageSize, PageToken, RepositoryRef, Tag};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::claims::ClaimRow;
use crate::store::images::{EdgeKind, ManifestRow, TagRow};
use crate::store::streams::{self, ImageRef, NewChange};
use bytes::Bytes;
use std::collections::HashSet;

/// How a request names an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl Reference {
    fn object(&self) -> Object {
        match self {
            Self::Tag(tag) => Object::Tag(tag.clone()),
            Self::Digest(digest) => Object::Image(*digest),
        }
    }
}

/// An image's manifest as a client receives it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, exactly as pushed.
    pub bytes: Bytes,
}

/// An image with its tags, for lists.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The manifest's row, its bytes still sealed.
    pub manifest: ManifestRow,
    /// The tags that point at it and that the caller may see.
    pub tags: Vec<Tag>,
}

/// A page of a repository's images.
#[derive(Clone, Debug)]
pub struct Page {
    /// The images that the caller may see.
    pub images: Vec<Listed>,
    /// The KMS key under which the repository's new objects are sealed.
    pub kms_key: Arn,
    /// Where the next page begins.
    pub next: Option<PageToken>,
}

/// What a push led to.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest it refers to, if it does.
    pub subject: Option<Digest>,
}

/// A manifest that is sealed and checked in itself, ready to be stored.
pub(crate) struct SealedManifest {
    pub(crate) row: ManifestRow,
    pub(crate) edges: Vec<(EdgeKind, Digest)>,
    /// Digests that the repository must hold as blobs.
    pub(crate) blobs: Vec<Digest>,
}

impl SealedManifest {
    /// Checks that the repository holds everything the manifest needs, and stores it with these edges.
    pub(crate) async fn store(&self, tx: &mut Tx<'_>, edges: &[(EdgeKind, Digest)]) -> Result<()> {
        self.check_complete(tx, edges).await?;
        self.store_sparse(tx, edges).await
    }

    /// Stores it whether or not the repository holds what it names.
    async fn store_sparse(&self, tx: &mut Tx<'_>, edges: &[(EdgeKind, Digest)]) -> Result<()> {
        Ok(tx.manifest_insert(&self.row, edges).await?)
    }

    async fn check_complete(&self, tx: &mut Tx<'_>, edges: &[(EdgeKind, Digest)]) -> Result<()> {
        let repository = self.row.repository;
        for digest in &self.blobs {
            if !tx.link_exists(repository, digest).await? {
                return Err(not_held(EdgeKind::Blob, digest));
            }
        }
        for (kind, digest) in edges {
            if *kind == EdgeKind::Child && !tx.manifest_exists(repository, digest).await? {
                return Err(not_held(*kind, digest));
            }
        }
        Ok(())
    }

    /// Whether the manifest is of no use without what it names here: a layer that may not be distributed can be missing.
    fn needs(&self, kind: EdgeKind, digest: &Digest) -> bool {
        kind != EdgeKind::Blob || self.blobs.contains(digest)
    }
}

/// What a pusher hears of something that the repository does not hold, or that is hidden from the pusher.
fn not_held(kind: EdgeKind, digest: &Digest) -> Error {
    let what = match kind {
        EdgeKind::Blob => "manifest names blob",
        EdgeKind::Child => "index names manifest",
        EdgeKind::Subject => "manifest's subject is manifest",
    };
    let text = format!("the {what} {digest}, which this repository does not hold; push it first");
    Error::new(Reason::ReferenceNotFound, text).with("digest", digest)
}

struct PutImage {
    manifest: SealedManifest,
    tag: Option<Tag>,
    origin: String,
    /// What the caller may not ask for, and so may name only if it brought it here itself.
    hidden: HashSet<Digest>,
    claim: ClaimRow,
    now: Timestamp,
}

impl Change for PutImage {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        let digest = self.manifest.row.digest;
        let known = tx.manifest_exists(repository.uid, &digest).await?;
        let edges = self.edges(tx).await?;
        if repository.takes_sparse_manifests(tx).await? {
            self.manifest.store_sparse(tx, &edges).await?;
        } else {
            self.manifest.store(tx, &edges).await?;
        }
        tx.claim_put(&self.claim).await?;
        let tag = match &self.tag {
            Some(tag) => self.set_tag(repository, tx, tag).await?,
            None => None,
        };
        if known && tag.is_none() {
            return Ok(());
        }
        let image = ImageRef { repository: repository.uid, digest, tag };
        append(tx, repository, image, self.now).await
    }
}

impl PutImage {
    /// The edges of the manifest: those to what the caller may see or has brought here. Nobody comes to see a blob by
    /// naming it (ADR 0014).
    async fn edges(&self, tx: &mut Tx<'_>) -> Result<Vec<(EdgeKind, Digest)>> {
        let ClaimRow { repository, principal, .. } = &self.claim;
        let mut edges = Vec::with_capacity(self.manifest.edges.len());
        for (kind, digest) in &self.manifest.edges {
            if !self.hidden.contains(digest) || tx.claim_stands(*repository, digest, principal, self.now).await? {
                edges.push((*kind, *digest));
            } else if self.manifest.needs(*kind, digest) {
                return Err(not_held(*kind, digest));
            }
        }
        Ok(edges)
    }

    /// Points the tag here; `None` when it did already.
    async fn set_tag(&self, repository: &Repository, tx: &mut Tx<'_>, tag: &Tag) -> Result<Option<(Tag, i64)>> {
        let digest = self.manifest.row.digest;
        let before = tx.tag(repository.uid, tag).await?;
        if before.as_ref().is_some_and(|row| row.digest == digest && row.origin == self.origin) {
            return Ok(None);
        }
        repository.check_movable(tx, before.as_ref(), &digest).await?;
        // The number of the change that this commits: it grows though the tag, or the whole repository, was deleted.
        let shards = tx.registry(repository.account).await?.map_or(1, |registry| registry.shards);
        let head = tx.stream_head(&streams::registry(repository.account), repository.shard(shards)).await?;
        let version = before.map_or(0, |row| row.version).max(head) + 1;
        let row = TagRow { tag: tag.clone(), digest, version, origin: self.origin.clone() };
        tx.tag_put(repository.uid, &row, self.now).await?;
        Ok(Some((tag.clone(), version)))
    }
}

/// Appends an image change to its registry's stream, in the repository's shard.
async fn append(tx: &mut Tx<'_>, repository: &Repository, image: ImageRef, now: Timestamp) -> Result<()> {
    let shards = tx.registry(repository.account).await?.map_or(1, |registry| registry.shards);
    let shard = repository.shard(shards);
    let change = NewChange { kind: "image", subject: repository.name.to_string(), image: Some(image) };
    tx.stream_append(&streams::registry(repository.account), shard, now, &change).await?;
    Ok(())
}

struct DeleteImage {
    reference: Reference,
    /// Until when its blobs can still be named.
    lease_until: Timestamp,
}

impl Change for DeleteImage {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        repository.check_deletable(tx, &self.reference).await?;
        let gone = match &self.reference {
            Reference::Tag(tag) => tx.tag_delete(repository.uid, tag).await?,
            Reference::Digest(digest) => {
                tx.link_lease_of_manifest(repository.uid, digest, self.lease_until).await?;
                tx.manifest_delete(repository.uid, digest).await?
            }
        };
        if gone { Ok(()) } else { Err(missing(&self.reference)) }
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.reference).into_bytes()
    }
}

impl App {
    /// Asks whether a manifest may be put under a reference and all of these tags: before its bytes are taken, and
    /// before the first is set, so that a refusal leaves nothing behind.
    ///
    /// # Errors
    /// The denial of the first that may not be.
    pub async fn check_put(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        reference: &Reference,
        tags: &[Tag],
    ) -> Result<()> {
        let objects = std::iter::once(reference.object()).chain(tags.iter().cloned().map(Object::Tag));
        let asked: Vec<RepositoryAddress> = objects.map(|object| RepositoryAddress::of(address, object)).collect();
        self.gate.check::<Repository>(ctx, Op::PutImage, &asked).await
    }

    /// Stores a manifest, under a tag if the reference is one; `claimed` is the digest it must have, without which it gets
    /// its SHA-256.
    ///
    /// # Errors
    /// When the caller may not, the manifest cannot be read, its digest is not the one named, or it names something
    /// that the repository does not hold.
    pub async fn put_image(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        reference: Reference,
        claimed: Option<Digest>,
        media_type: Option<MediaType>,
        bytes: Bytes,
    ) -> Result<Pushed> {
        let object = reference.object();
        let repository = self.repository_for_push(ctx, Op::PutImage, address, object.clone()).await?;
        let raw = RawManifest::new(bytes, media_type, claimed)?;
        let manifest = self.seal_manifest(&repository, &raw, ctx.now).await?;
        let pushed = Pushed { digest: raw.digest, subject: manifest.row.subject };
        let tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        let origin = self.origin(repository.account);
        let asked = RepositoryAddress::of(address, object);
        let hidden = self.hidden(ctx, &asked, &manifest.edges).await?;
        let claim = self.claim(ctx, repository.uid, raw.digest)?;
        let change = PutImage { manifest, tag, origin, hidden, claim, now: ctx.now };
        self.gate.write(ctx, Op::PutImage, &asked, change).await?;
        Ok(pushed)
    }

    /// Of what a manifest names, that which no policy lets the caller ask for.
    async fn hidden(
        &self,
        ctx: &Ctx,
        asked: &RepositoryAddress,
        edges: &[(EdgeKind, Digest)],
    ) -> Result<HashSet<Digest>> {
        let mut view = self.gate.look::<Repository>(ctx, Op::PutImage, asked).await?;
        let mut hidden = HashSet::new();
        for (kind, digest) in edges {
            let object = match kind {
                EdgeKind::Blob => Object::Blob(*digest),
                EdgeKind::Child | EdgeKind::Subject => Object::Image(*digest),
            };
            if !view.allows(Op::BatchCheckLayerAvailability, object).await? {
                hidden.insert(*digest);
            }
        }
        Ok(hidden)
    }

    /// The registry of an account here, as tags remember who set them.
    pub(crate) fn origin(&self, account: crate::names::AccountId) -> String {
        format!("{account}/{}", self.settings.region)
    }

    /// Parses and seals a manifest for a repository.
    pub(crate) async fn seal_manifest(
        &self,
        repository: &Repository,
        raw: &RawManifest,
        now: Timestamp,
    ) -> Result<SealedManifest> {
        let manifest = Manifest::parse(raw)?;
        let branch = self.current_branch(repository).await?;
        let (data_key, uid) = (DataKey::random()?, self.clock.uid());
        let (sealed, sealing) = seal_bytes(&data_key, repository.account, uid, &raw.bytes, raw.digest.algorithm())?;
        let key = keyring::wrap(&branch, repository.branch_version, &data_key, repository, uid, sealing.commit())?;
        let size = raw.bytes.len() as u64;
        let row = ManifestRow {
            repository: repository.uid,
            digest: raw.digest,
            sha256: sealing.hashes().beside_name(),
            media_type: raw.media_type.clone(),
            artifact_type: manifest.artifact_type.as_ref().map(ToString::to_string),
            annotations: manifest.annotations.as_ref().map(|raw| raw.get().to_owned()),
            subject: manifest.subject.as_ref().map(|subject| subject.digest),
            size,
            total_size: size.saturating_add(content_size(&manifest)),
            uid,
            key,
            parts: Part::encode_table(sealing.parts()),
            commitment: *sealing.commit(),
            sealed,
            pushed_at: now,
        };
        Ok(SealedManifest { row, edges: edges(&manifest), blobs: required_blobs(&manifest) })
    }

    /// Reads an image, on the snapshot on which its caller was found if there is one.
    ///
    /// # Errors
    /// When the caller may not, there is none, or its key cannot be used.
    pub async fn get_image(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        reference: &Reference,
        stood: Option<Stood>,
    ) -> Result<Image> {
        let (mut view, row) = self.find_image(ctx, address, reference, stood).await?;
        let (repository, mut tx) = view.parts();
        let branch =
            keyring::wrapped_branch(&mut tx, &repository.row, &repository.address, row.key.branch_version).await?;
        let repository = view.into_allowed();
        let bytes = open_manifest(&repository, &row, &*self.branches.get(&branch).await?)?;
        Ok(Image { digest: row.digest, media_type: row.media_type, size: row.size, bytes })
    }

    /// Finds an image without opening it; its bytes are empty.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn head_image(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        reference: &Reference,
        stood: Option<Stood>,
    ) -> Result<Image> {
        let (_, row) = self.find_image(ctx, address, reference, stood).await?;
        Ok(Image { digest: row.digest, media_type: row.media_type, size: row.size, bytes: Bytes::new() })
    }

    async fn find_image(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        reference: &Reference,
        stood: Option<Stood>,
    ) -> Result<(View<Repository>, ManifestRow)> {
        let asked = RepositoryAddress::of(address, reference.object());
        let mut view = self.gate.read_on::<Repository>(ctx, Op::BatchGetImage, &asked, stood).await?;
        let (repository, mut tx) = view.parts();
        let row = match reference {
            Reference::Tag(tag) => tx.manifest_by_tag(repository.uid, tag).await?,
            Reference::Digest(digest) => tx.manifest(repository.uid, digest).await?,
        };
        let row = row.ok_or_else(|| missing(reference))?;
        Ok((view, row))
    }

    /// A manifest's bytes.
    pub(crate) async fn open_manifest(&self, repository: &Repository, row: &ManifestRow) -> Result<Bytes> {
        let branch = self.branch(&repository.row, &repository.address, row.key.branch_version).await?;
        open_manifest(repository, row, &branch)
    }

    /// Removes a tag, or an image with all its tags.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn delete_image(&self, ctx: &Ctx, address: &RepositoryRef, reference: Reference) -> Result<()> {
        let asked = RepositoryAddress::of(address, reference.object());
        let lease_until = self.clock.now().plus(self.settings.link_lease);
        self.gate.write(ctx, Op::BatchDeleteImage, &asked, DeleteImage { reference, lease_until }).await
    }

    /// A page of images after a digest, with the tags the caller may see.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn list_images(&self, ctx: &Ctx, address: &RepositoryRef, after: &str, size: PageSize) -> Result<Page> {
        let asked = RepositoryAddress::of(address, Object::AnyTag);
        let mut view = self.gate.read::<Repository>(ctx, Op::DescribeImages, &asked).await?;
        let (repository, mut tx) = view.parts();
        let (uid, kms_key) = (repository.uid, repository.kms_key.clone());
        let rows = tx.manifest_list(uid, after, size).await?;
        // The page is counted before it is filtered: what is hidden must not end the list.
        let next = PageToken::of_next(&rows, size, |row| row.digest.to_string());
        let mut images = Vec::with_capacity(rows.len());
        for manifest in rows {
            if !view.allows_object(Object::Image(manifest.digest)).await? {
                continue;
            }
            let tags = view.parts().1.tags_of_manifest(uid, &manifest.digest).await?;
            let tags = view.visible_tags(tags).await?;
            images.push(Listed { manifest, tags });
        }
        Ok(Page { images, kms_key, next })
    }
}

impl Repository {
    /// The shard of its registry's stream that its changes go to; one repository lies in one shard.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        let [a, b, c, d, ..] = *self.uid.bytes();
        u32::from_be_bytes([a, b, c, d]) % shards.max(1)
    }
}

fn open_manifest(repository: &Repository, row: &ManifestRow, branch: &BranchKey) -> Result<Bytes> {
    let data_key = keyring::unwrap(branch, &row.key, &repository.address, repository.uid, row.uid, &row.commitment)?;
    let envelope = Envelope {
        account: repository.account,
        blob: row.uid,
        hashes: Hashes::of_name(row.digest, row.sha256)?,
        size: row.size,
        css: SEGMENT_SIZE,
        parts: Part::decode_table(&row.parts)?,
        commit: row.commitment,
    };
    Ok(open_bytes(&data_key, envelope, &row.sealed)?.into())
}

fn edges(manifest: &Manifest) -> Vec<(EdgeKind, Digest)> {
    let blobs = manifest.config.iter().chain(&manifest.layers).map(|d| (EdgeKind::Blob, d.digest));
    let children = manifest.children.iter().map(|d| (EdgeKind::Child, d.digest));
    let subject = manifest.subject.iter().map(|d| (EdgeKind::Subject, d.digest));
    blobs.chain(children).chain(subject).collect()
}

/// The bytes of everything a manifest names, as it states them.
fn content_size(manifest: &Manifest) -> u64 {
    let all = manifest.config.iter().chain(&manifest.layers).chain(&manifest.children);
    all.map(|descriptor| descriptor.size).fold(0, u64::saturating_add)
}

/// The blobs a manifest cannot do without; layers that may not be distributed need not be here.
pub(crate) fn required_blobs(manifest: &Manifest) -> Vec<Digest> {
    manifest
        .config
        .iter()
        .chain(manifest.layers.iter().filter(|layer| layer.distributable()))
        .map(|descriptor| descriptor.digest)
        .collect()
}

pub(super) fn missing(reference: &Reference) -> Error {
    // SPEC: Amazon ECR user guide, text of MANIFEST_UNKNOWN.
    let (key, value) = match reference {
        Reference::Tag(tag) => ("tag", tag.to_string()),
        Reference::Digest(digest) => ("digest", digest.to_string()),
    };
    Error::new(Reason::ImageNotFound, "Requested image not found").with(key, value)
}
