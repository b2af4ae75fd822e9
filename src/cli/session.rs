//! `transship session`.

use super::failure::{Failure, Result};
use super::output::{Rows, time};
use crate::names::{Arn, PrincipalName};
use crate::pb::trust as pb;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Session {
    /// Lists the account's sessions that this region issued, newest first.
    List,
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
            Self::Revoke(revoke) => revoke.run(session).await?,
        }
        Ok(())
    }
}
