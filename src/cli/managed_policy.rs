//! `transship managed-policy`, and what users and roles have to do with such policies.

use super::failure::{Failure, Result};
use super::output::{Rows, time};
use super::{Session, read};
use crate::names::{Arn, PolicyRef};
use crate::pb::identity as pb;
use std::path::{Path, PathBuf};

#[derive(clap::Subcommand, Debug)]
pub(super) enum ManagedPolicy {
    /// Makes a policy of the account.
    Create {
        name: String,
        /// The document; `-` is standard input.
        file: PathBuf,
    },
    /// Replaces a policy's document, for all that it is attached to.
    Update {
        name: String,
        /// The document; `-` is standard input.
        file: PathBuf,
    },
    /// Lists the account's policies.
    List,
    /// Prints a policy's document.
    Show { name: String },
    /// Removes a policy that nothing uses.
    Delete { name: String },
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Attachments {
    /// Gives what a managed policy of the account gives.
    AttachPolicy {
        /// The user or role.
        name: String,
        /// The policy's name, or its ARN.
        policy: String,
    },
    /// Takes it away again.
    DetachPolicy {
        /// The user or role.
        name: String,
        /// The policy's name, or its ARN.
        policy: String,
    },
    /// Bounds by a managed policy of the account, in the place of the bound before.
    PutBoundary {
        /// The user or role.
        name: String,
        /// The policy's name, or its ARN.
        policy: String,
    },
    /// Bounds no longer.
    DeleteBoundary { name: String },
}

impl ManagedPolicy {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::Create { name, file } => {
                let (parent, document) = (session.parent().await?, read(&file)?);
                let request = pb::CreatePolicyRequest { parent, policy_id: name, document, request_id, validate_only };
                let made = identity.create_policy(request).await?.into_inner();
                written(session, made.policy, &made.warnings);
            }
            Self::Update { name, file } => {
                let (name, document) = (session.below("policies", &name).await?, read(&file)?);
                let request = pb::UpdatePolicyRequest { name, document, request_id, validate_only };
                let made = identity.update_policy(request).await?.into_inner();
                written(session, made.policy, &made.warnings);
            }
            Self::List => show(all(session).await?).print(session.global.output),
            Self::Show { name } => {
                let name = session.below("policies", &name).await?;
                let found = all(session).await?.into_iter().find(|policy| policy.name == name);
                let found = found.ok_or_else(|| Failure::missing(format!("there is no policy {name}")))?;
                super::output::line(found.document);
            }
            Self::Delete { name } => {
                let name = session.below("policies", &name).await?;
                identity.delete_policy(pb::DeletePolicyRequest { name, request_id, validate_only }).await?;
            }
        }
        Ok(())
    }
}

impl Attachments {
    /// Does it to a user or role, as the collection says.
    pub(super) async fn run(self, session: &Session, collection: &str) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::AttachPolicy { name, policy } => {
                let (name, policy) = both(session, collection, &name, &policy).await?;
                let request = pb::AttachPolicyRequest { name, policy, request_id, validate_only };
                identity.attach_policy(request).await?;
            }
            Self::DetachPolicy { name, policy } => {
                let (name, policy) = both(session, collection, &name, &policy).await?;
                let request = pb::DetachPolicyRequest { name, policy, request_id, validate_only };
                identity.detach_policy(request).await?;
            }
            Self::PutBoundary { name, policy } => {
                let (name, policy) = both(session, collection, &name, &policy).await?;
                let request = pb::PutPermissionsBoundaryRequest { name, policy, request_id, validate_only };
                identity.put_permissions_boundary(request).await?;
            }
            Self::DeleteBoundary { name } => {
                let name = session.below(collection, &name).await?;
                let request = pb::DeletePermissionsBoundaryRequest { name, request_id, validate_only };
                identity.delete_permissions_boundary(request).await?;
            }
        }
        Ok(())
    }
}

async fn both(session: &Session, collection: &str, name: &str, policy: &str) -> Result<(String, String)> {
    let policy = match policy.starts_with("arn:") {
        true => {
            let named = PolicyRef::from_arn(&Arn::parse(policy)?)?;
            format!("accounts/{}/policies/{}", named.account, named.name)
        }
        false => session.below("policies", policy).await?,
    };
    Ok((session.below(collection, name).await?, policy))
}

fn written(session: &Session, policy: Option<pb::Policy>, warnings: &[String]) {
    super::warn(warnings);
    show(policy.into_iter().collect()).print_one(session.global.output);
}

async fn all(session: &Session) -> Result<Vec<pb::Policy>> {
    let parent = session.parent().await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListPoliciesRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.identity().list_policies(request).await?.into_inner();
        all.extend(page.policies);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn show(policies: Vec<pb::Policy>) -> Rows {
    let mut rows = Rows::new(&["NAME", "ARN", "CREATED", "UPDATED"]);
    for policy in policies {
        let name = Path::new(&policy.name).file_name().map_or_else(String::new, |it| it.to_string_lossy().into_owned());
        let (created, updated) = (time(policy.create_time.as_ref()), time(policy.update_time.as_ref()));
        rows.push([name.into(), policy.arn.into(), created, updated]);
    }
    rows
}
