//! Lists that clients walk page by page: a repository's tags, a manifest's referrers.
//!
//! Both are in lexical order, go on after the last entry of the page before, and show only what the caller may see.

use super::App;
use crate::ctx::Ctx;
use crate::error::{Reason, Result};
use crate::gate::{Object, Repository, RepositoryAddress, View};
use crate::names::{Digest, MediaType, RepositoryRef, Tag};
use crate::ops::Op;
use crate::store::images::ReferrerRow;

/// Bytes of the manifests whose annotations one page of referrers holds at most, unless a single one is larger: a page is
/// a manifest to its reader, and no client takes one above 4 MiB.
const REFERRERS_BYTES_MAX: u64 = 3 << 20;

/// A page of tags.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    /// The tags that the caller may see.
    pub tags: Vec<Tag>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// Which referrers are asked for.
#[derive(Clone, Debug)]
pub struct ReferrersOf<'a> {
    /// The manifest they name.
    pub subject: Digest,
    /// What they must be, if that is asked.
    pub artifact_type: Option<&'a MediaType>,
    /// The last one of the page before.
    pub after: Option<Digest>,
    /// How many at most; at least one is considered.
    pub limit: u32,
}

/// A page of referrers.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// The referrers that the caller may see.
    pub rows: Vec<ReferrerRow>,
    /// The last one considered, if there are more behind it.
    pub next: Option<Digest>,
}

impl App {
    /// Up to `limit` tags after one, in order; only those the caller may see.
    ///
    /// # Errors
    /// When the caller may not list, or there is no such repository.
    pub async fn list_tags(&self, ctx: &Ctx, address: &RepositoryRef, after: &str, limit: u32) -> Result<Tags> {
        let asked = RepositoryAddress::of(address, Object::AnyTag);
        let mut view = self.gate.read::<Repository>(ctx, Op::ListImages, &asked).await?;
        let wanted = limit as usize;
        let (mut tags, mut after) = (Vec::new(), after.to_owned());
        while limit > 0 && tags.len() <= wanted {
            let (repository, mut tx) = view.parts();
            // One more than asked for, which tells whether there is a next page.
            let page = tx.tag_list(repository.uid, &after, limit.saturating_add(1)).await?;
            let page: Vec<Tag> = page.into_iter().map(|row| row.tag).collect();
            let Some(last) = page.last().map(ToString::to_string) else { break };
            let ended = page.len() <= wanted;
            tags.extend(view.visible_tags(page).await?);
            if ended {
                break;
            }
            after = last;
        }
        let more = tags.len() > wanted;
        tags.truncate(wanted);
        Ok(Tags { tags, more })
    }

    /// The manifests that name another as their subject and that the caller may read. A repository that a push would
    /// make has none: clients take a missing list for a registry that cannot make one.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository and no push would make it.
    pub async fn list_referrers(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        asked: &ReferrersOf<'_>,
    ) -> Result<Referrers> {
        let object = RepositoryAddress::of(address, Object::Image(asked.subject));
        let mut view = match self.gate.read::<Repository>(ctx, Op::ListImageReferrers, &object).await {
            Ok(view) => view,
            Err(error) if error.reason == Reason::RepositoryNotFound && self.makes_on_push(address).await? => {
                return Ok(Referrers::default());
            }
            Err(error) => return Err(error),
        };
        let Some((last, next)) = referrers_page(&mut view, asked).await? else { return Ok(Referrers::default()) };
        let (repository, mut tx) = view.parts();
        let (kind, after) = asked.bounds();
        let found = tx.referrer_list(repository.uid, &asked.subject, kind, &after, &last).await?;
        let mut rows = Vec::with_capacity(found.len());
        for row in found {
            if view.allows_object(Object::Image(row.digest)).await? {
                rows.push(row);
            }
        }
        Ok(Referrers { rows, next })
    }

    pub(super) async fn makes_on_push(&self, address: &RepositoryRef) -> Result<bool> {
        let mut snapshot = self.store.snapshot().await?;
        let registry = snapshot.tx().registry(address.account).await?;
        Ok(registry.map_or(self.settings.registry.create_on_push, |registry| registry.settings.create_on_push))
    }
}

/// Where the page ends, by count and by bytes, and where the next one begins.
async fn referrers_page(
    view: &mut View<Repository>,
    asked: &ReferrersOf<'_>,
) -> Result<Option<(Digest, Option<Digest>)>> {
    let (repository, mut tx) = view.parts();
    let limit = asked.limit.max(1);
    let (kind, after) = asked.bounds();
    let sizes = tx.referrer_sizes(repository.uid, &asked.subject, kind, &after, limit.saturating_add(1)).await?;
    let (mut bytes, mut last) = (0_u64, None);
    for (digest, size) in sizes.iter().take(limit as usize) {
        bytes = bytes.saturating_add(*size);
        if last.is_some() && bytes > REFERRERS_BYTES_MAX {
            break;
        }
        last = Some(*digest);
    }
    let more = last.is_some() && sizes.last().map(|(digest, _)| *digest) != last;
    Ok(last.map(|last| (last, more.then_some(last))))
}

impl ReferrersOf<'_> {
    fn bounds(&self) -> (Option<&str>, String) {
        let after = self.after.map_or_else(String::new, |digest| digest.to_string());
        (self.artifact_type.map(MediaType::as_str), after)
    }
}
