//! `transship user` and `transship role`.

use super::credentials::{given, tell_session};
use super::failure::Result;
use super::lapse::session_length;
use super::output::{Rows, time};
use super::{Session, managed_policy, read};
use crate::pb::identity as pb;
use crate::pb::trust::{AssumeRoleRequest, SessionTag};
use std::path::PathBuf;

#[derive(clap::Subcommand, Debug)]
pub(super) enum User {
    /// Makes a user.
    Create { name: String },
    /// Removes a user with its keys and policies.
    Delete { name: String },
    /// Makes an access key; the secret is shown once.
    CreateKey { name: String },
    /// Removes an access key.
    DeleteKey { name: String, access_key_id: String },
    /// Attaches or replaces an identity policy.
    PutPolicy {
        name: String,
        /// The policy's name.
        policy: String,
        /// The document; `-` is standard input.
        file: PathBuf,
    },
    /// Gives it what a managed policy gives, takes that away, or bounds it.
    #[command(flatten)]
    Managed(managed_policy::Attachments),
    /// Lists the account's users and roles.
    List,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Role {
    /// Makes a role.
    Create {
        name: String,
        /// Who may assume it: a trust policy; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// The longest session: seconds, or a time such as 2h.
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = session_length)]
        max_session: i64,
    },
    /// Removes a role with its policies; its sessions end.
    Delete { name: String },
    /// Attaches or replaces an identity policy.
    PutPolicy {
        name: String,
        /// The policy's name.
        policy: String,
        /// The document; `-` is standard input.
        file: PathBuf,
    },
    /// Gives it what a managed policy gives, takes that away, or bounds it.
    #[command(flatten)]
    Managed(managed_policy::Attachments),
    /// Lists the account's users and roles.
    List,
    /// Takes a session of a role and prints its credentials as exports, or JSON.
    Assume {
        /// The role's name, or its ARN.
        role: String,
        /// The session's name.
        #[arg(long, default_value = "cli")]
        session_name: String,
        /// How long: seconds, or a time such as 15m.
        #[arg(long, value_name = "TIME", value_parser = session_length)]
        duration: Option<i64>,
        /// A session policy; more than one are OR-ed.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// A managed policy of the role's account that narrows the session too: its name, or its ARN.
        #[arg(long, value_name = "POLICY")]
        policy_arn: Vec<String>,
        /// The external id the trust policy asks for.
        #[arg(long)]
        external_id: Option<String>,
        /// A tag of the session.
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        tag: Vec<(String, String)>,
        /// A tag that goes on to sessions taken from this one.
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        transitive_tag: Vec<(String, String)>,
        /// Who is behind the session.
        #[arg(long, value_name = "NAME")]
        source_identity: Option<String>,
        /// The second factor that the role asks for, by its ARN.
        #[arg(long, value_name = "ARN", requires = "mfa_code")]
        mfa_device: Option<String>,
        /// The code it shows.
        #[arg(long, value_name = "DIGITS", requires = "mfa_device")]
        mfa_code: Option<String>,
    },
}

impl User {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::Create { name } => {
                let parent = session.parent().await?;
                let request = pb::CreateUserRequest { parent, user_id: name, request_id, validate_only };
                show(session, identity.create_user(request).await?.into_inner().user.into_iter().collect());
            }
            Self::Delete { name } => {
                let name = session.below("users", &name).await?;
                identity.delete_user(pb::DeleteUserRequest { name, request_id, validate_only }).await?;
            }
            Self::CreateKey { name } => {
                let parent = session.below("users", &name).await?;
                let request = pb::CreateAccessKeyRequest { parent, validate_only };
                let key = identity.create_access_key(request).await?.into_inner().access_key;
                let mut rows = Rows::new(&["ACCESS KEY ID", "SECRET ACCESS KEY"]);
                // None is made in a dry run, and none is shown.
                if let Some(key) = key {
                    rows.push([key.access_key_id.into(), key.secret_access_key.into()]);
                }
                rows.print_one(session.global.output);
            }
            Self::DeleteKey { name, access_key_id } => {
                let name = format!("{}/accessKeys/{access_key_id}", session.below("users", &name).await?);
                identity.delete_access_key(pb::DeleteAccessKeyRequest { name, request_id, validate_only }).await?;
            }
            Self::PutPolicy { name, policy, file } => {
                put_policy(session, session.below("users", &name).await?, policy, &file).await?;
            }
            Self::Managed(attach) => attach.run(session, "users").await?,
            Self::List => list(session).await?,
        }
        Ok(())
    }
}

