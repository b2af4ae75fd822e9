//! `transship session`.

use super::failure::Result;
use super::output::{Rows, time};
use crate::pb::trust as pb;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Session {
    /// Lists the account's sessions that this region issued, newest first.
    List,
    /// Ends a session in every region.
    Revoke { session: String },
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
            Self::Revoke { session: id } => {
                let request = pb::RevokeSessionRequest {
                    name: session.below("sessions", &id).await?,
                    request_id: session.request_id(),
                    validate_only: session.global.dry_run,
                };
                trust.revoke_session(request).await?;
            }
        }
        Ok(())
    }
}
