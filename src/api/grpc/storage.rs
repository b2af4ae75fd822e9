//! `StorageService`: what the collector and the scrubber did, running them, damaged blobs.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::clock::Timestamp;
use crate::domain::repair::Repaired;
use crate::domain::scrub::{Finding, Progress};
use crate::domain::storage::Report;
use crate::error::{Error, Result};
use crate::names::{PageToken, Uid};
use crate::ops::Op;
use crate::pb::storage as pb;
use crate::pb::storage::storage_service_server::StorageService;
use crate::store::collections::{CollectionRow, Swept};
use crate::store::quarantines::{Place, QuarantineRow};
use futures::{Stream, StreamExt};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl StorageService for Services {
    type CollectStream = Answers<pb::CollectResponse>;
    type ScrubStream = Answers<pb::ScrubResponse>;
    type RepairStream = Answers<pb::RepairResponse>;

    async fn get_report(
        &self,
        request: Request<pb::GetReportRequest>,
    ) -> Result<Response<pb::GetReportResponse>, Status> {
        self.known(Op::GetStorageReport, request, async |ctx, _| Ok(report(self.app.storage_report(&ctx).await?))).await
    }

    async fn collect(&self, request: Request<pb::CollectRequest>) -> Result<Response<Self::CollectStream>, Status> {
        self.known(Op::CollectStorage, request, async |ctx, message: pb::CollectRequest| {
            let ctx = changing(ctx, "", message.validate_only, "")?;
            Ok(answers(self.app.collect_storage(&ctx).await?, ctx.request_id, |swept: Swept| pb::CollectResponse {
                last_error: swept.last_error.clone().unwrap_or_default(),
                collected: Some(collected(&swept)),
            }))
        })
        .await
    }

    async fn scrub(&self, request: Request<pb::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        let whole = request.get_ref().repository.is_empty();
        let op = if whole { Op::ScrubStorage } else { Op::QuarantineImages };
        self.known(op, request, async |ctx, message: pb::ScrubRequest| {
            let reports = if whole {
                self.app.scrub_storage(&ctx).await?
            } else {
                let address = self.named(&message.repository).of("repository")?;
                self.app.scrub_repository(&ctx, &address).await?
            };
            Ok(answers(reports, ctx.request_id, progress))
        })
        .await
    }

    async fn list_quarantines(
        &self,
        request: Request<pb::ListQuarantinesRequest>,
    ) -> Result<Response<pb::ListQuarantinesResponse>, Status> {
        self.known(Op::ListQuarantines, request, async |ctx, message: pb::ListQuarantinesRequest| {
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let rows = self.app.list_quarantines(&ctx, place(token.as_ref())?, size).await?;
            let key = |row: &QuarantineRow| format!("{}/{}/{}", row.quarantined_at.micros(), row.blob, row.repository);
            let next_page_token = names::next_page(&rows, size, key);
            Ok(pb::ListQuarantinesResponse { quarantines: rows.into_iter().map(quarantine).collect(), next_page_token })
        })
        .await
    }

    async fn repair(&self, request: Request<pb::RepairRequest>) -> Result<Response<Self::RepairStream>, Status> {
        self.known(Op::RepairImages, request, async |ctx, message: pb::RepairRequest| {
            let address = self.named(&message.repository).of("repository")?;
            let ctx = changing(ctx, "", message.validate_only, "")?;
            Ok(answers(self.app.repair_repository(&ctx, &address).await?, ctx.request_id, repaired))
        })
        .await
    }
}

/// The messages of a stream, from what the domain reports.
fn answers<T: Send + 'static, U>(
    reports: mpsc::Receiver<Result<T>>,
    request: Uid,
    told: impl Fn(T) -> U + Send + 'static,
) -> Answers<U> {
    let told = move |report: Result<T>| report.map(&told).map_err(|error| super::status::status(&error, request));
    Box::pin(ReceiverStream::new(reports).map(told))
}

/// The place in the list behind which a page begins.
fn place(token: Option<&PageToken>) -> Result<Place> {
    let Some(token) = token else {
        return Ok((Timestamp::default(), Uid::from_bytes([0; 16]), Uid::from_bytes([0; 16])));
    };
    let wrong = || Error::invalid("page_token", "the next_page_token of another page");
    let mut parts = token.key().splitn(3, '/');
    let mut next = || parts.next().ok_or_else(wrong);
    let at = next()?.parse().map_err(|_| wrong())?;
    let (blob, repository) = (Uid::parse(next()?).map_err(|_| wrong())?, Uid::parse(next()?).map_err(|_| wrong())?);
    Ok((Timestamp::from_micros(at), blob, repository))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn report(report: Report) -> pb::GetReportResponse {
    let sum = |name: &str| count(report.sums.get(name).copied().unwrap_or(0));
    pb::GetReportResponse {
        run_count: sum("runs"),
        total: Some(pb::Collected {
            uploads: sum("uploads"),
            links: sum("links"),
            condemned: sum("condemned"),
            objects: sum("objects"),
            bytes: sum("bytes"),
            errors: sum("errors"),
        }),
        scrubbed: Some(pb::Scrubbed {
            objects: sum("verified"),
            bytes: sum("verified bytes"),
            damaged: sum("damaged"),
            repaired: sum("repaired"),
            unreadable: sum("unreadable"),
            skipped: sum("skipped"),
            due: count(report.due),
            quarantined: count(report.waiting),
            oldest_verify_time: report.oldest.map(names::time),
        }),
        runs: report.runs.into_iter().map(run).collect(),
    }
}

fn run(row: CollectionRow) -> pb::Run {
    pb::Run {
        start_time: Some(names::time(row.started_at)),
        duration: Some(names::duration(row.took)),
        collected: Some(collected(&row.swept)),
        last_error: row.swept.last_error.unwrap_or_default(),
    }
}

fn collected(swept: &Swept) -> pb::Collected {
    pb::Collected {
        uploads: count(swept.uploads),
        links: count(swept.links),
        condemned: count(swept.condemned),
        objects: count(swept.objects),
        bytes: count(swept.bytes),
        errors: count(swept.errors),
    }
}

fn progress(progress: Progress) -> pb::ScrubResponse {
    let finding = |Finding { account, name, digest, reason }| pb::Finding {
        repository: names::of_repository(account, &name),
        digest: digest.to_string(),
        reason,
    };
    pb::ScrubResponse {
        done: count(progress.done),
        total: count(progress.total),
        bytes: count(progress.bytes),
        skipped: count(progress.skipped),
        unreadable: count(progress.unreadable),
        damage: progress.damage.into_iter().map(finding).collect(),
    }
}

fn quarantine(row: QuarantineRow) -> pb::Quarantine {
    let state = match row.repaired_at {
        Some(_) => pb::quarantine::State::Repaired,
        None => pb::quarantine::State::Quarantined,
    };
    pb::Quarantine {
        repository: names::of_repository(row.account, &row.name),
        digest: row.digest.to_string(),
        size_bytes: count(row.size),
        reason: row.reason,
        quarantine_time: Some(names::time(row.quarantined_at)),
        state: state.into(),
        try_time: row.tried_at.map(names::time),
        last_error: row.last_error.unwrap_or_default(),
        repair_time: row.repaired_at.map(names::time),
        repaired_from: row.repaired_from.unwrap_or_default(),
    }
}

fn repaired(Repaired { row, outcome }: Repaired) -> pb::RepairResponse {
    let (repaired_from, error) = match outcome {
        Ok(from) => (from, String::new()),
        Err(error) => (String::new(), error),
    };
    pb::RepairResponse { digest: row.digest.to_string(), repaired_from, error }
}
