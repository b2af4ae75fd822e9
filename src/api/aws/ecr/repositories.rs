//! Repositories.

use super::Asking;
use crate::domain::repositories::NewRepositorySettings;
use crate::error::{Error, Result};
use crate::names::{Arn, PageSize, PageToken, TagFilter, TagMutability};
use crate::store::repositories::RepositoryRow;
use serde::Deserialize;
use serde_json::{Value, json};

/// Repositories that are described by name at once.
// SPEC: Amazon ECR API, `DescribeRepositories`.
const NAMES_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    registry_id: Option<String>,
    repository_name: String,
    image_tag_mutability: Option<String>,
    #[serde(default)]
    image_tag_mutability_exclusion_filters: Vec<Filter>,
    encryption_configuration: Option<Encryption>,
    image_scanning_configuration: Option<Scanning>,
    #[serde(default)]
    tags: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    filter_type: String,
    filter: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encryption {
    encryption_type: String,
    kms_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scanning {
    #[serde(default)]
    scan_on_push: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delete {
    registry_id: Option<String>,
    repository_name: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    registry_id: Option<String>,
    repository_names: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutTagMutability {
    registry_id: Option<String>,
    repository_name: String,
    image_tag_mutability: String,
    #[serde(default)]
    image_tag_mutability_exclusion_filters: Vec<Filter>,
}

pub(super) async fn create(asking: &Asking<'_>, request: Create) -> Result<Value> {
    let address = asking.repository(request.registry_id.as_deref(), &request.repository_name)?;
    if !request.tags.is_empty() {
        return Err(Error::invalid("tags", "resource tags are not supported yet"));
    }
    if request.image_scanning_configuration.is_some_and(|scanning| scanning.scan_on_push) {
        return Err(Error::invalid("imageScanningConfiguration", "scanOnPush is not supported yet"));
    }
    let tag_mutability = match &request.image_tag_mutability {
        None => TagMutability::default(),
        Some(mode) => mutability(mode, &request.image_tag_mutability_exclusion_filters)?,
    };
    let kms_key = request.encryption_configuration.as_ref().map(key).transpose()?.flatten();
    let new = NewRepositorySettings { kms_key, tag_mutability };
    let row = asking.app.create_repository(&asking.ctx, &address, new).await?;
    Ok(json!({ "repository": repository(asking, row) }))
}

pub(super) async fn delete(asking: &Asking<'_>, request: Delete) -> Result<Value> {
    let address = asking.repository(request.registry_id.as_deref(), &request.repository_name)?;
    let row = asking.app.delete_repository(&asking.ctx, &address, request.force).await?;
    Ok(json!({ "repository": repository(asking, row) }))
}

pub(super) async fn describe(asking: &Asking<'_>, request: Describe) -> Result<Value> {
    let registry = request.registry_id.as_deref();
    if let Some(names) = request.repository_names.filter(|names| !names.is_empty()) {
        if names.len() > NAMES_MAX {
            return Err(Error::invalid("repositoryNames", format!("at most {NAMES_MAX}")));
        }
        let mut found = Vec::with_capacity(names.len());
        for name in &names {
            let address = asking.repository(registry, name)?;
            found.push(repository(asking, asking.app.get_repository(&asking.ctx, &address).await?));
        }
        return Ok(json!({ "repositories": found }));
    }
    let size = PageSize::clamp(request.max_results.unwrap_or(0));
    let token = PageToken::decode(request.next_token.as_deref().unwrap_or_default())?;
    let after = token.as_ref().map_or("", PageToken::key);
    let rows = asking.app.list_repositories(&asking.ctx, asking.registry(registry)?, after, size).await?;
    let next = PageToken::of_next(&rows, size, |row| row.name.to_string());
    let mut document =
        json!({ "repositories": rows.into_iter().map(|row| repository(asking, row)).collect::<Vec<_>>() });
    if let Some(next) = next {
        document["nextToken"] = next.encode().into();
    }
    Ok(document)
}

pub(super) async fn put_tag_mutability(asking: &Asking<'_>, request: PutTagMutability) -> Result<Value> {
    let address = asking.repository(request.registry_id.as_deref(), &request.repository_name)?;
    let wanted = mutability(&request.image_tag_mutability, &request.image_tag_mutability_exclusion_filters)?;
    let row = asking.app.set_tag_mutability(&asking.ctx, &address, wanted).await?;
    let mut document = json!({
        "registryId": row.account.as_str(),
        "repositoryName": row.name.as_str(),
        "imageTagMutability": row.tag_mutability.mode(),
    });
    exclusions(&mut document, &row.tag_mutability);
    Ok(document)
}

fn mutability(mode: &str, filters: &[Filter]) -> Result<TagMutability> {
    let filter = |filter: &Filter| match filter.filter_type.as_str() {
        "WILDCARD" => Ok(TagFilter::parse(&filter.filter)?),
        _ => Err(Error::invalid("filterType", "WILDCARD")),
    };
    Ok(TagMutability::new(mode, filters.iter().map(filter).collect::<Result<_>>()?)?)
}

/// The key that is asked for; `AES256` asks for none of its own.
fn key(encryption: &Encryption) -> Result<Option<Arn>> {
    match encryption.encryption_type.as_str() {
        "AES256" => Ok(None),
        "KMS" => Ok(encryption.kms_key.as_deref().map(Arn::parse).transpose()?),
        _ => Err(Error::invalid("encryptionType", "AES256 or KMS")),
    }
}

fn exclusions(document: &mut Value, mutability: &TagMutability) {
    let filter = |filter: &TagFilter| json!({ "filterType": "WILDCARD", "filter": filter.as_str() });
    if !mutability.filters().is_empty() {
        document["imageTagMutabilityExclusionFilters"] = mutability.filters().iter().map(filter).collect();
    }
}

fn repository(asking: &Asking<'_>, row: RepositoryRow) -> Value {
    let settings = asking.app.settings();
    let mut document = json!({
        "registryId": row.account.as_str(),
        "repositoryName": row.name.as_str(),
        "repositoryUri": settings.repository_uri(row.account, &row.name),
        "createdAt": row.created_at.secs(),
        "imageTagMutability": row.tag_mutability.mode(),
        "imageScanningConfiguration": { "scanOnPush": false },
        "encryptionConfiguration": { "encryptionType": "KMS", "kmsKey": row.kms_key.as_str() },
    });
    exclusions(&mut document, &row.tag_mutability);
    document["repositoryArn"] = row.into_address(&settings.region).arn().as_str().into();
    document
}
