//! `transship token`: a registry password, for less than the caller may do if so asked.

use super::failure::Result;
use super::output;
use crate::names::AccountId;
use crate::pb::trust as pb;
use pb::get_authorization_token_request::Action;

/// What the password is to be good for at most.
#[derive(clap::Args, Debug)]
pub(super) struct Token {
    /// Only these repositories of the account, with * and ?; or 111122223333/<pattern> of another.
    #[arg(long, value_name = "PATTERN")]
    repository: Vec<String>,
    /// Only these tags, with * and ?.
    #[arg(long, value_name = "PATTERN")]
    tag: Vec<String>,
    /// Only this.
    #[arg(long, value_enum)]
    action: Vec<Right>,
    /// Only from this network.
    #[arg(long, value_name = "CIDR")]
    cidr: Vec<String>,
    /// For how long: 1m to 12h, 12h unless set.
    #[arg(long, value_parser = super::lapse::session_length, value_name = "TIME")]
    ttl: Option<i64>,
}

/// What may be done with a registry.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Right {
    Pull,
    Push,
    Delete,
}

impl Token {
    pub(super) async fn run(self, session: &super::Session) -> Result<()> {
        let mut repositories = Vec::new();
        for pattern in &self.repository {
            repositories.push(match pattern.split_once('/') {
                Some((account, rest)) if AccountId::parse(account).is_ok() => {
                    format!("accounts/{account}/repositories/{rest}")
                }
                Some(_) | None => session.below("repositories", pattern).await?,
            });
        }
        let actions = self.action.iter().map(|right| match right {
            Right::Pull => Action::Pull.into(),
            Right::Push => Action::Push.into(),
            Right::Delete => Action::Delete.into(),
        });
        let request = pb::GetAuthorizationTokenRequest {
            repositories,
            tags: self.tag,
            actions: actions.collect(),
            source_cidrs: self.cidr,
            duration: self.ttl.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        };
        output::line(session.client.trust().get_authorization_token(request).await?.into_inner().password);
        Ok(())
    }
}
