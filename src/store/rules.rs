//! Replication rules, and the slots through which a registry reaches its destinations.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, PageSize, Region, Uid};

/// Where images go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Destination {
    /// The region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
}

impl Destination {
    /// The name of the follower in the cursors of the registry's stream.
    #[must_use]
    pub fn follower(&self) -> String {
        format!("{}/{}", self.region, self.account)
    }
}

/// Which images of a registry go where.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RuleRow {
    /// Its id.
    pub id: Uid,
    /// The registry's account.
    pub account: AccountId,
    /// Repositories whose name begins with this.
    pub repository_prefix: String,
    /// Tags by glob; empty is every image.
    pub tag_pattern: String,
    /// The destinations.
    pub destinations: Vec<Destination>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Rises with every change.
    pub version: i64,
}

/// A registry's way to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRow {
    /// The source account.
    pub account: AccountId,
    /// The destination.
    pub destination: Destination,
    /// Rises with every take-over.
    pub epoch: i64,
    /// The last error in words, and when.
    pub last_error: Option<(String, Timestamp)>,
    /// When something last arrived.
    pub last_success_at: Option<Timestamp>,
}

/// A change set aside because it cannot succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The shard.
    pub shard: u32,
    /// The change.
    pub seq: i64,
    /// Why, for programs.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

