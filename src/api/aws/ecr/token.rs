//! `GetAuthorizationToken`: the password of `docker login`.

use super::Asking;
use crate::error::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Get {
    #[serde(default)]
    registry_ids: Vec<String>,
}

pub(super) async fn get(asking: &Asking<'_>, request: Get) -> Result<Value> {
    let token = asking.app.authorization_token(&asking.ctx).await?;
    let authorization = STANDARD.encode(format!("AWS:{}", token.text.expose()));
    let entry = json!({
        "authorizationToken": authorization,
        "expiresAt": token.expires_at.secs(),
        "proxyEndpoint": asking.app.settings().endpoint,
    });
    // One token opens every registry that its holder may use; old clients ask for one each.
    let entries = vec![entry; request.registry_ids.len().clamp(1, 10)];
    Ok(json!({ "authorizationData": entries }))
}
