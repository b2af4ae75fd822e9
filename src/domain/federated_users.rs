//! Federated users: credentials that a user makes for somebody who is no user here.
//!
//! What they open is what the user may do **and** the session's policies allow, and without such policies only what names
//! the federated user itself. They are judged as all callers are; nothing is remembered of them but their session.

use super::App;
use super::sessions::{Issued, checked_policies, joined_tags, long_duration};
use super::trust::caller;
use crate::authz::permit::Allowed;
use crate::ctx::{Ctx, Mfa, Principal, Session};
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, FederatedUser, FederatedUserAddress};
use crate::names::{AccountId, FederatedName, PolicyRef, SessionName, SessionTag};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::sessions::SessionRow;
use std::time::Duration;

/// For whom credentials are made, and within which bounds.
#[derive(Clone, Debug)]
pub struct GetFederationToken {
    /// The federated user's name.
    pub name: FederatedName,
    /// Session policies.
    pub policies: Vec<String>,
    /// Managed policies of the user's account, as session policies.
    pub managed: Vec<PolicyRef>,
    /// How long; 12 hours unless set.
    pub duration: Option<Duration>,
    /// Tags for the session; they never go on to another.
    pub tags: Vec<SessionTag>,
}

struct MakeFederatedUser {
    row: SessionRow,
    also: Vec<Op>,
}

impl Change for MakeFederatedUser {
    type Resource = FederatedUser;
    type Out = ();

    async fn apply(&self, _: &Allowed<FederatedUser>, tx: &mut Tx<'_>) -> Result<()> {
        Ok(tx.session_insert(&self.row).await?)
    }

    fn also(&self) -> &[Op] {
        &self.also
    }
}

impl App {
    /// Credentials for a federated user, by a user who calls with its own access key, or with a token that was made with it,
    /// whose end is theirs too.
    ///
    /// # Errors
    /// When the caller has no access key of its own, no policy allows it, or a constraint is malformed.
    pub async fn federation_token(&self, ctx: &Ctx, request: GetFederationToken) -> Result<Issued> {
        let caller = caller(ctx)?;
        if !caller.has_own_key() {
            return Err(Error::new(Reason::AccessDenied, "Cannot call GetFederationToken with session credentials"));
        }
        let duration = long_duration(request.duration)?;
        let (policies, tags) = (checked_policies(&request.policies)?, joined_tags(Vec::new(), &request.tags)?);
        let also: Vec<Op> = (!tags.is_empty()).then_some(Op::TagFederatedUser).into_iter().collect();
        let address =
            FederatedUserAddress { account: caller.name.account, name: request.name.clone(), tags: tags.clone() };
        for op in [Op::GetFederationToken].iter().chain(&also) {
            self.gate.check::<FederatedUser>(ctx, *op, std::slice::from_ref(&address)).await?;
        }
        let policies = self.with_managed(caller.name.account, policies, &request.managed).await?;
        let session = Session {
            id: self.clock.uid(),
            name: Some(SessionName::parse(request.name.as_str())?),
            policies,
            tags,
            mfa: Mfa::Absent,
            ..self.session_of(&caller, duration, ctx.now)
        };
        let (issued, row) = self.issue(Principal::clone(&caller), session)?;
        self.gate.write(ctx, Op::GetFederationToken, &address, MakeFederatedUser { row, also }).await?;
        Ok(issued)
    }

    /// Whose an access key is.
    ///
    /// # Errors
    /// When no policy allows to ask, or no user of this organization has the key.
    pub async fn access_key_account(&self, ctx: &Ctx, id: &str) -> Result<AccountId> {
        let mut view = self.gate.read::<crate::gate::Identified>(ctx, Op::GetAccessKeyInfo, &ctx.caller).await?;
        let (_, mut tx) = view.parts();
        if let Some(key) = tx.access_key(id).await?
            && let Some(owner) = tx.principal_by_id(&key.unique_id).await?
        {
            return Ok(owner.name.account);
        }
        let text = format!(
            "no user has the access key {id:?}; of temporary keys only their session token knows whose they are"
        );
        Err(Error::new(Reason::NotFound, text).with("access_key", id))
    }
}
