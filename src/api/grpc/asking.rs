//! From a gRPC request to its caller and context.

use super::Services;
use super::status::{identify, status};
use crate::api::caller;
use crate::ctx::{Ctx, Mutation};
use crate::error::{Error, Result};
use crate::names::Uid;
use crate::ops::Op;
use std::future::Future;
use tonic::{Request, Response, Status};

impl Services {
    /// Answers a call of a caller who is known; anybody else is told to prove who it is, before anything is read, and
    /// the audit has it under the operation.
    pub(super) async fn known<T, U, F>(
        &self,
        op: Op,
        request: Request<T>,
        call: impl FnOnce(Ctx, T) -> F + Send,
    ) -> Result<Response<U>, Status>
    where
        T: Send,
        F: Future<Output = Result<U>> + Send,
    {
        let (metadata, extensions, message) = request.into_parts();
        let headers = metadata.into_headers();
        let mut ctx = caller::context(&self.app, &headers, &extensions);
        let id = ctx.request_id;
        let outcome = async {
            ctx.caller = caller::of_call(&self.app, &ctx, op, &headers).await?;
            let denied = ctx.clone();
            call(ctx, message).await.map_err(|error| self.app.with_message(&denied, error))
        };
        answered(outcome.await, id)
    }

    /// Answers a call that proves its caller by itself.
    pub(super) async fn unproven<T, U, F>(
        &self,
        request: Request<T>,
        call: impl FnOnce(Ctx, T) -> F + Send,
    ) -> Result<Response<U>, Status>
    where
        T: Send,
        F: Future<Output = Result<U>> + Send,
    {
        let (metadata, extensions, message) = request.into_parts();
        let ctx = caller::context(&self.app, &metadata.into_headers(), &extensions);
        let id = ctx.request_id;
        answered(call(ctx, message).await, id)
    }
}

/// The answer or its error, with the request's id.
fn answered<U>(outcome: Result<U>, id: Uid) -> Result<Response<U>, Status> {
    let mut response = Response::new(outcome.map_err(|error| status(&error, id))?);
    identify(response.metadata_mut(), id);
    Ok(response)
}

/// Takes over how a change is to be carried out.
pub(super) fn changing(mut ctx: Ctx, request_id: &str, validate_only: bool, etag: &str) -> Result<Ctx> {
    let request_id = match request_id {
        "" => None,
        text => Some(Uid::parse(text).map_err(|_| Error::invalid("request_id", "a UUID, or nothing"))?),
    };
    let etag = Some(etag).filter(|etag| !etag.is_empty()).map(ToOwned::to_owned);
    ctx.mutation = Mutation { validate_only, request_id, etag };
    Ok(ctx)
}
