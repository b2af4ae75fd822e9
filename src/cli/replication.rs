//! `transship replication`.

use super::Session;
use super::failure::{Failure, Result};
use super::output::{Output, Rows, bytes, line, print_json, time};
use crate::pb::replication as pb;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Replication {
    /// Adds a rule; images pushed from now on are carried.
    Create {
        /// Repositories whose name begins with this; every repository unless given.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Tags by glob; every image unless given.
        #[arg(long, default_value = "")]
        tag: String,
        /// A destination: REGION:ACCOUNT.
        #[arg(long, required = true, value_name = "REGION:ACCOUNT", value_parser = destination)]
        to: Vec<pb::Destination>,
    },
    /// Lists the rules.
    List,
    /// Removes a rule; what has arrived stays.
    Delete {
        rule: String,
        /// The rule must still be at this etag.
        #[arg(long, default_value = "")]
        etag: String,
    },
    /// Says how far each destination is behind.
    Status {
        /// Again every second, until interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// Lists the signed receipts of a repository's images.
    Receipts { repository: String },
    /// Reads a repository's stored bytes again and hashes them; exits 1 and names what is damaged.
    Verify { repository: String },
}

impl Replication {
    pub(super) async fn run(self, session: &Session) -> Result<ExitCode> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut replication = session.client.replication();
        match self {
            Self::Create { prefix, tag, to } => {
                let rule =
                    pb::Rule { repository_prefix: prefix, tag_pattern: tag, destinations: to, ..pb::Rule::default() };
                let parent = session.parent().await?;
                let request = pb::CreateRuleRequest { parent, rule: Some(rule), request_id, validate_only };
                let made = replication.create_rule(request).await?.into_inner().rule;
                rules(made.into_iter().collect()).print_one(session.global.output);
            }
            Self::List => {
                let parent = session.parent().await?;
                let (mut all, mut page_token) = (Vec::new(), String::new());
                loop {
                    let request = pb::ListRulesRequest { parent: parent.clone(), page_size: 0, page_token };
                    let page = replication.list_rules(request).await?.into_inner();
                    all.extend(page.rules);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                rules(all).print(session.global.output);
            }
            Self::Delete { rule, etag } => {
                let name = session.below("rules", &rule).await?;
                replication.delete_rule(pb::DeleteRuleRequest { name, etag, request_id, validate_only }).await?;
            }
            Self::Status { watch } => status(session, watch).await?,
            Self::Receipts { repository } => receipts(session, &repository).await?,
            Self::Verify { repository } => return verify(session, &repository).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn destination(text: &str) -> Result<pb::Destination> {
    let (region, account) = text.split_once(':').ok_or_else(|| Failure::usage("REGION:ACCOUNT"))?;
    crate::names::Region::parse(region)?;
    crate::names::AccountId::parse(account)?;
    Ok(pb::Destination { region: region.to_owned(), account: account.to_owned() })
}

fn place(destination: Option<&pb::Destination>) -> String {
    destination.map_or_else(String::new, |there| format!("{}:{}", there.region, there.account))
}

fn rules(all: Vec<pb::Rule>) -> Rows {
    let mut rows = Rows::new(&["RULE", "PREFIX", "TAG", "TO", "CREATED", "ETAG"]);
    for rule in all {
        let id = rule.name.rsplit('/').next().unwrap_or_default().to_owned();
        let to: Vec<Value> = rule.destinations.iter().map(|there| place(Some(there)).into()).collect();
        let created = time(rule.create_time.as_ref());
        rows.push([
            id.into(),
            rule.repository_prefix.into(),
            rule.tag_pattern.into(),
            to.into(),
            created,
            rule.etag.into(),
        ]);
    }
    rows
}

async fn status(session: &Session, watch: bool) -> Result<()> {
    let parent = session.parent().await?;
    loop {
        let request = pb::GetStatusRequest { parent: parent.clone() };
        let all = session.client.replication().get_status(request).await?.into_inner().destinations;
        let mut rows = Rows::new(&["TO", "LAG SECONDS", "PENDING", "FAILED", "LAST SUCCESS", "LAST ERROR"]);
        for there in all {
            let lag = there.lag.as_ref().map_or(0.0, |lag| {
                Duration::new(u64::try_from(lag.seconds).unwrap_or(0), u32::try_from(lag.nanos).unwrap_or(0))
                    .as_secs_f64()
            });
            rows.push([
                place(there.destination.as_ref()).into(),
                ((lag * 10.0).round() / 10.0).into(),
                there.pending_changes.into(),
                there.failed_changes.into(),
                time(there.last_success_time.as_ref()),
                there.last_error.into(),
            ]);
        }
        rows.print(session.global.output);
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn receipts(session: &Session, repository: &str) -> Result<()> {
    let parent = session.repository(repository).await?;
    let mut rows = Rows::new(&["DIGEST", "TAG", "TO", "COMMITTED", "BLOBS", "SIZE", "KMS KEY"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListReceiptsRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.replication().list_receipts(request).await?.into_inner();
        for receipt in page.receipts {
            let size: i64 = receipt.blobs.iter().map(|blob| blob.size_bytes).sum();
            let key = receipt.blobs.first().map_or_else(String::new, |blob| blob.kms_key_arn.clone());
            rows.push([
                receipt.image.rsplit('/').next().unwrap_or_default().into(),
                receipt.tag.into(),
                place(receipt.destination.as_ref()).into(),
                time(receipt.commit_time.as_ref()),
                receipt.blobs.len().into(),
                size.into(),
                key.into(),
            ]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            rows.print(session.global.output);
            return Ok(());
        }
    }
}

async fn verify(session: &Session, repository: &str) -> Result<ExitCode> {
    let request = pb::VerifyRequest { name: session.repository(repository).await? };
    let mut reports = session.client.replication().verify(request).await?.into_inner();
    let shown = std::io::stderr().is_terminal() && !session.global.quiet;
    let bar = if shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} objects, {msg}") {
        bar.set_style(style);
    }
    let (mut damage, mut last) = (Vec::new(), pb::VerifyResponse::default());
    while let Some(report) = reports.message().await? {
        bar.set_length(u64::try_from(report.total).unwrap_or(0));
        bar.set_position(u64::try_from(report.done).unwrap_or(0));
        bar.set_message(bytes(u64::try_from(report.bytes).unwrap_or(0)));
        damage.extend(report.damage.iter().cloned());
        last = report;
    }
    bar.finish_and_clear();
    match session.global.output {
        Output::Table => {
            let size = bytes(u64::try_from(last.bytes).unwrap_or(0));
            line(format_args!("{} objects, {size}, {} damaged", last.done, damage.len()));
            for found in &damage {
                line(format_args!("damaged: {} ({})", found.digest, found.problem));
            }
        }
        Output::Json => {
            let told = |found: &pb::Damage| serde_json::json!({"digest": found.digest, "problem": found.problem});
            let damage: Vec<Value> = damage.iter().map(told).collect();
            print_json(&serde_json::json!({"objects": last.done, "bytes": last.bytes, "damage": damage}));
        }
    }
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::{destination, place};

    #[test]
    fn a_destination_is_a_region_and_an_account() {
        let there = destination("eu-west-1:222222222222").unwrap();
        assert_eq!((there.region.as_str(), there.account.as_str()), ("eu-west-1", "222222222222"));
        assert_eq!(place(Some(&there)), "eu-west-1:222222222222");
        for bad in ["", ":", "eu-west-1", "eu-west-1:", ":222222222222", "EU:222222222222", "eu-west-1:22", "a:1:2"] {
            assert!(destination(bad).is_err(), "{bad:?}");
        }
    }
}
