//! Explanations: what the engine that serves requests would answer somebody, and why.

use super::App;
use crate::authz::eval::Outcome;
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, Mfa, Principal, Session};
use crate::error::{Error, Reason, Result};
use crate::gate::{self, Object, Repository, RepositoryAddress};
use crate::names::{Arn, PrincipalKind, PrincipalName, RepositoryRef, SessionName, Tag};
use crate::ops::{Kind, Op};
use std::sync::Arc;
use std::time::Duration;

/// The answer to a question about access.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What the engine decided.
    pub outcome: Outcome,
    /// The sentence the caller would read, or why it is allowed.
    pub sentence: String,
    /// The policy and statement that decided, if one of the asker's account did; else whose it was.
    pub statement: Option<String>,
}

impl App {
    /// Says what the server would answer a user or role, and why.
    ///
    /// # Errors
    /// When the caller may not ask, or the principal or action is unknown.
    pub async fn explain_access(
        &self,
        ctx: &Ctx,
        principal: &Arn,
        action: &str,
        address: &RepositoryRef,
        tag: Option<Tag>,
    ) -> Result<Explanation> {
        let asked = RepositoryAddress::whole(address);
        self.gate.read::<Repository>(ctx, Op::ExplainAccess, &asked).await?;
        let op = operation(action)?;
        let name = PrincipalName::from_arn(principal)?;
        let (owner, asker) = (name.account, ctx.caller.account());
        let caller = self.as_caller(name, ctx.now).await?;
        let theirs = Ctx { caller, ..ctx.clone() };
        let object = tag.map_or(Object::Whole, Object::Tag);
        let ruling = self.gate.explain::<Repository>(&theirs, op, &RepositoryAddress::of(address, object)).await?;
        let of = ruling.kind.map(|kind| gate::account_of(kind, owner, address.account));
        let statement = match of {
            Some(of) if Some(of) != asker => format!("a policy of account {of} decided; ask there which"),
            Some(_) | None => ruling.detail,
        };
        Ok(Explanation { outcome: ruling.outcome, sentence: ruling.sentence, statement: Some(statement) })
    }

    /// A principal as it would call; a role by a session without constraints.
    async fn as_caller(&self, name: PrincipalName, now: Timestamp) -> Result<Caller> {
        let row = self.store.snapshot().await?.tx().principal(&name).await?.ok_or_else(|| {
            Error::new(Reason::NotFound, format!("there is no principal {}", name.arn())).with("principal", name.arn())
        })?;
        let session = match name.kind {
            PrincipalKind::User => None,
            PrincipalKind::Role => Some(Session {
                id: self.clock.uid(),
                name: Some(SessionName::parse("explain")?),
                issued_at: now,
                expires_at: now.plus(Duration::from_secs(60)),
                policies: None,
                scope: None,
                bounds: Vec::new(),
                source_identity: None,
                tags: Vec::new(),
                provider: None,
                mfa: Mfa::Absent,
            }),
        };
        Ok(Caller::Principal(Arc::new(Principal { name, unique_id: row.unique_id, session })))
    }
}

fn operation(action: &str) -> Result<Op> {
    let wanted = match action {
        "pull" => "ecr:BatchGetImage",
        "push" => "ecr:PutImage",
        other => other,
    };
    Op::ALL
        .iter()
        .copied()
        .find(|op| op.spec().resource == Kind::Repository && op.spec().action.eq_ignore_ascii_case(wanted))
        .ok_or_else(|| {
            Error::invalid("action", "pull, push, or an ecr action on repositories such as ecr:BatchGetImage")
        })
}