impl Tx<'_> {
    /// A rule of an account.
    pub async fn rule(&mut self, account: AccountId, id: Uid) -> Result<Option<RuleRow>, Error> {
        let row = self
            .opt(
                "SELECT id, account, repository_prefix, tag_pattern, created_at, version FROM rules \
                 WHERE account = $1 AND id = $2",
                args![account, id],
            )
            .await?;
        match row {
            Some(row) => Ok(Some(self.rule_row(&row).await?)),
            None => Ok(None),
        }
    }

    /// An account's rules after one.
    pub async fn rule_list(
        &mut self,
        account: AccountId,
        after: Option<Uid>,
        size: PageSize,
    ) -> Result<Vec<RuleRow>, Error> {
        let rows = self
            .all(
                "SELECT id, account, repository_prefix, tag_pattern, created_at, version FROM rules \
                 WHERE account = $1 AND id > $2 ORDER BY id LIMIT $3",
                args![account, after.map_or_else(Vec::new, |id| id.bytes().to_vec()), size.rows()],
            )
            .await?;
        let mut rules = Vec::with_capacity(rows.len());
        for row in &rows {
            rules.push(self.rule_row(row).await?);
        }
        Ok(rules)
    }

    async fn rule_row(&mut self, row: &Row) -> Result<RuleRow, Error> {
        let id: Uid = row.get(0)?;
        let destinations = self
            .all("SELECT region, account FROM rule_destinations WHERE rule = $1 ORDER BY region, account", args![id])
            .await?;
        Ok(RuleRow {
            id,
            account: row.get(1)?,
            repository_prefix: row.get(2)?,
            tag_pattern: row.get(3)?,
            destinations: destinations
                .iter()
                .map(|row| Ok(Destination { region: row.get(0)?, account: row.get(1)? }))
                .collect::<Result<_, Error>>()?,
            created_at: row.get(4)?,
            version: row.get(5)?,
        })
    }

    pub(crate) async fn rule_insert(&mut self, rule: &RuleRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO rules (id, account, repository_prefix, tag_pattern, created_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            args![
                rule.id,
                rule.account,
                rule.repository_prefix.as_str(),
                rule.tag_pattern.as_str(),
                rule.created_at,
                rule.version
            ],
        )
        .await?;
        for destination in &rule.destinations {
            self.execute(
                "INSERT INTO rule_destinations (rule, region, account) VALUES ($1, $2, $3)",
                args![rule.id, &destination.region, destination.account],
            )
            .await?;
        }
        Ok(())
    }

    /// Removes a rule; false when there was none.
    pub(crate) async fn rule_delete(&mut self, account: AccountId, id: Uid) -> Result<bool, Error> {
        self.execute("DELETE FROM rule_destinations WHERE rule = $1", args![id]).await?;
        Ok(self.execute("DELETE FROM rules WHERE account = $1 AND id = $2", args![account, id]).await? > 0)
    }

    /// Every (account, destination) that some rule names.
    pub async fn rule_routes(&mut self) -> Result<Vec<(AccountId, Destination)>, Error> {
        let rows = self
            .all(
                "SELECT DISTINCT r.account, d.region, d.account FROM rules r JOIN rule_destinations d ON d.rule = r.id \
                 ORDER BY r.account, d.region, d.account",
                args![],
            )
            .await?;
        rows.iter().map(|row| Ok((row.get(0)?, Destination { region: row.get(1)?, account: row.get(2)? }))).collect()
    }

    /// Makes a slot unless it is there.
    pub(crate) async fn slot_insert(
        &mut self,
        account: AccountId,
        destination: &Destination,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "INSERT INTO slots (account, region, destination, epoch, lease_until, created_at) \
             VALUES ($1, $2, $3, 0, 0, $4) ON CONFLICT (account, region, destination) DO NOTHING",
            args![account, &destination.region, destination.account, at],
        )
        .await?;
        Ok(())
    }

    /// A slot.
    pub async fn slot(&mut self, account: AccountId, destination: &Destination) -> Result<Option<SlotRow>, Error> {
        let row = self
            .opt(
                "SELECT epoch, last_error, last_error_at, last_success_at FROM slots \
                 WHERE account = $1 AND region = $2 AND destination = $3",
                args![account, &destination.region, destination.account],
            )
            .await?;
        row.map(|row| {
            let error: Option<String> = row.get(1)?;
            let error_at: Option<Timestamp> = row.get(2)?;
            Ok(SlotRow {
                account,
                destination: destination.clone(),
                epoch: row.get(0)?,
                last_error: error.zip(error_at),
                last_success_at: row.get(3)?,
            })
        })
        .transpose()
    }

    /// Takes a slot for a new session, which raises its epoch, or renews the session `renewed`; the epoch while it is
    /// held, `None` when another node or a later session holds it.
    pub(crate) async fn slot_lease(
        &mut self,
        account: AccountId,
        destination: &Destination,
        owner: Uid,
        renewed: Option<i64>,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<Option<i64>, Error> {
        let row = self
            .opt(
                "UPDATE slots SET epoch = epoch + $7, lease_owner = $4, lease_until = $6 \
                 WHERE account = $1 AND region = $2 AND destination = $3 AND (epoch = $8 OR ($8 < 0 \
                 AND (lease_owner IS NULL OR lease_owner = $4 OR lease_until < $5))) RETURNING epoch",
                args![
                    account,
                    &destination.region,
                    destination.account,
                    owner,
                    now,
                    until,
                    renewed.is_none(),
                    renewed.unwrap_or(-1)
                ],
            )
            .await?;
        row.map(|row| row.get(0)).transpose()
    }

    pub(crate) async fn slot_error(
        &mut self,
        account: AccountId,
        destination: &Destination,
        error: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "UPDATE slots SET last_error = $4, last_error_at = $5 WHERE account = $1 AND region = $2 AND destination = $3",
            args![account, &destination.region, destination.account, error, at],
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn slot_success(
        &mut self,
        account: AccountId,
        destination: &Destination,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "UPDATE slots SET last_error = NULL, last_error_at = NULL, last_success_at = $4 \
             WHERE account = $1 AND region = $2 AND destination = $3",
            args![account, &destination.region, destination.account, at],
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn dead_letter_insert(
        &mut self,
        account: AccountId,
        destination: &Destination,
        letter: &DeadLetter,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "INSERT INTO dead_letters (account, region, destination, shard, seq, reason, message, at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (account, region, destination, shard, seq) DO UPDATE SET reason = $6, message = $7, at = $8",
            args![
                account,
                &destination.region,
                destination.account,
                letter.shard,
                letter.seq,
                letter.reason.as_str(),
                letter.message.as_str(),
                at
            ],
        )
        .await?;
        Ok(())
    }

    /// A destination's dead letters, oldest first.
    pub async fn dead_letter_list(
        &mut self,
        account: AccountId,
        destination: &Destination,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let rows = self
            .all(
                "SELECT shard, seq, reason, message FROM dead_letters \
                 WHERE account = $1 AND region = $2 AND destination = $3 ORDER BY shard, seq LIMIT $4",
                args![account, &destination.region, destination.account, limit],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(DeadLetter { shard: row.get(0)?, seq: row.get(1)?, reason: row.get(2)?, message: row.get(3)? })
            })
            .collect()
    }
}
