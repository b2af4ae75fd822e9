//! `LockService`: what must not be deleted.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::error::Result;
use crate::names::Protected;
use crate::ops::Op;
use crate::pb::registry as pb;
use crate::pb::registry::lock_service_server::LockService;
use crate::store::locks::LockRow;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl LockService for Services {
    async fn create_lock(
        &self,
        request: Request<pb::CreateLockRequest>,
    ) -> Result<Response<pb::CreateLockResponse>, Status> {
        self.known(Op::CreateLock, request, async |ctx, message: pb::CreateLockRequest| {
            let address = self.named(&message.parent).of("parent")?;
            let object = Protected::parse(&message.reference).of("reference")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.create_lock(&ctx, &address, object, message.reason).await?;
            Ok(pb::CreateLockResponse { lock: Some(lock(&message.parent, row)) })
        })
        .await
    }

    async fn list_locks(
        &self,
        request: Request<pb::ListLocksRequest>,
    ) -> Result<Response<pb::ListLocksResponse>, Status> {
        self.known(Op::ListLocks, request, async |ctx, message: pb::ListLocksRequest| {
            let address = self.named(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let rows = self.app.list_locks(&ctx, &address, token.as_ref().map(|token| token.key()), size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.object.to_string());
            let locks = rows.into_iter().map(|row| lock(&message.parent, row)).collect();
            Ok(pb::ListLocksResponse { locks, next_page_token })
        })
        .await
    }

    async fn delete_lock(
        &self,
        request: Request<pb::DeleteLockRequest>,
    ) -> Result<Response<pb::DeleteLockResponse>, Status> {
        self.known(Op::DeleteLock, request, async |ctx, message: pb::DeleteLockRequest| {
            let address = self.named(&message.parent).of("parent")?;
            let object = Protected::parse(&message.reference).of("reference")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_lock(&ctx, &address, object).await?;
            Ok(pb::DeleteLockResponse {})
        })
        .await
    }
}

fn lock(parent: &str, row: LockRow) -> pb::Lock {
    pb::Lock {
        parent: parent.to_owned(),
        reference: row.object.to_string(),
        reason: row.reason,
        creator: row.creator,
        create_time: Some(names::time(row.created_at)),
    }
}
