//! An OCI image layout on disk.
//!
//! SPEC: OCI image-spec, "OCI Image Layout": `oci-layout`, `index.json`, `blobs/<algorithm>/<hash>`.

use crate::names::{Digest, MediaType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// A folder with images.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// A manifest of a layout.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) media_type: MediaType,
    pub(super) bytes: Vec<u8>,
    document: Value,
}

impl Layout {
    /// A layout in a folder.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes an empty layout.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("blobs/sha256"))?;
        std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self::at(root))
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(hex::encode(digest.bytes()))
    }

    /// Writes a small blob.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        std::fs::write(self.blob(&digest), bytes)?;
        Ok(digest)
    }

    /// Makes an image the layout's only one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(super) fn set_index(&self, digest: &Digest, media_type: &str, size: usize) -> io::Result<()> {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [
            {"mediaType": media_type, "digest": digest.to_string(), "size": size},
        ]});
        std::fs::write(self.root.join("index.json"), index.to_string())
    }

    /// The first image's manifest.
    ///
    /// # Errors
    /// When the layout has none, or it cannot be read.
    pub(super) fn image(&self) -> io::Result<Found> {
        let index: Value = serde_json::from_slice(&std::fs::read(self.root.join("index.json"))?)?;
        let descriptor = index["manifests"].get(0).ok_or_else(|| bad("index.json names no image"))?;
        self.manifest(descriptor)
    }

    pub(super) fn manifest(&self, descriptor: &Value) -> io::Result<Found> {
        let digest = digest(descriptor)?;
        let bytes = std::fs::read(self.blob(&digest))?;
        let media_type = descriptor["mediaType"].as_str().and_then(|text| MediaType::parse(text).ok());
        let media_type = media_type.ok_or_else(|| bad("a descriptor has no media type"))?;
        let document = serde_json::from_slice(&bytes)?;
        Ok(Found { digest, media_type, bytes, document })
    }

    /// The digests of everything the first image consists of: manifests, configurations, layers.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub fn content(&self) -> io::Result<BTreeSet<Digest>> {
        let mut all = BTreeSet::new();
        let mut waiting = vec![self.image()?];
        while let Some(found) = waiting.pop() {
            all.insert(found.digest);
            all.extend(found.blobs()?);
            for child in found.children() {
                waiting.push(self.manifest(child)?);
            }
        }
        Ok(all)
    }

    /// The configurations and layers of the first image, with the sizes that its manifests say.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub fn blobs(&self) -> io::Result<BTreeSet<(Digest, u64)>> {
        let mut all = BTreeSet::new();
        let mut waiting = vec![self.image()?];
        while let Some(found) = waiting.pop() {
            all.extend(found.sized_blobs()?);
            for child in found.children() {
                waiting.push(self.manifest(child)?);
            }
        }
        Ok(all)
    }

    /// The bytes of everything the first image consists of.
    ///
    /// # Errors
    /// When a blob is missing.
    pub fn size(&self) -> io::Result<u64> {
        let sizes = self.content()?.into_iter().map(|digest| Ok(std::fs::metadata(self.blob(&digest))?.len()));
        sizes.sum()
    }

    /// The digest of the first image's manifest.
    ///
    /// # Errors
    /// When there is none.
    pub fn digest(&self) -> io::Result<Digest> {
        Ok(self.image()?.digest)
    }

    /// The largest blob of the first image.
    ///
    /// # Errors
    /// When a blob is missing.
    pub fn largest(&self) -> io::Result<Digest> {
        let mut largest = None;
        for digest in self.content()? {
            largest = largest.max(Some((std::fs::metadata(self.blob(&digest))?.len(), digest)));
        }
        largest.map(|(_, digest)| digest).ok_or_else(|| bad("the image is empty"))
    }
}

impl Found {
    /// Configuration and layers.
    pub(super) fn blobs(&self) -> io::Result<Vec<Digest>> {
        self.descriptors().map(digest).collect()
    }

    /// Configuration and layers, each with the size that the manifest says.
    pub(super) fn sized_blobs(&self) -> io::Result<Vec<(Digest, u64)>> {
        let sized = |descriptor: &Value| {
            let size = descriptor["size"].as_u64().ok_or_else(|| bad("a descriptor has no size"))?;
            Ok((digest(descriptor)?, size))
        };
        self.descriptors().map(sized).collect()
    }

    fn descriptors(&self) -> impl Iterator<Item = &Value> {
        let layers = self.document["layers"].as_array().into_iter().flatten();
        let config = Some(&self.document["config"]).filter(|config| !config.is_null());
        config.into_iter().chain(layers)
    }

    /// The manifests of an index.
    pub(super) fn children(&self) -> impl Iterator<Item = &Value> {
        self.document["manifests"].as_array().into_iter().flatten()
    }
}

fn digest(descriptor: &Value) -> io::Result<Digest> {
    let text = descriptor["digest"].as_str().ok_or_else(|| bad("a descriptor has no digest"))?;
    Digest::parse(text).map_err(io::Error::other)
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
