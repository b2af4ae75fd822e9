//! The end of sessions that are not named one by one: those of a user or role, and what a grant gives to any.
//!
//! A revocation says "issued before now"; what is issued afterwards stands. It is written in this region, holds here at
//! once, and goes to every other by the stream that the end of one session goes by. Access keys stay: they are no
//! sessions. So does a grant: ending it altogether is `revoke_grant`.

use super::App;
use super::sessions::SESSION_TOKEN_MAX;
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Directory};
use crate::names::{AccountId, PrincipalName, Uid};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::sessions::{Cut, Revocation, grant_subject};

/// Whose sessions end, or by what they lose access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Of {
    /// Every session of a user or role of the account.
    Principal(PrincipalName),
    /// Nothing but what a grant of the account gives them; whoever they are, and whichever account is theirs.
    Grant(Uid),
}

struct RevokeSessions {
    of: Of,
    revocation: Uid,
    now: Timestamp,
}

impl Change for RevokeSessions {
    type Resource = Directory;
    /// The moment before which a session must have been issued to end.
    type Out = Timestamp;

    async fn apply(&self, account: &Allowed<Directory>, tx: &mut Tx<'_>) -> Result<Timestamp> {
        let (cut, subject) = match &self.of {
            Of::Principal(name) => {
                let row = tx.principal(name).await?.filter(|row| row.name.account == account.0);
                let row = row.ok_or_else(|| {
                    let text = format!("account {} has no {} {}", account.0, name.kind.as_str(), name.name);
                    Error::new(Reason::NotFound, text).with("principal", name.arn())
                })?;
                (Cut::Principal, row.unique_id.to_string())
            }
            Of::Grant(id) => {
                if tx.grant(account.0, *id).await?.is_none() {
                    let text = format!("there is no grant {id} in this registry");
                    return Err(Error::new(Reason::NotFound, text).with("grant", id));
                }
                (Cut::Grant, grant_subject(account.0, *id))
            }
        };
        let revocation = Revocation {
            id: self.revocation,
            cut,
            subject,
            before_at: self.now,
            expires_at: self.now.plus(SESSION_TOKEN_MAX),
            local_origin: true,
        };
        tx.revocation_insert(&revocation, self.now).await?;
        Ok(self.now)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.of).into_bytes()
    }
}

impl App {
    /// Ends every session of a principal that was issued before now, or what a grant gives to such sessions; answers
    /// the moment.
    ///
    /// # Errors
    /// When the caller may not, or the account has no such principal or grant.
    pub async fn revoke_sessions(&self, ctx: &Ctx, account: AccountId, of: Of) -> Result<Timestamp> {
        let change = RevokeSessions { of, revocation: self.clock.uid(), now: ctx.now };
        self.gate.write(ctx, Op::RevokeSessions, &account, change).await
    }
}
