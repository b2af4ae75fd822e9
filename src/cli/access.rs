//! `transship whoami` and `transship explain`.

use super::Session;
use super::failure::{Failure, Result};
use super::output::{Rows, print_json};
use crate::pb::sharing::ExplainAccessRequest;
use crate::pb::trust::{DecodeAuthorizationMessageRequest, GetCallerIdentityRequest};

/// Says what the server would answer a principal, and why.
#[derive(clap::Args, Debug)]
pub(super) struct Explain {
    /// The ARN of a user or role.
    #[arg(long, value_name = "ARN")]
    principal: String,
    /// pull, push, or an action such as ecr:BatchGetImage.
    #[arg(long, default_value = "pull")]
    action: String,
    /// The repository.
    #[arg(long)]
    repository: String,
    /// A tag, if the question is about one.
    #[arg(long, default_value = "")]
    tag: String,
}

impl Explain {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let request = ExplainAccessRequest {
            principal: self.principal,
            action: self.action,
            repository: session.repository(&self.repository).await?,
            tag: self.tag,
        };
        let answer = session.client.sharing().explain_access(request).await?.into_inner();
        let outcome = answer.outcome().as_str_name().trim_start_matches("OUTCOME_").to_ascii_lowercase();
        let mut rows = Rows::new(&["OUTCOME", "EXPLANATION", "STATEMENT"]);
        rows.push([outcome.into(), answer.explanation.into(), answer.statement.into()]);
        rows.print_one(session.global.output);
        Ok(())
    }
}

/// Says what a refusal was about.
#[derive(clap::Args, Debug)]
pub(super) struct DecodeMessage {
    /// The encoded message of the refusal.
    message: String,
}

impl DecodeMessage {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let request = DecodeAuthorizationMessageRequest { encoded_message: self.message };
        let answer = session.client.trust().decode_authorization_message(request).await?.into_inner();
        let decoded = serde_json::from_str(&answer.decoded_message).map_err(|e| Failure::new(e.to_string()))?;
        print_json(&decoded);
        Ok(())
    }
}

pub(super) async fn whoami(session: &Session) -> Result<()> {
    let me = session.client.trust().get_caller_identity(GetCallerIdentityRequest {}).await?.into_inner();
    let mut rows = Rows::new(&["ACCOUNT", "ARN", "USER ID", "REGION"]);
    rows.push([me.account.into(), me.arn.into(), me.user_id.into(), session.client.region.to_string().into()]);
    rows.print_one(session.global.output);
    Ok(())
}
