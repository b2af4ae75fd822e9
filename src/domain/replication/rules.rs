//! Replication rules, and how far each destination is behind.

use crate::authz::glob::Pattern;
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::domain::App;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Object, Registry, Repository, RepositoryAddress};
use crate::names::{AccountId, PageSize, RepositoryRef, TagPattern, Uid};
use crate::ops::Op;
use crate::store::receipts::ReceiptRow;
use crate::store::rules::{Destination, RuleRow};
use crate::store::{Tx, registries, streams};
use std::time::Duration;

/// Destinations of one rule, as ECR.
const DESTINATIONS_MAX: usize = 25;
/// Changes looked at to count what is pending; past this the count says "at least".
const PENDING_MAX: i64 = 100_000;

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// Repositories whose name begins with this; empty is every repository.
    pub repository_prefix: String,
    /// Tags by glob; empty is every image.
    pub tag_pattern: String,
    /// 1-25 destinations.
    pub destinations: Vec<Destination>,
}

/// How far one destination is behind.
#[derive(Clone, Debug)]
pub struct Status {
    /// The destination.
    pub destination: Destination,
    /// Age of the oldest change that has not arrived.
    pub lag: Duration,
    /// Changes that have not arrived.
    pub pending: i64,
    /// Changes set aside because they cannot succeed.
    pub failed: i64,
    /// The last error in words, and when.
    pub last_error: Option<(String, Timestamp)>,
    /// When something last arrived.
    pub last_success_at: Option<Timestamp>,
}

impl RuleRow {
    /// Whether an image with these tags, in this repository, goes to this destination.
    #[must_use]
    pub fn covers(&self, destination: &Destination, repository: &str, tags: &[String]) -> bool {
        self.destinations.contains(destination)
            && repository.starts_with(&self.repository_prefix)
            && (self.tag_pattern.is_empty() || {
                let pattern = Pattern::new(&self.tag_pattern);
                tags.iter().any(|tag| pattern.matches(tag))
            })
    }
}

struct CreateRule {
    rule: RuleRow,
    registry: registries::Registry,
}

impl Change for CreateRule {
    type Resource = Registry;
    type Out = RuleRow;

    async fn apply(&self, _: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<RuleRow> {
        let (rule, now) = (&self.rule, self.rule.created_at);
        tx.registry_insert(&self.registry, now).await?;
        let shards = tx.registry(rule.account).await?.map_or(1, |registry| registry.shards);
        let carried = tx.rule_routes().await?;
        tx.rule_insert(rule).await?;
        let stream = streams::registry(rule.account);
        for destination in &rule.destinations {
            tx.slot_insert(rule.account, destination, now).await?;
            // A route begins at the head: what was pushed while no rule named it is not carried.
            if !carried.contains(&(rule.account, destination.clone())) {
                for shard in 0..shards {
                    let head = tx.stream_head(&stream, shard).await?;
                    tx.cursor_set(&stream, shard, &destination.follower(), head, now).await?;
                }
            }
        }
        Ok(rule.clone())
    }

    fn fingerprint(&self) -> Vec<u8> {
        let RuleRow { repository_prefix, tag_pattern, destinations, .. } = &self.rule;
        format!("{repository_prefix:?}{tag_pattern:?}{destinations:?}").into_bytes()
    }
}

struct DeleteRule {
    id: Uid,
}

impl Change for DeleteRule {
    type Resource = Registry;
    type Out = ();

