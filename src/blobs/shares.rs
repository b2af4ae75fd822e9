//! Room and work that accounts share: a bounded number of turns, of which one account never has all.
//!
//! Turns are given in the order in which they are asked for. An account that has its share waits before it stands in the
//! common queue, so a tenant with a thousand transfers delays another's by the turns that are taken, not by a thousand.

use crate::error::{Error, Result};
use crate::names::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of turns.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    all: Arc<Semaphore>,
    /// Turns of one account at once.
    each: usize,
    /// An entry for each account that ever asked: as many as there are accounts.
    accounts: Arc<Mutex<HashMap<AccountId, Arc<Semaphore>>>>,
}

/// A turn; given back on drop.
#[derive(Debug)]
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Shares {
    /// So many turns, three quarters of them for any one account.
    pub(super) fn new(turns: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(turns)), each: (turns * 3 / 4).max(1), accounts: Arc::default() }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self, account: AccountId) -> Result<Turn> {
        let own = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.entry(account).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
        };
        let own = own.acquire_owned().await.map_err(Error::internal)?;
        let all = self.all.clone().acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { _all: all, _own: own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn an_account_that_has_its_share_leaves_turns_for_others() {
        let shares = Shares::new(4);
        let [many, few] = ["111122223333", "444455556666"].map(|id| AccountId::parse(id).unwrap());
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(shares.turn(many).now_or_never().expect("a turn is free").unwrap());
        }
        let waiting: Vec<_> = (0..1_000)
            .map(|_| {
                tokio::spawn({
                    let shares = shares.clone();
                    async move { shares.turn(many).await.map(drop) }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let turn = shares.turn(few).now_or_never().expect("nobody has all turns").unwrap();
        assert!(shares.turn(few).now_or_never().is_none(), "all are taken now");
        drop((taken, turn));
        for waited in waiting {
            waited.await.unwrap().unwrap();
        }
    }
}
