//! What bounds a decision from above, whatever is given: permissions boundaries, and the organization's control policies.
//!
//! A level without any `Allow` allows everything: who only denies need not list the rest, and who lists what is allowed
//! allows nothing else (ADR 0026). The management account is not bound, nor are its resources.

use super::documents::Documents;
use super::judge::Named;
use crate::authz::policy::{Document, Kind};
use crate::error::Result;
use crate::names::AccountId;
use crate::store::Tx;
use crate::store::control_policies::{ControlPolicyRow, ControlTarget, Controlled};
use crate::store::managed_policies::{Attached, Purpose};
use std::sync::Arc;

/// What stands at a level where nothing is allowed by name.
const FULL_ACCESS: &str = "FullAccess";
const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
const EVERYTHING_FOR_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}"#;
/// What a policy is whose document this region has not heard of.
const NOTHING: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;

/// The bounds of one request.
#[derive(Default)]
pub(super) struct Limits {
    pub(super) boundary: Option<Named>,
    pub(super) scp: Vec<Vec<Named>>,
    pub(super) rcp: Vec<Vec<Named>>,
}

impl Limits {
    /// Takes in the boundary among the policies that are attached to the caller; hands back those that give.
    pub(super) fn take_boundary(&mut self, documents: &Documents, attached: Vec<Attached>) -> Result<Vec<Named>> {
        let mut given = Vec::with_capacity(attached.len());
        for Attached { attachment, document } in attached {
            let id = attachment.policy.to_string();
            match (attachment.purpose, document) {
                (Purpose::Permissions, Some(text)) => given.push((id, documents.parse(Kind::Identity, &text)?)),
                // It may deny: what it says is not known here yet, so nothing is allowed until it is.
                (Purpose::Permissions, None) => given.push((id, documents.parse(Kind::Identity, NOTHING)?)),
                (Purpose::Boundary, text) => {
                    let text = text.as_deref().unwrap_or(NOTHING);
                    self.boundary = Some((id, documents.parse(Kind::Boundary, text)?));
                }
            }
        }
        Ok(given)
    }

    /// Loads what the organization bounds the caller's account by, and that of the resource.
    pub(super) async fn load_control(
        &mut self,
        documents: &Documents,
        tx: &mut Tx<'_>,
        caller: Option<AccountId>,
        resource: Option<AccountId>,
    ) -> Result<()> {
        let rows = tx.control_policies_on(caller, resource).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let management = tx.account_first().await?;
        let levels = |account: Option<AccountId>, controlled| match account.filter(|id| Some(*id) != management) {
            Some(account) => levels(documents, &rows, account, controlled),
            None => Ok(Vec::new()),
        };
        self.scp = levels(caller, Controlled::Principals)?;
        self.rcp = levels(resource, Controlled::Resources)?;
        Ok(())
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        let levels = self.scp.iter().chain(&self.rcp).flatten();
        self.boundary.iter().chain(levels).map(|(_, document)| document)
    }
}

/// The levels from the root down.
fn levels(
    documents: &Documents,
    rows: &[ControlPolicyRow],
    account: AccountId,
    controlled: Controlled,
) -> Result<Vec<Vec<Named>>> {
    let (kind, everything) = match controlled {
        Controlled::Principals => (Kind::ServiceControl, EVERYTHING),
        Controlled::Resources => (Kind::ResourceControl, EVERYTHING_FOR_ALL),
    };
    let mut levels = Vec::new();
    for target in [ControlTarget::Organization, ControlTarget::Account(account)] {
        let mut level = Vec::new();
        for row in rows.iter().filter(|row| row.key.target == target && row.key.controlled == controlled) {
            level.push((row.key.name.to_string(), documents.parse(kind, &row.document)?));
        }
        if !level.iter().any(|(_, document)| document.allows_something()) {
            level.push((FULL_ACCESS.to_owned(), documents.parse(kind, everything)?));
        }
        levels.push(level);
    }
    Ok(levels)
}
