//! Repository and registry policies.

use super::Asking;
use crate::error::{Error, Reason, Result};
use crate::names::RepositoryRef;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    registry_id: Option<String>,
    repository_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Set {
    registry_id: Option<String>,
    repository_name: String,
    policy_text: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Put {
    policy_text: String,
}

#[derive(Deserialize)]
pub(super) struct Nothing {}

pub(super) async fn get_repository(asking: &Asking<'_>, request: Named) -> Result<Value> {
    let address = asking.repository(request.registry_id.as_deref(), &request.repository_name)?;
    let text = asking.app.repository_policy(&asking.ctx, &address).await?;
    Ok(told(&address, &text))
}

pub(super) async fn set_repository(asking: &Asking<'_>, request: Set) -> Result<Value> {
    let address = asking.repository(request.registry_id.as_deref(), &request.repository_name)?;
    let set = asking.app.set_repository_policy(&asking.ctx, &address, &request.policy_text, request.force).await;
    set.map_err(|error| invalid(error, "repository"))?;
    Ok(told(&address, &request.policy_text))
}

pub(super) async fn delete_repository(asking: &Asking<'_>, request: Named) -> Result<Value> {
    let address = asking.repository(request.registry_id.as_deref(), &request.repository_name)?;
    let text = asking.app.delete_repository_policy(&asking.ctx, &address).await?;
    Ok(told(&address, &text))
}

pub(super) async fn get_registry(asking: &Asking<'_>, _: Nothing) -> Result<Value> {
    let account = asking.registry(None)?;
    let text = asking.app.registry_policy(&asking.ctx, account).await?;
    Ok(json!({ "registryId": account.as_str(), "policyText": text }))
}

pub(super) async fn put_registry(asking: &Asking<'_>, request: Put) -> Result<Value> {
    let account = asking.registry(None)?;
    let put = asking.app.put_registry_policy(&asking.ctx, account, &request.policy_text, false).await;
    put.map_err(|error| invalid(error, "registry"))?;
    Ok(json!({ "registryId": account.as_str(), "policyText": request.policy_text }))
}

pub(super) async fn delete_registry(asking: &Asking<'_>, _: Nothing) -> Result<Value> {
    let account = asking.registry(None)?;
    let text = asking.app.delete_registry_policy(&asking.ctx, account).await?;
    Ok(json!({ "registryId": account.as_str(), "policyText": text }))
}

fn told(address: &RepositoryRef, text: &str) -> Value {
    json!({ "registryId": address.account.as_str(), "repositoryName": address.name.as_str(), "policyText": text })
}

/// What ECR says of a document that it does not take, followed by what is wrong with it and where.
fn invalid(error: Error, kind: &str) -> Error {
    if error.reason != Reason::MalformedPolicy {
        return error;
    }
    let message = format!(
        "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid {kind} policy provided': {}",
        error.message
    );
    Error { message, ..error }
}
