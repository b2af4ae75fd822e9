//! `SharingService`: grants, and the explanation of access.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::authz::eval::Outcome;
use crate::clock::Timestamp;
use crate::domain::grants::{NewGrant, State};
use crate::error::{Error, Result};
use crate::names::{Arn, Tag, TagPattern};
use crate::ops::Op;
use crate::pb::sharing as pb;
use crate::pb::sharing::sharing_service_server::SharingService;
use crate::store::grants::{GrantAction, GrantRow};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl SharingService for Services {
    async fn create_grant(
        &self,
        request: Request<pb::CreateGrantRequest>,
    ) -> Result<Response<pb::CreateGrantResponse>, Status> {
        self.known(Op::CreateGrant, request, async |ctx, message: pb::CreateGrantRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let new = new_grant(message.grant.unwrap_or_default())?;
            let row = self.app.create_grant(&ctx, account, new).await.within("grant")?;
            Ok(pb::CreateGrantResponse { grant: Some(grant(row, ctx.now)) })
        })
        .await
    }

    async fn get_grant(&self, request: Request<pb::GetGrantRequest>) -> Result<Response<pb::GetGrantResponse>, Status> {
        self.known(Op::ListGrants, request, async |ctx, message: pb::GetGrantRequest| {
            let (account, id) = names::numbered(&message.name, "grants").of("name")?;
            let row = self.app.get_grant(&ctx, account, id).await?;
            Ok(pb::GetGrantResponse { grant: Some(grant(row, ctx.now)) })
        })
        .await
    }

    async fn list_grants(
        &self,
        request: Request<pb::ListGrantsRequest>,
    ) -> Result<Response<pb::ListGrantsResponse>, Status> {
        self.known(Op::ListGrants, request, async |ctx, message: pb::ListGrantsRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let rows =
                self.app.list_grants(&ctx, account, names::after_uid(token.as_ref()).of("page_token")?, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.id.to_string());
            let grants = rows.into_iter().map(|row| grant(row, ctx.now)).collect();
            Ok(pb::ListGrantsResponse { grants, next_page_token })
        })
        .await
    }

    async fn revoke_grant(
        &self,
        request: Request<pb::RevokeGrantRequest>,
    ) -> Result<Response<pb::RevokeGrantResponse>, Status> {
        self.known(Op::RevokeGrant, request, async |ctx, message: pb::RevokeGrantRequest| {
            let (account, id) = names::numbered(&message.name, "grants").of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, &message.etag)?;
            let row = self.app.revoke_grant(&ctx, account, id).await?;
            Ok(pb::RevokeGrantResponse { grant: Some(grant(row, ctx.now)) })
        })
        .await
    }

    async fn explain_access(
        &self,
        request: Request<pb::ExplainAccessRequest>,
    ) -> Result<Response<pb::ExplainAccessResponse>, Status> {
        self.known(Op::ExplainAccess, request, async |ctx, message: pb::ExplainAccessRequest| {
            let repository = names::repository(&message.repository, &self.app.settings().region).of("repository")?;
            let principal = Arn::parse(&message.principal).of("principal")?;
            let tag = Some(message.tag.as_str()).filter(|tag| !tag.is_empty()).map(Tag::parse).transpose().of("tag")?;
            let answer = self.app.explain_access(&ctx, &principal, &message.action, &repository, tag).await?;
            let outcome = match answer.outcome {
                Outcome::Allow => pb::explain_access_response::Outcome::Allowed,
                Outcome::ExplicitDeny => pb::explain_access_response::Outcome::ExplicitDeny,
                Outcome::ImplicitDeny => pb::explain_access_response::Outcome::ImplicitDeny,
            };
            Ok(pb::ExplainAccessResponse {
                outcome: outcome.into(),
                explanation: answer.sentence,
                statement: answer.statement.unwrap_or_default(),
            })
        })
        .await
    }
}

fn new_grant(grant: pb::Grant) -> Result<NewGrant> {
    let action = |action| match pb::GrantAction::try_from(action) {
        Ok(pb::GrantAction::Pull) => Ok(GrantAction::Pull),
        Ok(pb::GrantAction::Push) => Ok(GrantAction::Push),
        Ok(pb::GrantAction::Unspecified) | Err(_) => Err(Error::invalid("grant.actions", "PULL or PUSH")),
    };
    Ok(NewGrant {
        actions: grant.actions.iter().copied().map(action).collect::<Result<_>>()?,
        grantee: grant.grantee,
        repository_pattern: grant.repository_pattern,
        tag_pattern: TagPattern::parse(&grant.tag_pattern).of("grant.tag_pattern")?,
        not_before: grant.start_time.as_ref().map(names::moment).transpose().of("grant.start_time")?,
        not_after: grant.expire_time.as_ref().map(names::moment).transpose().of("grant.expire_time")?,
        reason: grant.reason,
    })
}

fn grant(row: GrantRow, now: Timestamp) -> pb::Grant {
    let state = match row.state(now) {
        State::Active => pb::grant::State::Active,
        State::Expired => pb::grant::State::Expired,
        State::Revoked => pb::grant::State::Revoked,
        State::Scheduled => pb::grant::State::Scheduled,
    };
    let actions = row.actions.iter().map(|action| match action {
        GrantAction::Pull => pb::GrantAction::Pull.into(),
        GrantAction::Push => pb::GrantAction::Push.into(),
    });
    pb::Grant {
        name: format!("accounts/{}/grants/{}", row.account, row.id),
        actions: actions.collect(),
        grantee: row.grantee,
        repository_pattern: row.repository_pattern,
        tag_pattern: row.tag_pattern.to_string(),
        start_time: Some(names::time(row.not_before)),
        expire_time: row.not_after.map(names::time),
        reason: row.reason,
        state: state.into(),
        creator: row.creator,
        create_time: Some(names::time(row.created_at)),
        etag: row.version.to_string(),
    }
}
