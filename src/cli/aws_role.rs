//! `transship aws-role`: roles of AWS that the broker takes for the account.

use super::credentials::{given, tell};
use super::failure::{Failure, Result};
use super::lapse::session_length;
use super::output::{Rows, time};
use super::{Session, read};
use crate::pb::trust as pb;
use std::path::PathBuf;

#[derive(clap::Subcommand, Debug)]
pub(super) enum AwsRole {
    /// Registers a role of AWS for a purpose, or changes that; prints the external id its trust policy has to ask for.
    Put {
        name: String,
        /// The role in AWS.
        role_arn: String,
        /// What its sessions are cut down to: a policy of AWS; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// How long they last: seconds, or a time such as 30m.
        #[arg(long, default_value = "15m", value_name = "TIME", value_parser = session_length)]
        duration: i64,
    },
    /// Sees that the role is let to the server with its external id, and not without.
    Verify { name: String },
    /// Lists the account's roles of AWS.
    List,
    /// Removes a role of AWS.
    Delete { name: String },
    /// Takes credentials of AWS and prints them as exports, or as JSON for `credential_process` of an AWS profile.
    Credentials { name: String },
}

impl AwsRole {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut trust = session.client.trust();
        match self {
            Self::Put { name, role_arn, policy, duration } => {
                let request = pb::PutAwsRoleRequest {
                    parent: session.parent().await?,
                    aws_role_id: name,
                    role_arn,
                    policy: read(&policy)?,
                    duration: Some(prost_types::Duration { seconds: duration, nanos: 0 }),
                    request_id,
                    validate_only,
                };
                let role = trust.put_aws_role(request).await?.into_inner().aws_role;
                show(role.into_iter().collect()).print_one(session.global.output);
            }
            Self::Verify { name } => {
                let name = session.below("awsRoles", &name).await?;
                let request = pb::VerifyAwsRoleRequest { name, validate_only };
                let role = trust.verify_aws_role(request).await?.into_inner().aws_role;
                show(role.into_iter().collect()).print_one(session.global.output);
            }
            Self::List => list(session).await?,
            Self::Delete { name } => {
                let name = session.below("awsRoles", &name).await?;
                trust.delete_aws_role(pb::DeleteAwsRoleRequest { name, request_id, validate_only }).await?;
            }
            Self::Credentials { .. } if validate_only => {
                return Err(Failure::usage("credentials are not taken in a dry run; `verify` tries the role"));
            }
            Self::Credentials { name } => {
                let name = session.below("awsRoles", &name).await?;
                let answer = trust.get_aws_credentials(pb::GetAwsCredentialsRequest { name }).await?.into_inner();
                let keys = given(answer.credentials)?;
                // SPEC: AWS CLI user guide, "Sourcing credentials with an external process".
                let json = serde_json::json!({
                    "Version": 1,
                    "AccessKeyId": keys.access_key_id,
                    "SecretAccessKey": keys.secret_access_key,
                    "SessionToken": keys.session_token,
                    "Expiration": time(keys.expire_time.as_ref()),
                });
                tell(session, &keys, &json);
            }
        }
        Ok(())
    }
}

async fn list(session: &Session) -> Result<()> {
    let parent = session.parent().await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListAwsRolesRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.trust().list_aws_roles(request).await?.into_inner();
        all.extend(page.aws_roles);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            show(all).print(session.global.output);
            return Ok(());
        }
    }
}

fn show(roles: Vec<pb::AwsRole>) -> Rows {
    let mut rows = Rows::new(&["NAME", "ROLE", "EXTERNAL ID", "VERIFIED"]);
    for role in roles {
        let name = role.name.rsplit('/').next().unwrap_or_default().to_owned();
        rows.push([name.into(), role.role_arn.into(), role.external_id.into(), time(role.verify_time.as_ref())]);
    }
    rows
}
