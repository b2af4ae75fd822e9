//! `transship control-policy`: the organization's bounds on its accounts.

use super::failure::{Failure, Result};
use super::output::{Rows, line, time};
use super::{Session, read};
use crate::pb::identity as pb;
use crate::pb::identity::control_policy::Kind as Wire;
use std::path::PathBuf;

/// The target that is all accounts.
const ORGANIZATION: &str = "organization";

#[derive(clap::Subcommand, Debug)]
pub(super) enum ControlPolicy {
    /// Bounds all accounts or one, or changes a bound.
    Put {
        #[command(flatten)]
        which: Which,
        /// The document; `-` is standard input.
        file: PathBuf,
    },
    /// Lists the bounds.
    List,
    /// Prints a bound's document.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Ends a bound.
    Delete {
        #[command(flatten)]
        which: Which,
    },
}

/// Which control policy.
#[derive(clap::Args, Debug)]
pub(super) struct Which {
    /// Its name at its target.
    name: String,
    /// What is bounded: `service` what principals of the accounts do, `resource` what is done with their resources.
    #[arg(long, value_enum)]
    kind: Kind,
    /// The account that is bounded; all unless given.
    #[arg(long, value_name = "ID")]
    target: Option<String>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Kind {
    Service,
    Resource,
}

impl Which {
    /// Target, kind and name as the wire has them.
    fn key(self) -> (String, i32, String) {
        let kind = match self.kind {
            Kind::Service => Wire::Service,
            Kind::Resource => Wire::Resource,
        };
        let target = self.target.map_or(ORGANIZATION.to_owned(), |account| format!("accounts/{account}"));
        (target, kind.into(), self.name)
    }
}

impl ControlPolicy {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::Put { which, file } => {
                let ((target, kind, policy_id), document) = (which.key(), read(&file)?);
                let request =
                    pb::PutControlPolicyRequest { target, kind, policy_id, document, request_id, validate_only };
                let put = identity.put_control_policy(request).await?.into_inner();
                super::warn(&put.warnings);
                show(put.control_policy.into_iter().collect()).print_one(session.global.output);
            }
            Self::List => show(all(session).await?).print(session.global.output),
            Self::Show { which } => {
                let (target, kind, id) = which.key();
                let is_it = |it: &pb::ControlPolicy| it.target == target && it.kind == kind && it.policy_id == id;
                let found = all(session).await?.into_iter().find(is_it);
                line(found.ok_or_else(|| Failure::missing(format!("there is no control policy {id} there")))?.document);
            }
            Self::Delete { which } => {
                let (target, kind, policy_id) = which.key();
                let request = pb::DeleteControlPolicyRequest { target, kind, policy_id, request_id, validate_only };
                identity.delete_control_policy(request).await?;
            }
        }
        Ok(())
    }
}

async fn all(session: &Session) -> Result<Vec<pb::ControlPolicy>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListControlPoliciesRequest { page_size: 0, page_token };
        let page = session.client.identity().list_control_policies(request).await?.into_inner();
        all.extend(page.control_policies);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn show(policies: Vec<pb::ControlPolicy>) -> Rows {
    let mut rows = Rows::new(&["TARGET", "KIND", "NAME", "CREATED"]);
    for policy in policies {
        let kind = match policy.kind() {
            Wire::Service => "service",
            Wire::Resource => "resource",
            Wire::Unspecified => "",
        };
        rows.push([
            policy.target.clone().into(),
            kind.into(),
            policy.policy_id.into(),
            time(policy.create_time.as_ref()),
        ]);
    }
    rows
}
