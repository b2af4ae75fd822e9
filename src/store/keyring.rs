//! The rows of the embedded keyring: key material, sealed under the region's root key before it comes here.

use super::value::{Row, args};
use super::{Apply, Done, Error, Store, Tx};
use crate::keys::{KeyRow, KeyRows, KeyState, Material};
use crate::names::{AccountId, Arn};
use async_trait::async_trait;
use std::sync::Arc;

struct Insert(KeyRow);

impl Apply for Insert {
    type Out = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, Error> {
        let KeyRow { arn, state, description, created_at, materials } = &self.0;
        let account = arn.account().map_or_else(String::new, |account| account.to_string());
        tx.execute(
            "INSERT INTO kms_keys (arn, account, state, description, created_at) VALUES ($1, $2, $3, $4, $5)",
            args![arn, account, word(*state), description.as_str(), *created_at],
        )
        .await?;
        for material in materials {
            tx.execute(
                "INSERT INTO kms_materials (key, version, sealed) VALUES ($1, $2, $3)",
                args![arn, material.version, material.sealed.as_slice()],
            )
            .await?;
        }
        Ok(Done::Commit(()))
    }
}

struct SetState(Arn, KeyState);

impl Apply for SetState {
    type Out = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, Error> {
        tx.execute("UPDATE kms_keys SET state = $2 WHERE arn = $1", args![&self.0, word(self.1)]).await?;
        Ok(Done::Commit(()))
    }
}

#[async_trait]
impl KeyRows for Store {
    async fn load(&self, arn: &Arn) -> crate::error::Result<Option<KeyRow>> {
        let mut snapshot = self.snapshot().await?;
        let mut tx = snapshot.tx();
        let row = tx.opt("SELECT arn, state, description, created_at FROM kms_keys WHERE arn = $1", args![arn]).await?;
        match row {
            Some(row) => Ok(Some(tx.kms_key(&row).await?)),
            None => Ok(None),
        }
    }

    async fn insert(&self, row: KeyRow) -> crate::error::Result<()> {
        Ok(self.write(Arc::new(Insert(row))).await?)
    }

    async fn list(&self, account: AccountId) -> crate::error::Result<Vec<KeyRow>> {
        let mut snapshot = self.snapshot().await?;
        let mut tx = snapshot.tx();
        let rows = tx
            .all(
                "SELECT arn, state, description, created_at FROM kms_keys WHERE account = $1 ORDER BY arn",
                args![account],
            )
            .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            keys.push(tx.kms_key(row).await?);
        }
        Ok(keys)
    }

    async fn set_state(&self, arn: &Arn, state: KeyState) -> crate::error::Result<()> {
        Ok(self.write(Arc::new(SetState(arn.clone(), state))).await?)
    }
}

impl Tx<'_> {
    async fn kms_key(&mut self, row: &Row) -> Result<KeyRow, Error> {
        let arn: Arn = row.get(0)?;
        let materials =
            self.all("SELECT version, sealed FROM kms_materials WHERE key = $1 ORDER BY version", args![&arn]).await?;
        let materials = materials.iter().map(|row| Ok(Material { version: row.get(0)?, sealed: row.get(1)? }));
        Ok(KeyRow {
            materials: materials.collect::<Result<_, Error>>()?,
            arn,
            state: state(row.get(1)?)?,
            description: row.get(2)?,
            created_at: row.get(3)?,
        })
    }
}

const STATES: [(KeyState, &str); 3] =
    [(KeyState::Enabled, "enabled"), (KeyState::Disabled, "disabled"), (KeyState::PendingDeletion, "pending-deletion")];

fn word(state: KeyState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("disabled", |(_, word)| word)
}

fn state(word: &str) -> Result<KeyState, Error> {
    let known = STATES.iter().find(|(_, known)| *known == word);
    known.map(|(state, _)| *state).ok_or_else(|| Error::decode(format!("{word:?} is no key state")))
}
