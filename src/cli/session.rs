//! `transship session`.

use super::credentials::{given, tell_session};
use super::failure::{Failure, Result};
use super::lapse::session_length;
use super::output::{Rows, time};
use super::principal::{pair, tags};
use super::read;
use crate::names::{Arn, PrincipalName};
use crate::pb::trust as pb;
use std::path::PathBuf;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Session {
    /// Lists the account's sessions that this region issued, newest first.
    List,
    /// Takes temporary credentials of oneself, with a second factor if one is shown; they last no longer than this login, an
    /// hour.
    Take {
        /// How long: seconds, or a time such as 15m.
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = session_length)]
        duration: i64,
        /// The second factor, by its ARN.
        #[arg(long, value_name = "ARN", requires = "mfa_code")]
        mfa_device: Option<String>,
        /// The code it shows.
        #[arg(long, value_name = "DIGITS", requires = "mfa_device")]
        mfa_code: Option<String>,
    },
    /// Makes credentials for somebody who is no user here, within policies; as long as those of `take`.
    Federate {
        /// Who it is.
        name: String,
        /// A session policy; more than one are OR-ed.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// A managed policy of the account as a session policy, by its ARN.
        #[arg(long, value_name = "ARN")]
        policy_arn: Vec<String>,
        /// How long: seconds, or a time such as 15m.
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = session_length)]
        duration: i64,
        /// A tag of the session.
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        tag: Vec<(String, String)>,
    },
    /// Says whose an access key is.
    WhoseKey { access_key_id: String },
    /// Ends a session in every region, or all that a user, a role or a grant has had until now.
    Revoke(Revoke),
}

/// What ends: one of them.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Revoke {
    /// One session.
    session: Option<String>,
    /// Every session of a user or role, by its ARN.
    #[arg(long, value_name = "ARN")]
    principal: Option<String>,
    /// Every session of a user of the account.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Every session of a role of the account.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// What a grant of the account gives to sessions; later ones have it again.
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
}

impl Revoke {
    async fn run(self, session: &super::Session) -> Result<()> {
        use pb::revoke_sessions_request::Of;
        let mut trust = session.client.trust();
        let (request_id, validate_only) = (session.request_id(), session.global.dry_run);
        let of = match self {
            Self { session: Some(id), .. } => {
                let name = session.below("sessions", &id).await?;
                trust.revoke_session(pb::RevokeSessionRequest { name, request_id, validate_only }).await?;
                return Ok(());
            }
            Self { principal: Some(arn), .. } => {
                let name = Arn::parse(&arn).and_then(|arn| PrincipalName::from_arn(&arn));
                let name = name.map_err(|error| Failure::usage(format!("--principal: {error}")))?;
                Of::Principal(format!("accounts/{}/{}s/{}", name.account, name.kind.as_str(), name.name))
            }
            Self { user: Some(name), .. } => Of::Principal(session.below("users", &name).await?),
            Self { role: Some(name), .. } => Of::Principal(session.below("roles", &name).await?),
            Self { grant, .. } => Of::Grant(session.below("grants", &grant.unwrap_or_default()).await?),
        };
        let parent = session.parent().await?;
        let request = pb::RevokeSessionsRequest { parent, of: Some(of), request_id, validate_only };
        let before = trust.revoke_sessions(request).await?.into_inner().before_time;
        if !validate_only {
            let before = time(before.as_ref());
            session.note(&format!("what was issued before {} has ended", before.as_str().unwrap_or_default()));
        }
        Ok(())
    }
}

impl Session {
    pub(super) async fn run(self, session: &super::Session) -> Result<()> {
        let mut trust = session.client.trust();
        match self {
            Self::List => {
                let parent = session.parent().await?;
                let mut rows = Rows::new(&["SESSION", "PRINCIPAL", "NAME", "ISSUED", "EXPIRES"]);
                let mut page_token = String::new();
                loop {
                    let request = pb::ListSessionsRequest { parent: parent.clone(), page_size: 0, page_token };
                    let page = trust.list_sessions(request).await?.into_inner();
                    for issued in page.sessions {
                        let id = issued.name.rsplit('/').next().unwrap_or_default().to_owned();
                        let (from, until) = (time(issued.issue_time.as_ref()), time(issued.expire_time.as_ref()));
                        rows.push([id.into(), issued.principal_arn.into(), issued.session_name.into(), from, until]);
                    }
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                rows.print(session.global.output);
            }
            Self::Take { .. } | Self::Federate { .. } if session.global.dry_run => {
                return Err(Failure::usage("credentials are not taken in a dry run"));
            }
            Self::Take { duration, mfa_device, mfa_code } => {
                let request = pb::GetSessionTokenRequest {
                    duration: Some(prost_types::Duration { seconds: duration, nanos: 0 }),
                    mfa_serial_number: mfa_device.unwrap_or_default(),
                    mfa_code: mfa_code.unwrap_or_default(),
                };
                let taken = trust.get_session_token(request).await?.into_inner();
                tell_session(session, &given(taken.credentials)?, &taken.arn, &taken.session);
            }
            Self::Federate { name, policy, policy_arn, duration, tag } => {
                let request = pb::GetFederationTokenRequest {
                    federated_name: name,
                    policies: policy.iter().map(|path| read(path)).collect::<Result<_>>()?,
                    policy_arns: policy_arn,
                    duration: Some(prost_types::Duration { seconds: duration, nanos: 0 }),
                    tags: tags(&tag, false).collect(),
                };
                let made = trust.get_federation_token(request).await?.into_inner();
                tell_session(session, &given(made.credentials)?, &made.arn, &made.session);
            }
            Self::WhoseKey { access_key_id } => {
                let request = pb::GetAccessKeyInfoRequest { access_key_id };
                let mut rows = Rows::new(&["ACCOUNT"]);
                rows.push([trust.get_access_key_info(request).await?.into_inner().account.into()]);
                rows.print_one(session.global.output);
            }
            Self::Revoke(revoke) => revoke.run(session).await?,
        }
        Ok(())
    }
}
