//! `KeyService`: the KMS keys of accounts.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::error::{Error, Result};
use crate::keys::{KeyInfo, KeyState};
use crate::ops::Op;
use crate::pb::keys as pb;
use crate::pb::keys::key_service_server::KeyService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl KeyService for Services {
    async fn create_key(
        &self,
        request: Request<pb::CreateKeyRequest>,
    ) -> Result<Response<pb::CreateKeyResponse>, Status> {
        self.known(Op::CreateKey, request, async |ctx, message: pb::CreateKeyRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let made = self.app.create_key(&ctx, account, &message.description).await?;
            Ok(pb::CreateKeyResponse { key: Some(key(made)) })
        })
        .await
    }

    async fn list_keys(&self, request: Request<pb::ListKeysRequest>) -> Result<Response<pb::ListKeysResponse>, Status> {
        self.known(Op::ListKeys, request, async |ctx, message: pb::ListKeysRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let mut keys = self.app.list_keys(&ctx, account).await?;
            keys.sort_by(|a, b| a.arn.cmp(&b.arn));
            keys.retain(|key| key.arn.as_str() > after);
            keys.truncate(size.rows() as usize);
            let next_page_token = names::next_page(&keys, size, |key| key.arn.to_string());
            Ok(pb::ListKeysResponse { keys: keys.into_iter().map(key).collect(), next_page_token })
        })
        .await
    }

    async fn set_key_state(
        &self,
        request: Request<pb::SetKeyStateRequest>,
    ) -> Result<Response<pb::SetKeyStateResponse>, Status> {
        let enables = request.get_ref().state() == pb::key::State::Enabled;
        let op = if enables { Op::EnableKey } else { Op::DisableKey };
        self.known(op, request, async |ctx, message: pb::SetKeyStateRequest| {
            let (account, arn) = names::key(&message.name, &self.app.settings().region).of("name")?;
            let enabled = match message.state() {
                pb::key::State::Enabled => true,
                pb::key::State::Disabled => false,
                pb::key::State::Unspecified | pb::key::State::PendingDeletion => {
                    return Err(Error::invalid("state", "STATE_ENABLED or STATE_DISABLED"));
                }
            };
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let changed = self.app.set_key_enabled(&ctx, account, &arn, enabled).await?;
            Ok(pb::SetKeyStateResponse { key: Some(key(changed)) })
        })
        .await
    }
}

fn key(info: KeyInfo) -> pb::Key {
    let account = info.arn.account().map_or_else(String::new, |account| account.to_string());
    let (id, arn) = (info.arn.resource().strip_prefix("key/").unwrap_or_default(), names::of_key(&info.arn));
    let state = match info.state {
        KeyState::Enabled => pb::key::State::Enabled,
        KeyState::Disabled => pb::key::State::Disabled,
        KeyState::PendingDeletion => pb::key::State::PendingDeletion,
    };
    pb::Key {
        name: if arn.is_empty() { String::new() } else { format!("accounts/{account}/keys/{id}") },
        arn,
        description: info.description,
        state: state.into(),
        create_time: Some(names::time(info.created_at)),
    }
}
