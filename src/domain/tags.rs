//! When a tag may be moved.

use crate::authz::glob::Pattern;
use crate::error::{Error, Reason, Result};
use crate::gate::Repository;
use crate::names::{Digest, Protected, Tag, TagFilter, TagMutability};
use crate::store::Tx;
use crate::store::images::TagRow;

impl TagMutability {
    /// Whether a tag, once set, may be pointed at another image. No tag is special.
    #[must_use]
    pub fn lets_move(&self, tag: &Tag) -> bool {
        let named =
            |filters: &[TagFilter]| filters.iter().any(|filter| Pattern::new(filter.as_str()).matches(tag.as_str()));
        match self {
            Self::Mutable => true,
            Self::Immutable => false,
            Self::MutableExcept(filters) => !named(filters),
            Self::ImmutableExcept(filters) => named(filters),
        }
    }
}

impl Repository {
    /// Refuses to point a tag at another image than now, if it is immutable or locked. Asked in the transaction that
    /// moves it, so that of two pushers one is refused.
    pub(super) async fn check_movable(&self, tx: &mut Tx<'_>, now: Option<&TagRow>, to: &Digest) -> Result<()> {
        let Some(TagRow { tag, .. }) = now.filter(|row| row.digest != *to) else { return Ok(()) };
        if !self.tag_mutability.lets_move(tag) {
            return Err(self.immutable(tag));
        }
        let lock = tx.lock_of_tag(self.uid, tag).await?;
        lock.map_or(Ok(()), |lock| Err(self.locked(&Protected::Tag(tag.clone()), &lock)))
    }

    fn immutable(&self, tag: &Tag) -> Error {
        // SPEC: Amazon ECR user guide, "Preventing image tags from being overwritten".
        let whose = if self.tag_mutability == TagMutability::Immutable { "repository" } else { "tag" };
        let text = format!(
            "The image tag '{tag}' already exists in the '{}' repository and cannot be overwritten because the {whose} \
             is immutable.",
            self.name
        );
        Error::new(Reason::TagImmutable, text).with("tag", tag).with("repository", &self.name)
    }
}
