//! `transship key`.

use super::Session;
use super::failure::Result;
use super::output::{Rows, time};
use crate::pb::keys as pb;
use crate::pb::keys::key::State;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Key {
    /// Makes a KMS key.
    Create {
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Lists the keys.
    List,
    /// Lets a key wrap and unwrap again.
    Enable { key: String },
    /// Stops a key from opening anything.
    Disable { key: String },
}

impl Key {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let mut keys = session.client.keys();
        match self {
            Self::Create { description } => {
                let request = pb::CreateKeyRequest {
                    parent: session.parent().await?,
                    description,
                    validate_only: session.global.dry_run,
                };
                let made = keys.create_key(request).await?.into_inner().key;
                show(made.into_iter().collect()).print_one(session.global.output);
            }
            Self::List => {
                let parent = session.parent().await?;
                let (mut all, mut page_token) = (Vec::new(), String::new());
                loop {
                    let request = pb::ListKeysRequest { parent: parent.clone(), page_size: 0, page_token };
                    let page = keys.list_keys(request).await?.into_inner();
                    all.extend(page.keys);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                show(all).print(session.global.output);
            }
            Self::Enable { key } => set(session, &key, State::Enabled).await?,
            Self::Disable { key } => set(session, &key, State::Disabled).await?,
        }
        Ok(())
    }
}

/// A key by its id or its ARN.
async fn set(session: &Session, key: &str, state: State) -> Result<()> {
    let id = key.rsplit("key/").next().unwrap_or(key);
    let (name, validate_only) = (session.below("keys", id).await?, session.global.dry_run);
    let request = pb::SetKeyStateRequest { name, state: state.into(), validate_only };
    let changed = session.client.keys().set_key_state(request).await?.into_inner().key;
    show(changed.into_iter().collect()).print_one(session.global.output);
    Ok(())
}

fn show(all: Vec<pb::Key>) -> Rows {
    let mut rows = Rows::new(&["ARN", "STATE", "CREATED", "DESCRIPTION"]);
    for key in all {
        let state = key.state().as_str_name().trim_start_matches("STATE_").to_ascii_lowercase();
        let created = time(key.create_time.as_ref());
        rows.push([key.arn.into(), state.into(), created, key.description.into()]);
    }
    rows
}
