//! `transship grant`.

use super::Session;
use super::failure::Result;
use super::lapse::Expiry;
use super::output::{Rows, time};
use crate::clock::{Clock, Timestamp};
use crate::pb::sharing as pb;
use serde_json::Value;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Grant {
    /// Gives access.
    Create {
        /// Who receives: an account id, or the ARN of an account, user or role.
        #[arg(long, value_name = "PRINCIPAL")]
        to: String,
        /// A repository's name, or a pattern with * and ?.
        #[arg(long)]
        repository: String,
        /// A tag, or a pattern; every image unless given.
        #[arg(long, default_value = "*")]
        tag: String,
        /// What it allows.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "pull")]
        action: Vec<Action>,
        /// In force for so long: 30m, 12h, 7d; or until 2030-01-31T12:00:00Z; for ever unless given.
        #[arg(long, value_name = "TIME", value_parser = Expiry::parse)]
        expires: Option<Expiry>,
        /// Why, for those who read it later.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Lists the grants, those that ended included.
    List,
    /// Shows a grant.
    Get { grant: String },
    /// Ends a grant at once, transfers in flight included.
    Revoke {
        grant: String,
        /// The grant must still be at this etag.
        #[arg(long, default_value = "")]
        etag: String,
    },
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Action {
    /// Read images.
    Pull,
    /// Write images.
    Push,
}

impl Grant {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut sharing = session.client.sharing();
        let grants = match self {
            Self::Create { to, repository, tag, action, expires, reason } => {
                let actions = action.iter().map(|action| match action {
                    Action::Pull => pb::GrantAction::Pull.into(),
                    Action::Push => pb::GrantAction::Push.into(),
                });
                let grant = pb::Grant {
                    grantee: to,
                    repository_pattern: repository,
                    tag_pattern: tag,
                    actions: actions.collect(),
                    expire_time: expires.map(|expiry| stamp(expiry.from(Clock::system().now()))),
                    reason,
                    ..pb::Grant::default()
                };
                let parent = session.parent().await?;
                let request = pb::CreateGrantRequest { parent, grant: Some(grant), request_id, validate_only };
                sharing.create_grant(request).await?.into_inner().grant.into_iter().collect()
            }
            Self::List => return list(session).await,
            Self::Get { grant } => {
                let name = session.below("grants", &grant).await?;
                sharing.get_grant(pb::GetGrantRequest { name }).await?.into_inner().grant.into_iter().collect()
            }
            Self::Revoke { grant, etag } => {
                let name = session.below("grants", &grant).await?;
                let request = pb::RevokeGrantRequest { name, etag, request_id, validate_only };
                sharing.revoke_grant(request).await?.into_inner().grant.into_iter().collect()
            }
        };
        show(grants).print_one(session.global.output);
        Ok(())
    }
}

async fn list(session: &Session) -> Result<()> {
    let parent = session.parent().await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListGrantsRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.sharing().list_grants(request).await?.into_inner();
        all.extend(page.grants);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            show(all).print(session.global.output);
            return Ok(());
        }
    }
}

fn show(grants: Vec<pb::Grant>) -> Rows {
    let mut rows = Rows::new(&["GRANT", "STATE", "TO", "REPOSITORY", "TAG", "ACTIONS", "EXPIRES", "REASON", "ETAG"]);
    for grant in grants {
        let word = |text: &str, prefix: &str| text.trim_start_matches(prefix).to_ascii_lowercase();
        let actions = grant.actions().map(|action| word(action.as_str_name(), "GRANT_ACTION_").into());
        let id = grant.name.rsplit('/').next().unwrap_or_default().to_owned();
        rows.push([
            id.into(),
            word(grant.state().as_str_name(), "STATE_").into(),
            grant.grantee.clone().into(),
            grant.repository_pattern.clone().into(),
            grant.tag_pattern.clone().into(),
            Value::Array(actions.collect()),
            time(grant.expire_time.as_ref()),
            grant.reason.clone().into(),
            grant.etag.into(),
        ]);
    }
    rows
}

fn stamp(moment: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: moment.secs(), nanos: 0 }
}