impl Role {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::Create { name, trust, max_session } => {
                let request = pb::CreateRoleRequest {
                    parent: session.parent().await?,
                    role_id: name,
                    trust_policy: read(&trust)?,
                    max_session_duration: Some(prost_types::Duration { seconds: max_session, nanos: 0 }),
                    request_id,
                    validate_only,
                };
                show(session, identity.create_role(request).await?.into_inner().role.into_iter().collect());
            }
            Self::Delete { name } => {
                let name = session.below("roles", &name).await?;
                identity.delete_role(pb::DeleteRoleRequest { name, request_id, validate_only }).await?;
            }
            Self::PutPolicy { name, policy, file } => {
                put_policy(session, session.below("roles", &name).await?, policy, &file).await?;
            }
            Self::Managed(attach) => attach.run(session, "roles").await?,
            Self::List => list(session).await?,
            Self::Assume {
                role,
                session_name,
                duration,
                policy,
                policy_arn,
                external_id,
                tag,
                transitive_tag,
                source_identity,
                mfa_device,
                mfa_code,
            } => {
                let role_arn = if role.starts_with("arn:") {
                    role
                } else {
                    let parent = session.parent().await?;
                    let account = parent.trim_start_matches("accounts/");
                    format!("arn:aws:iam::{account}:role/{role}")
                };
                let account = role_arn.split(':').nth(4).unwrap_or_default().to_owned();
                let named = |policy: String| match policy.starts_with("arn:") {
                    true => policy,
                    false => format!("arn:aws:iam::{account}:policy/{policy}"),
                };
                let policy_arns = policy_arn.into_iter().map(named).collect();
                let request = AssumeRoleRequest {
                    role_arn,
                    session_name,
                    duration: duration.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
                    policies: policy.iter().map(|path| read(path)).collect::<Result<_>>()?,
                    policy_arns,
                    external_id: external_id.unwrap_or_default(),
                    tags: tags(&tag, false).chain(tags(&transitive_tag, true)).collect(),
                    source_identity: source_identity.unwrap_or_default(),
                    mfa_serial_number: mfa_device.unwrap_or_default(),
                    mfa_code: mfa_code.unwrap_or_default(),
                    validate_only,
                };
                assume(session, request).await?;
            }
        }
        Ok(())
    }
}

pub(super) fn tags(pairs: &[(String, String)], transitive: bool) -> impl Iterator<Item = SessionTag> {
    pairs.iter().map(move |(key, value)| SessionTag { key: key.clone(), value: value.clone(), transitive })
}

pub(super) fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

async fn put_policy(session: &Session, parent: String, policy_id: String, file: &std::path::Path) -> Result<()> {
    let request = pb::PutPrincipalPolicyRequest {
        parent,
        policy_id,
        document: read(file)?,
        request_id: session.request_id(),
        validate_only: session.global.dry_run,
    };
    super::warn(&session.client.identity().put_principal_policy(request).await?.into_inner().warnings);
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let parent = session.parent().await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListPrincipalsRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.identity().list_principals(request).await?.into_inner();
        all.extend(page.principals);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            show(session, all);
            return Ok(());
        }
    }
}

fn show(session: &Session, principals: Vec<pb::Principal>) {
    let mut rows = Rows::new(&["ARN", "UNIQUE ID", "POLICIES", "BOUNDARY", "CREATED"]);
    for principal in principals {
        let created = time(principal.create_time.as_ref());
        let policies: Vec<&str> = principal.policies.iter().map(|name| last(name)).collect();
        let boundary = Some(last(&principal.permissions_boundary)).filter(|name| !name.is_empty());
        let (policies, boundary) = (policies.into(), boundary.into());
        rows.push([principal.arn.into(), principal.unique_id.into(), policies, boundary, created]);
    }
    rows.print(session.global.output);
}

/// A policy's name without those before it.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

async fn assume(session: &Session, request: AssumeRoleRequest) -> Result<()> {
    let dry_run = request.validate_only;
    let assumed = session.client.trust().assume_role(request).await?.into_inner();
    if dry_run {
        session.note(&format!("{} could be taken", assumed.arn));
        return Ok(());
    }
    tell_session(session, &given(assumed.credentials)?, &assumed.arn, &assumed.session);
    Ok(())
}
