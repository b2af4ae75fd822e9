//! The OCI distribution-spec 1.1 and its development profile, check by check, with authentication and policy on.
//!
//! The groups are those of the specification's own suite. Every check counts one; what ran and passed is compared with
//! `docs/generated/conformance.md`, so that a check that no longer runs is noticed as one that fails. The caller is a user
//! whose policy allows two repositories and no more, which its first push makes.

mod blobs;
mod client;
mod content;
mod lists;
mod manifests;

use crate::harness::Region;
use crate::operations::golden;
use crate::{push_pull, tenants};
use client::{Client, Login};
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use transship::names::Algorithm;

/// What was checked, by group.
#[derive(Default)]
pub struct Report {
    groups: Vec<(String, u32)>,
    failures: Vec<String>,
}

impl Report {
    /// Begins a group.
    pub fn group(&mut self, name: impl Display) {
        self.groups.push((name.to_string(), 0));
    }

    /// Counts one check.
    pub fn check(&mut self, what: impl Display, passed: bool, seen: impl Display) {
        let (group, count) = self.groups.last_mut().expect("a group has begun");
        *count += 1;
        if !passed {
            self.failures.push(format!("{group}: {what}: {seen}"));
        }
    }

    fn total(&self) -> u32 {
        self.groups.iter().map(|(_, count)| count).sum()
    }
}

/// Where the suite runs.
struct Place<'a> {
    client: Client<'a>,
    /// The repository, and the one that is mounted from, as this client writes them.
    repositories: [String; 2],
}

async fn run(region: &Region, login: Login) -> Report {
    let account = region.account("dev");
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": ["ecr:*", "transship:*"],
            "Resource": [format!("arn:aws:ecr:*:{account}:repository/conf/one"), format!("arn:aws:ecr:*:{account}:repository/conf/two")]},
    ]});
    let user = tenants::user(region, "dev", "conformance", &policy.to_string()).await;
    let ctx = region.caller(user).await;
    let password = region.app().authorization_token(&ctx).await.unwrap().text.expose().clone();
    let prefix = if login.ecr_host() { String::new() } else { format!("{account}/") };
    let repositories = ["one", "two"].map(|name| format!("{prefix}conf/{name}"));
    let place = Place { client: Client::new(region, login, &password), repositories };
    let mut report = Report::default();
    lists::ping_and_empty(&place, &mut report).await;
    for named in [Algorithm::Sha256, Algorithm::Sha512] {
        blobs::all(&place, named, &mut report).await;
    }
    for data in content::sets() {
        manifests::all(&place, &data, &mut report).await;
    }
    manifests::refused(&place, &mut report).await;
    lists::pages(&place, &mut report).await;
    let repository = tenants::repository(region, "dev", "conf/one");
    region.app().set_sparse_manifests(&ctx, &repository, Some(true)).await.unwrap();
    manifests::all(&place, &content::sparse(), &mut report).await;
    region.app().set_sparse_manifests(&ctx, &repository, None).await.unwrap();
    manifests::incomplete(&place, &content::sparse(), &mut report).await;
    report
}

fn told(report: &Report, place: &str) {
    println!("{place}: {} of {} checks passed", report.total() - report.failures.len() as u32, report.total());
    assert!(report.failures.is_empty(), "{place}:\n{}", report.failures.join("\n"));
    let mut text = String::from(
        "<!-- Made by tests/it/oci_conformance.rs; UPDATE=1 rewrites it. -->\n# Conformance checks\n\n| group | checks |\n|---|---:|\n",
    );
    let mut groups: BTreeMap<&str, u32> = BTreeMap::new();
    for (group, count) in &report.groups {
        *groups.entry(group).or_default() += count;
    }
    let order = report.groups.iter().map(|(group, _)| group.as_str());
    let mut seen = std::collections::BTreeSet::new();
    for group in order.filter(|group| seen.insert(*group)) {
        writeln!(text, "| {group} | {} |", groups[group]).unwrap();
    }
    writeln!(text, "| **all** | **{}** |", report.total()).unwrap();
    golden("docs/generated/conformance.md", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specification_is_kept_with_bearer_tokens() {
    let region = Region::start().await;
    told(&run(&region, Login::Bearer).await, "SQLite and disk, Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specification_is_kept_with_passwords_under_a_host_name_of_the_ecr_form() {
    let region = Region::start().await;
    told(&run(&region, Login::Basic).await, "SQLite and disk, Basic, ECR host name");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specification_is_kept_on_postgresql() {
    let Some(url) = push_pull::database().await else {
        return println!("SKIPPED: TRANSSHIP_TEST_POSTGRES names no server");
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, url).unwrap();
    let store = format!("[store]\nkind = \"postgres\"\nurl = \"file:{}\"", secret.display());
    let region = Region::configured(&store).await;
    told(&run(&region, Login::Bearer).await, "PostgreSQL and disk, Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specification_is_kept_in_a_bucket() {
    let Some(bucket) = crate::bucket::bucket() else { return };
    let region = Region::configured(&crate::bucket::section(&bucket)).await;
    told(&run(&region, Login::Bearer).await, "SQLite and S3, Bearer");
}
