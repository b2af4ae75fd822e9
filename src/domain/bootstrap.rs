//! The first start of a region: its organization, the first token key, the first accounts.

use super::App;
use super::directory::{NewAccessKey, TOKEN_KEY};
use crate::ctx::{Caller, Ctx, Mutation};
use crate::error::{Error, Reason, Result};
use crate::identity::{TokenKey, TokenKeys};
use crate::keys;
use crate::names::{AccountId, Region, Uid};
use crate::secret::Secret;
use crate::store::directory::{Account, Organization, TokenKeyRow};
use crate::store::{self, Apply, Done, Tx};
use std::sync::{Arc, PoisonError};

/// Makes the organization known to this region; in its home region also makes the first token key.
struct Found {
    organization: Organization,
    token_key: Option<TokenKeyRow>,
    now: crate::clock::Timestamp,
}

impl Apply for Found {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        tx.organization_insert(&self.organization, self.now).await?;
        if let Some(key) = &self.token_key
            && tx.token_key_list().await?.is_empty()
        {
            tx.token_key_put(key).await?;
            tx.directory_note("token-key", &key.id.to_string(), self.now).await?;
        }
        Ok(Done::Commit(()))
    }
}

/// Writes the node whose disk holds the blobs into a store that has none.
struct Claim {
    node: Uid,
    region: Region,
    now: crate::clock::Timestamp,
}

impl Apply for Claim {
    type Out = (Uid, Region);
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<(Uid, Region)>, store::Error> {
        if let Some(known) = tx.node().await? {
            return Ok(Done::Commit(known));
        }
        tx.node_insert(self.node, &self.region, self.now).await?;
        Ok(Done::Commit((self.node, self.region.clone())))
    }
}

impl App {
    /// Makes sure that the store's blobs lie where this node keeps its own, on its disk or in its bucket: another node
    /// would answer for what it does not have.
    ///
    /// # Errors
    /// When the blobs lie elsewhere, or the store belongs to another region.
    pub async fn claim_node(&self) -> Result<()> {
        let own = self.blobs.place(self.clock.uid()).await?;
        let claim = Claim { node: own, region: self.settings.region.clone(), now: self.clock.now() };
        let (node, region) = self.store.write(Arc::new(claim)).await?;
        if node != own {
            let text = format!(
                "the blobs of this store lie at {node}, and this node keeps its own at {own}; several nodes need one bucket"
            );
            return Err(Error::invalid("blobs", text));
        }
        if region != self.settings.region {
            return Err(Error::invalid(
                "region",
                format!("this store is region {region}'s, not {}'s", self.settings.region),
            ));
        }
        self.node.get_or_init(|| if self.blobs.is_shared() { self.clock.uid() } else { own });
        Ok(())
    }

    /// Makes the organization known here, once, and loads the token keys.
    ///
    /// # Errors
    /// When this store belongs to another organization.
    pub async fn found(&self, uid: Option<Uid>, home_region: &Region) -> Result<Organization> {
        let known = self.store.snapshot().await?.tx().organization().await?;
        let organization = match (known, uid) {
            (Some(known), Some(uid)) if known.uid != uid => {
                let text =
                    format!("this store belongs to organization {}, not to {uid}; use another data folder", known.uid);
                return Err(Error::new(Reason::InvalidArgument, text));
            }
            (Some(known), _) => known,
            (None, uid) => {
                Organization { uid: uid.unwrap_or_else(|| self.clock.uid()), home_region: home_region.clone() }
            }
        };
        let now = self.clock.now();
        let token_key = if *home_region == self.settings.region {
            let id: u32 = 1;
            let sealed = self.root.seal(TOKEN_KEY, &id.to_be_bytes(), keys::random::<32>()?.expose())?;
            Some(TokenKeyRow { id, sealed, created_at: now })
        } else {
            None
        };
        self.store.write(Arc::new(Found { organization: organization.clone(), token_key, now })).await?;
        self.reload_token_keys().await?;
        Ok(organization)
    }

    /// Reads the organization's token keys into memory; there are none before the directory has arrived.
    ///
    /// # Errors
    /// When a key does not open under this region's root key.
    pub async fn reload_token_keys(&self) -> Result<()> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let (rows, organization) = (tx.token_key_list().await?, tx.organization().await?);
        let Some(organization) = organization.filter(|_| !rows.is_empty()) else { return Ok(()) };
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            let secret = self.root.open(TOKEN_KEY, &row.id.to_be_bytes(), &row.sealed)?;
            let secret = <[u8; 32]>::try_from(secret.expose().as_slice()).map_err(Error::internal)?;
            keys.push(TokenKey { id: row.id, secret: Secret::new(secret) });
        }
        // The newest seals; all open.
        let Some(current) = keys.pop() else { return Ok(()) };
        let keys = TokenKeys::new(organization.uid, current, keys, self.clock.clone());
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
        Ok(())
    }

    /// Whether an account is there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn account_exists(&self, id: AccountId) -> Result<bool> {
        Ok(self.store.snapshot().await?.tx().account(id).await?.is_some())
    }

    /// Makes one of an organization's first accounts, with this key for its admin; nothing if it is there already.
    ///
    /// # Errors
    /// When this is not the home region, or the store fails.
    pub async fn first_account(&self, name: &str, id: AccountId, key: &NewAccessKey) -> Result<Option<Account>> {
        match self.create_account_with(&self.system("bootstrap"), name, Some(id), key).await {
            Ok(made) => Ok(Some(made)),
            Err(error) if error.reason == Reason::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The context of a job of this server.
    #[must_use]
    pub fn system(&self, job: &'static str) -> Ctx {
        Ctx {
            caller: Caller::System(job),
            region: self.settings.region.clone(),
            request_id: self.clock.uid(),
            now: self.clock.now(),
            source_ip: None,
            secure: true,
            user_agent: "transship".into(),
            mutation: Mutation::default(),
        }
    }
}
