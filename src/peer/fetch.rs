//! The asking end of a repair: a blob's bytes from a region that holds it.

use super::connect::Peers;
use crate::domain::repair::{Body, Replicas, Wanted};
use crate::error::{Error, Reason, Result};
use crate::pb::replication as pb;
use futures::StreamExt;
use futures::future::BoxFuture;
use std::time::Duration;

/// How long a region may take to answer, and to send the next bytes.
const ANSWER: Duration = Duration::from_secs(60);

impl Replicas for Peers {
    fn fetch(&self, wanted: Wanted) -> BoxFuture<'_, Result<Body>> {
        Box::pin(async move {
            let mut client = self.connect(&wanted.holder.region).await?.client;
            let request = pb::FetchBlobRequest {
                asking_account: wanted.account.to_string(),
                holding_account: wanted.holder.account.to_string(),
                repository: wanted.holder.name.to_string(),
                digest: wanted.digest.to_string(),
                offset: i64::try_from(wanted.from).map_err(Error::internal)?,
            };
            let opening = tokio::time::timeout(ANSWER, client.fetch_blob(request));
            let pieces = opening.await.map_err(|_| silent())?.map_err(|e| broken(&e))?.into_inner();
            // The client goes along: its connection must outlive the call.
            let body = futures::stream::unfold((pieces, client), async |(mut pieces, client)| {
                let next = match tokio::time::timeout(ANSWER, pieces.message()).await {
                    Ok(Ok(Some(piece))) => Ok(piece.data),
                    Ok(Ok(None)) => return None,
                    Ok(Err(status)) => Err(broken(&status)),
                    Err(_) => Err(silent()),
                };
                Some((next, (pieces, client)))
            });
            Ok(body.fuse().boxed())
        })
    }
}

fn silent() -> Error {
    Error::new(Reason::Unavailable, format!("the region did not answer for {} seconds", ANSWER.as_secs()))
}

fn broken(status: &tonic::Status) -> Error {
    Error::new(Reason::Unavailable, format!("the region answered: {}", status.message()))
}
