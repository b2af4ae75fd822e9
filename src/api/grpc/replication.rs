//! `ReplicationService`: rules, status, receipts, verification.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::domain::replication::receipt::{How, Receipt};
use crate::domain::replication::rules::{NewRule, Status as Behind};
use crate::domain::replication::verify::{Damage, Progress};
use crate::error::Result;
use crate::names::{AccountId, Region, RepositoryRef};
use crate::ops::Op;
use crate::pb::replication as pb;
use crate::pb::replication::replication_service_server::ReplicationService;
use crate::store::receipts::ReceiptRow;
use crate::store::rules::{Destination, RuleRow};
use futures::{Stream, StreamExt};
use std::pin::Pin;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ReplicationService for Services {
    type VerifyStream = Pin<Box<dyn Stream<Item = Result<pb::VerifyResponse, Status>> + Send>>;

    async fn create_rule(
        &self,
        request: Request<pb::CreateRuleRequest>,
    ) -> Result<Response<pb::CreateRuleResponse>, Status> {
        self.known(Op::CreateReplicationRule, request, async |ctx, message: pb::CreateRuleRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self
                .app
                .create_rule(&ctx, account, new_rule(message.rule.unwrap_or_default())?)
                .await
                .within("rule")?;
            Ok(pb::CreateRuleResponse { rule: Some(rule(row)) })
        })
        .await
    }

    async fn list_rules(
        &self,
        request: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        self.known(Op::ListReplicationRules, request, async |ctx, message: pb::ListRulesRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let rows =
                self.app.list_rules(&ctx, account, names::after_uid(token.as_ref()).of("page_token")?, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.id.to_string());
            Ok(pb::ListRulesResponse { rules: rows.into_iter().map(rule).collect(), next_page_token })
        })
        .await
    }

    async fn delete_rule(
        &self,
        request: Request<pb::DeleteRuleRequest>,
    ) -> Result<Response<pb::DeleteRuleResponse>, Status> {
        self.known(Op::DeleteReplicationRule, request, async |ctx, message: pb::DeleteRuleRequest| {
            let (account, id) = names::numbered(&message.name, "rules").of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, &message.etag)?;
            self.app.delete_rule(&ctx, account, id).await?;
            Ok(pb::DeleteRuleResponse {})
        })
        .await
    }

    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        self.known(Op::GetReplicationStatus, request, async |ctx, message: pb::GetStatusRequest| {
            let all = self.app.replication_status(&ctx, names::account(&message.parent).of("parent")?).await?;
            Ok(pb::GetStatusResponse { destinations: all.into_iter().map(behind).collect() })
        })
        .await
    }

    async fn list_receipts(
        &self,
        request: Request<pb::ListReceiptsRequest>,
    ) -> Result<Response<pb::ListReceiptsResponse>, Status> {
        self.known(Op::ListReceipts, request, async |ctx, message: pb::ListReceiptsRequest| {
            let address = names::repository(&message.parent, &self.app.settings().region).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_receipts(&ctx, &address, after, size).await?;
            let key = |row: &ReceiptRow| {
                let Destination { region, account } = &row.destination;
                format!("{}/{region}/{account}/{}", row.digest, row.tag)
            };
            let next_page_token = names::next_page(&rows, size, key);
            let receipts = rows.into_iter().map(|row| receipt(&address, row)).collect::<Result<_>>()?;
            Ok(pb::ListReceiptsResponse { receipts, next_page_token })
        })
        .await
    }

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        self.known(Op::VerifyImages, request, async |ctx, message: pb::VerifyRequest| {
            let address = names::repository(&message.name, &self.app.settings().region).of("name")?;
            let reports = self.app.verify_repository(&ctx, &address).await?;
            let id = ctx.request_id;
            let told = ReceiverStream::new(reports).map(move |report| match report {
                Ok(progress) => Ok(told(&address, progress)),
                Err(error) => Err(super::status::status(&error, id)),
            });
            let told: Self::VerifyStream = Box::pin(told);
            Ok(told)
        })
        .await
    }
}

fn new_rule(rule: pb::Rule) -> Result<NewRule> {
    let destination = |sent: pb::Destination| {
        Ok(Destination {
            region: Region::parse(&sent.region).of("rule.destinations.region")?,
            account: AccountId::parse(&sent.account).of("rule.destinations.account")?,
        })
    };
    Ok(NewRule {
        repository_prefix: rule.repository_prefix,
        tag_pattern: rule.tag_pattern,
        destinations: rule.destinations.into_iter().map(destination).collect::<Result<_>>()?,
    })
}

fn rule(row: RuleRow) -> pb::Rule {
    pb::Rule {
        name: format!("accounts/{}/rules/{}", row.account, row.id),
        repository_prefix: row.repository_prefix,
        tag_pattern: row.tag_pattern,
        destinations: row.destinations.iter().map(destination).collect(),
        create_time: Some(names::time(row.created_at)),
        etag: row.version.to_string(),
    }
}

fn destination(destination: &Destination) -> pb::Destination {
    pb::Destination { region: destination.region.to_string(), account: destination.account.to_string() }
}

fn behind(status: Behind) -> pb::DestinationStatus {
    let (last_error, last_error_at) = status.last_error.map_or((String::new(), None), |(text, at)| (text, Some(at)));
    pb::DestinationStatus {
        destination: Some(destination(&status.destination)),
        lag: Some(names::duration(status.lag)),
        pending_changes: status.pending,
        last_error,
        last_error_time: last_error_at.map(names::time),
        last_success_time: status.last_success_at.map(names::time),
        failed_changes: status.failed,
    }
}

fn receipt(address: &RepositoryRef, row: ReceiptRow) -> Result<pb::Receipt> {
    let said = Receipt::decode(&row.body)?;
    let blobs = said.blobs.iter().map(|blob| pb::ReceiptBlob {
        digest: blob.digest.to_string(),
        size_bytes: i64::try_from(blob.size).unwrap_or(i64::MAX),
        kms_key_arn: blob.kms_key.to_string(),
        provenance: match blob.how {
            How::Received => pb::Provenance::Received.into(),
            How::Held => pb::Provenance::Held.into(),
        },
        verify_time: Some(names::time(blob.verified_at)),
    });
    Ok(pb::Receipt {
        image: format!("{}/images/{}", names::of_repository(address.account, &address.name), row.digest),
        destination: Some(destination(&row.destination)),
        tag: row.tag,
        blobs: blobs.collect(),
        commit_time: Some(names::time(said.committed_at)),
        body: row.body.into(),
        signature: row.signature.into(),
        certificate: row.certificate.into(),
    })
}

fn told(address: &RepositoryRef, progress: Progress) -> pb::VerifyResponse {
    let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
    let damage = |Damage { digest, problem }| pb::Damage {
        repository: names::of_repository(address.account, &address.name),
        digest: digest.to_string(),
        problem,
    };
    pb::VerifyResponse {
        done: count(progress.done),
        total: count(progress.total),
        bytes: count(progress.bytes),
        damage: progress.damage.into_iter().map(damage).collect(),
    }
}
