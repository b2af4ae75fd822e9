//! `transship storage`.

use super::Session;
use super::failure::Result;
use super::output::{Output, Rows, bytes, line, print_json, time};
use crate::pb::storage as pb;
use crate::pb::storage::quarantine::State;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Storage {
    /// Says what the collector and the scrubber of the region did.
    Report,
    /// Runs the collector now; --dry-run counts what it would do.
    Collect,
    /// Reads stored objects again and hashes them; exits 1 and names what is damaged.
    Scrub {
        /// Only those of this repository.
        #[arg(long)]
        repository: Option<String>,
    },
    /// Lists damaged blobs, and those that were repaired lately.
    Quarantine,
    /// Repairs a repository's damaged blobs now, as far as there are sound copies; exits 1 when one is left.
    Repair { repository: String },
}

impl Storage {
    pub(super) async fn run(self, session: &Session) -> Result<ExitCode> {
        match self {
            Self::Report => report(session).await?,
            Self::Collect => return collect(session).await,
            Self::Scrub { repository } => return scrub(session, repository.as_deref()).await,
            Self::Quarantine => quarantine(session).await?,
            Self::Repair { repository } => return repair(session, &repository).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn report(session: &Session) -> Result<()> {
    let told = session.client.storage().get_report(pb::GetReportRequest {}).await?.into_inner();
    let (total, scrubbed) = (told.total.unwrap_or_default(), told.scrubbed.unwrap_or_default());
    match session.global.output {
        Output::Json => print_json(&json!({
            "collector": {
                "runs": told.run_count,
                "total": collected(&total),
                "newest": told.runs.iter().map(run).collect::<Vec<_>>(),
            },
            "scrubber": scrubber(&scrubbed),
        })),
        Output::Table => {
            let size = bytes(unsigned(total.bytes));
            line(format_args!(
                "collector: {} runs, {} uploads given up, {} links released, {} objects condemned, {} removed ({size}), {} errors",
                told.run_count, total.uploads, total.links, total.condemned, total.objects, total.errors
            ));
            let oldest = time(scrubbed.oldest_verify_time.as_ref());
            line(format_args!(
                "scrubber: {} objects sound ({}), {} damaged, {} repaired, {} quarantined, {} skipped, {} unreadable, {} due, oldest {}",
                scrubbed.objects,
                bytes(unsigned(scrubbed.bytes)),
                scrubbed.damaged,
                scrubbed.repaired,
                scrubbed.quarantined,
                scrubbed.skipped,
                scrubbed.unreadable,
                scrubbed.due,
                oldest.as_str().unwrap_or("none"),
            ));
            runs(&told.runs).print(Output::Table);
        }
    }
    Ok(())
}

fn runs(all: &[pb::Run]) -> Rows {
    let columns = &["STARTED", "SECONDS", "UPLOADS", "LINKS", "CONDEMNED", "OBJECTS", "BYTES", "ERRORS", "LAST ERROR"];
    let mut rows = Rows::new(columns);
    for run in all {
        let did = run.collected.unwrap_or_default();
        rows.push([
            time(run.start_time.as_ref()),
            seconds(run),
            did.uploads.into(),
            did.links.into(),
            did.condemned.into(),
            did.objects.into(),
            did.bytes.into(),
            did.errors.into(),
            run.last_error.clone().into(),
        ]);
    }
    rows
}

fn run(run: &pb::Run) -> Value {
    json!({
        "started": time(run.start_time.as_ref()),
        "seconds": seconds(run),
        "collected": collected(&run.collected.unwrap_or_default()),
        "last_error": run.last_error,
    })
}

/// In thousandths.
#[allow(clippy::cast_precision_loss, reason = "a run takes no thousand years")]
fn seconds(run: &pb::Run) -> Value {
    let took = run.duration.unwrap_or_default();
    let millis = took.seconds.saturating_mul(1_000).saturating_add(i64::from(took.nanos / 1_000_000));
    (millis as f64 / 1_000.0).into()
}

fn collected(did: &pb::Collected) -> Value {
    json!({
        "uploads": did.uploads,
        "links": did.links,
        "condemned": did.condemned,
        "objects": did.objects,
        "bytes": did.bytes,
        "errors": did.errors,
    })
}

fn scrubber(did: &pb::Scrubbed) -> Value {
    json!({
        "objects": did.objects,
        "bytes": did.bytes,
        "damaged": did.damaged,
        "repaired": did.repaired,
        "quarantined": did.quarantined,
        "skipped": did.skipped,
        "unreadable": did.unreadable,
        "due": did.due,
        "oldest": time(did.oldest_verify_time.as_ref()),
    })
}

async fn collect(session: &Session) -> Result<ExitCode> {
    let request = pb::CollectRequest { validate_only: session.global.dry_run };
    let mut reports = session.client.storage().collect(request).await?.into_inner();
    let bar = progress(session, "{spinner} {msg}");
    let mut last = pb::CollectResponse::default();
    while let Some(report) = reports.message().await? {
        bar.set_message(summary(&report.collected.unwrap_or_default()));
        bar.tick();
        last = report;
    }
    bar.finish_and_clear();
    let did = last.collected.unwrap_or_default();
    match session.global.output {
        Output::Table => {
            let would = if session.global.dry_run { "would do: " } else { "" };
            line(format_args!("{would}{}", summary(&did)));
            if !last.last_error.is_empty() {
                line(format_args!("last error: {}", last.last_error));
            }
        }
        Output::Json => print_json(&collected(&did)),
    }
    Ok(if did.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(did: &pb::Collected) -> String {
    format!(
        "{} uploads given up, {} links released, {} objects condemned, {} removed ({}), {} errors",
        did.uploads,
        did.links,
        did.condemned,
        did.objects,
        bytes(unsigned(did.bytes)),
        did.errors
    )
}

async fn scrub(session: &Session, repository: Option<&str>) -> Result<ExitCode> {
    let repository = match repository {
        Some(name) => session.repository(name).await?,
        None => String::new(),
    };
    let mut reports = session.client.storage().scrub(pb::ScrubRequest { repository }).await?.into_inner();
    let bar = progress(session, "{bar:40} {pos}/{len} objects, {msg}");
    let (mut damage, mut last) = (Vec::new(), pb::ScrubResponse::default());
    while let Some(report) = reports.message().await? {
        bar.set_length(unsigned(report.total));
        bar.set_position(unsigned(report.done));
        bar.set_message(bytes(unsigned(report.bytes)));
        damage.extend(report.damage.iter().cloned());
        last = report;
    }
    bar.finish_and_clear();
    match session.global.output {
        Output::Table => {
            line(format_args!(
                "{} objects, {}, {} damaged, {} skipped for their KMS key, {} unreadable",
                last.done,
                bytes(unsigned(last.bytes)),
                damage.len(),
                last.skipped,
                last.unreadable
            ));
            for found in &damage {
                line(format_args!("damaged: {} {} ({})", found.repository, found.digest, found.reason));
            }
        }
        Output::Json => {
            let told = |found: &pb::Finding| json!({"repository": found.repository, "digest": found.digest, "reason": found.reason});
            print_json(&json!({
                "objects": last.done,
                "bytes": last.bytes,
                "skipped": last.skipped,
                "unreadable": last.unreadable,
                "damage": damage.iter().map(told).collect::<Vec<_>>(),
            }));
        }
    }
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn quarantine(session: &Session) -> Result<()> {
    let mut rows =
        Rows::new(&["REPOSITORY", "DIGEST", "SIZE", "STATE", "SINCE", "REASON", "REPAIRED", "FROM", "LAST ERROR"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListQuarantinesRequest { page_size: 0, page_token };
        let page = session.client.storage().list_quarantines(request).await?.into_inner();
        for found in page.quarantines {
            let state = match found.state() {
                State::Repaired => "repaired",
                State::Quarantined => "quarantined",
                State::Unspecified => "",
            };
            let (since, repaired) = (time(found.quarantine_time.as_ref()), time(found.repair_time.as_ref()));
            rows.push([
                found.repository.into(),
                found.digest.into(),
                found.size_bytes.into(),
                state.into(),
                since,
                found.reason.into(),
                repaired,
                found.repaired_from.into(),
                found.last_error.into(),
            ]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            rows.print(session.global.output);
            return Ok(());
        }
    }
}

async fn repair(session: &Session, repository: &str) -> Result<ExitCode> {
    let request =
        pb::RepairRequest { repository: session.repository(repository).await?, validate_only: session.global.dry_run };
    let mut repairs = session.client.storage().repair(request).await?.into_inner();
    let bar = progress(session, "{spinner} {pos} blobs, {msg}");
    let (mut rows, mut left) = (Rows::new(&["DIGEST", "REPAIRED FROM", "ERROR"]), false);
    while let Some(repair) = repairs.message().await? {
        bar.inc(1);
        bar.set_message(repair.digest.clone());
        left |= repair.repaired_from.is_empty();
        rows.push([repair.digest.into(), repair.repaired_from.into(), repair.error.into()]);
    }
    bar.finish_and_clear();
    rows.print(session.global.output);
    Ok(if left && !session.global.dry_run { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A line about how far long work is, where somebody sees it.
fn progress(session: &Session, template: &str) -> ProgressBar {
    let shown = std::io::stderr().is_terminal() && !session.global.quiet;
    let bar = if shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