    async fn apply(&self, registry: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<()> {
        if tx.rule_delete(registry.account, self.id).await? { Ok(()) } else { Err(missing(self.id)) }
    }

    async fn etag(&self, registry: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<Option<String>> {
        let rule = tx.rule(registry.account, self.id).await?.ok_or_else(|| missing(self.id))?;
        Ok(Some(rule.version.to_string()))
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.id.bytes().to_vec()
    }
}

impl App {
    /// Adds a rule; images pushed from now on are carried.
    ///
    /// # Errors
    /// When the caller may not, or a field is malformed.
    pub async fn create_rule(&self, ctx: &Ctx, account: AccountId, new: NewRule) -> Result<RuleRow> {
        self.gate.check::<Registry>(ctx, Op::CreateReplicationRule, &[account]).await?;
        let mut destinations = new.destinations;
        destinations.sort();
        destinations.dedup();
        if destinations.is_empty() || destinations.len() > DESTINATIONS_MAX {
            return Err(Error::invalid("destinations", format!("1 to {DESTINATIONS_MAX}")));
        }
        let here = Destination { region: self.settings.region.clone(), account };
        if destinations.contains(&here) {
            return Err(Error::invalid("destinations", "a registry cannot be its own destination"));
        }
        if new.repository_prefix.len() > 256 {
            return Err(Error::invalid("repository_prefix", "at most 256 characters"));
        }
        if !new.tag_pattern.is_empty() {
            TagPattern::parse(&new.tag_pattern)?;
        }
        let rule = RuleRow {
            id: self.clock.uid(),
            account,
            repository_prefix: new.repository_prefix,
            tag_pattern: new.tag_pattern,
            destinations,
            created_at: ctx.now,
            version: 1,
        };
        let change = CreateRule { rule, registry: self.new_registry(account) };
        self.gate.write(ctx, Op::CreateReplicationRule, &account, change).await
    }

    /// A page of a registry's rules after one.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_rules(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: Option<Uid>,
        size: PageSize,
    ) -> Result<Vec<RuleRow>> {
        let mut view = self.gate.read::<Registry>(ctx, Op::ListReplicationRules, &account).await?;
        Ok(view.parts().1.rule_list(account, after, size).await?)
    }

    /// Removes a rule; what has arrived stays.
    ///
    /// # Errors
    /// When the caller may not, there is none, or its etag is another.
    pub async fn delete_rule(&self, ctx: &Ctx, account: AccountId, id: Uid) -> Result<()> {
        self.gate.write(ctx, Op::DeleteReplicationRule, &account, DeleteRule { id }).await
    }

    /// How far each destination of a registry's rules is behind.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn replication_status(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<Status>> {
        let mut view = self.gate.read::<Registry>(ctx, Op::GetReplicationStatus, &account).await?;
        let shards = view.allowed().shards;
        let (_, mut tx) = view.parts();
        let mut all = Vec::new();
        for (_, destination) in tx.rule_routes().await?.into_iter().filter(|(source, _)| *source == account) {
            all.push(status(&mut tx, account, shards, destination, ctx.now).await?);
        }
        Ok(all)
    }

    /// A page of a repository's receipts after a key.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn list_receipts(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<ReceiptRow>> {
        let asked = RepositoryAddress::of(address, Object::Whole);
        let mut view = self.gate.read::<Repository>(ctx, Op::ListReceipts, &asked).await?;
        let (repository, mut tx) = view.parts();
        Ok(tx.receipt_list(repository.uid, after, size).await?)
    }
}

async fn status(
    tx: &mut Tx<'_>,
    account: AccountId,
    shards: u32,
    destination: Destination,
    now: Timestamp,
) -> Result<Status> {
    let stream = streams::registry(account);
    let follower = destination.follower();
    let (mut lag, mut pending) = (Duration::ZERO, 0);
    for shard in 0..shards {
        let cursor = tx.cursor(&stream, shard, &follower).await?.map_or(0, |(seq, _)| seq);
        let head = tx.stream_head(&stream, shard).await?;
        pending += (head - cursor).min(PENDING_MAX);
        if let Some(oldest) = tx.stream_after(&stream, shard, cursor, 1).await?.first() {
            lag = lag.max(now.since(oldest.at));
        }
    }
    let slot = tx.slot(account, &destination).await?;
    let failed = tx.dead_letter_list(account, &destination, 1_000).await?.len();
    Ok(Status {
        lag,
        pending,
        failed: i64::try_from(failed).unwrap_or(i64::MAX),
        last_error: slot.as_ref().and_then(|slot| slot.last_error.clone()),
        last_success_at: slot.and_then(|slot| slot.last_success_at),
        destination,
    })
}

fn missing(id: Uid) -> Error {
    Error::new(Reason::NotFound, format!("there is no replication rule {id} in this registry")).with("rule", id)
}
