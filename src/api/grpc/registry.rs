//! `RegistryService`: repositories, policies, settings, images.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::domain::images::{Listed, Reference};
use crate::domain::registries::NewSettings;
use crate::domain::repositories::NewRepositorySettings;
use crate::error::{Error, Result};
use crate::names::{AccountId, Arn, Digest, Profile, RepositoryName, RepositoryRef, Tag, TagFilter, TagMutability};
use crate::ops::Op;
use crate::pb::registry as pb;
use crate::pb::registry::registry_service_server::RegistryService;
use crate::pb::registry::registry_settings::{CreateOnPush, Profile as ProfileName};
use crate::pb::registry::{SparseManifests, Visibility};
use crate::store::registries::Settings;
use crate::store::repositories::RepositoryRow;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl RegistryService for Services {
    async fn create_repository(
        &self,
        request: Request<pb::CreateRepositoryRequest>,
    ) -> Result<Response<pb::CreateRepositoryResponse>, Status> {
        self.known(Op::CreateRepository, request, async |ctx, message: pb::CreateRepositoryRequest| {
            let address = RepositoryRef {
                account: names::account(&message.parent).of("parent")?,
                region: self.app.settings().region.clone(),
                name: RepositoryName::parse(&message.repository_id).of("repository_id")?,
            };
            let kms_key = Some(message.kms_key_arn.as_str())
                .filter(|key| !key.is_empty())
                .map(Arn::parse)
                .transpose()
                .of("kms_key_arn")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let tag_mutability = match message.tag_mutability() {
                pb::TagMutability::Unspecified => TagMutability::default(),
                mode => mutability(mode, &message.tag_mutability_exclusion_filters)?,
            };
            let new = NewRepositorySettings { kms_key, tag_mutability };
            let row = self.app.create_repository(&ctx, &address, new).await?;
            Ok(pb::CreateRepositoryResponse { repository: Some(self.repository(row)) })
        })
        .await
    }

    async fn get_repository(
        &self,
        request: Request<pb::GetRepositoryRequest>,
    ) -> Result<Response<pb::GetRepositoryResponse>, Status> {
        self.known(Op::DescribeRepositories, request, async |ctx, message: pb::GetRepositoryRequest| {
            let row = self.app.get_repository(&ctx, &self.named(&message.name).of("name")?).await?;
            Ok(pb::GetRepositoryResponse { repository: Some(self.repository(row)) })
        })
        .await
    }

    async fn list_repositories(
        &self,
        request: Request<pb::ListRepositoriesRequest>,
    ) -> Result<Response<pb::ListRepositoriesResponse>, Status> {
        self.known(Op::ListRepositories, request, async |ctx, message: pb::ListRepositoriesRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_repositories(&ctx, account, after, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.name.to_string());
            let repositories = rows.into_iter().map(|row| self.repository(row)).collect();
            Ok(pb::ListRepositoriesResponse { repositories, next_page_token })
        })
        .await
    }

    async fn delete_repository(
        &self,
        request: Request<pb::DeleteRepositoryRequest>,
    ) -> Result<Response<pb::DeleteRepositoryResponse>, Status> {
        self.known(Op::DeleteRepository, request, async |ctx, message: pb::DeleteRepositoryRequest| {
            let address = self.named(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_repository(&ctx, &address, message.force).await?;
            Ok(pb::DeleteRepositoryResponse {})
        })
        .await
    }

    async fn update_repository(
        &self,
        request: Request<pb::UpdateRepositoryRequest>,
    ) -> Result<Response<pb::UpdateRepositoryResponse>, Status> {
        self.known(Op::PutRepositorySettings, request, async |ctx, message: pb::UpdateRepositoryRequest| {
            let address = self.named(&message.name).of("name")?;
            let sparse = match message.sparse_manifests() {
                SparseManifests::Inherited => None,
                SparseManifests::Refused => Some(false),
                SparseManifests::Accepted => Some(true),
                SparseManifests::Unspecified => {
                    return Err(Error::invalid("sparse_manifests", "INHERITED, REFUSED or ACCEPTED"));
                }
            };
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.set_sparse_manifests(&ctx, &address, sparse).await?;
            Ok(pb::UpdateRepositoryResponse { repository: Some(self.repository(row)) })
        })
        .await
    }

    async fn put_image_tag_mutability(
        &self,
        request: Request<pb::PutImageTagMutabilityRequest>,
    ) -> Result<Response<pb::PutImageTagMutabilityResponse>, Status> {
        self.known(Op::PutImageTagMutability, request, async |ctx, message: pb::PutImageTagMutabilityRequest| {
            let address = self.named(&message.name).of("name")?;
            let wanted = mutability(message.tag_mutability(), &message.tag_mutability_exclusion_filters)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.set_tag_mutability(&ctx, &address, wanted).await?;
            Ok(pb::PutImageTagMutabilityResponse { repository: Some(self.repository(row)) })
        })
        .await
    }

    async fn put_repository_visibility(
        &self,
        request: Request<pb::PutRepositoryVisibilityRequest>,
    ) -> Result<Response<pb::PutRepositoryVisibilityResponse>, Status> {
        self.known(Op::PutRepositoryVisibility, request, async |ctx, message: pb::PutRepositoryVisibilityRequest| {
            let address = self.named(&message.name).of("name")?;
            let public = match message.visibility() {
                Visibility::Private => false,
                Visibility::Public => true,
                Visibility::Unspecified => return Err(Error::invalid("visibility", "PRIVATE or PUBLIC")),
            };
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.set_visibility(&ctx, &address, public).await?;
            Ok(pb::PutRepositoryVisibilityResponse { repository: Some(self.repository(row)) })
        })
        .await
    }

    async fn get_repository_policy(
        &self,
        request: Request<pb::GetRepositoryPolicyRequest>,
    ) -> Result<Response<pb::GetRepositoryPolicyResponse>, Status> {
        self.known(Op::GetRepositoryPolicy, request, async |ctx, message: pb::GetRepositoryPolicyRequest| {
            let policy = self.app.repository_policy(&ctx, &self.named(&message.name).of("name")?).await?;
            Ok(pb::GetRepositoryPolicyResponse { policy })
        })
        .await
    }

    async fn set_repository_policy(
        &self,
        request: Request<pb::SetRepositoryPolicyRequest>,
    ) -> Result<Response<pb::SetRepositoryPolicyResponse>, Status> {
        self.known(Op::SetRepositoryPolicy, request, async |ctx, message: pb::SetRepositoryPolicyRequest| {
            let address = self.named(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let warnings = self
                .app
                .set_repository_policy(&ctx, &address, &message.policy, message.force)
                .await
                .document("policy")?;
            Ok(pb::SetRepositoryPolicyResponse { warnings })
        })
        .await
    }

    async fn delete_repository_policy(
        &self,
        request: Request<pb::DeleteRepositoryPolicyRequest>,
    ) -> Result<Response<pb::DeleteRepositoryPolicyResponse>, Status> {
        self.known(Op::DeleteRepositoryPolicy, request, async |ctx, message: pb::DeleteRepositoryPolicyRequest| {
            let address = self.named(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_repository_policy(&ctx, &address).await?;
            Ok(pb::DeleteRepositoryPolicyResponse {})
        })
        .await
    }

    async fn get_registry_policy(
        &self,
        request: Request<pb::GetRegistryPolicyRequest>,
    ) -> Result<Response<pb::GetRegistryPolicyResponse>, Status> {
        self.known(Op::GetRegistryPolicy, request, async |ctx, message: pb::GetRegistryPolicyRequest| {
            let policy = self.app.registry_policy(&ctx, names::account(&message.parent).of("parent")?).await?;
            Ok(pb::GetRegistryPolicyResponse { policy })
        })
        .await
    }

    async fn put_registry_policy(
        &self,
        request: Request<pb::PutRegistryPolicyRequest>,
    ) -> Result<Response<pb::PutRegistryPolicyResponse>, Status> {
        self.known(Op::PutRegistryPolicy, request, async |ctx, message: pb::PutRegistryPolicyRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let warnings =
                self.app.put_registry_policy(&ctx, account, &message.policy, message.force).await.document("policy")?;
            Ok(pb::PutRegistryPolicyResponse { warnings })
        })
        .await
    }

    async fn delete_registry_policy(
        &self,
        request: Request<pb::DeleteRegistryPolicyRequest>,
    ) -> Result<Response<pb::DeleteRegistryPolicyResponse>, Status> {
        self.known(Op::DeleteRegistryPolicy, request, async |ctx, message: pb::DeleteRegistryPolicyRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_registry_policy(&ctx, account).await?;
            Ok(pb::DeleteRegistryPolicyResponse {})
        })
        .await
    }

    async fn get_registry_settings(
        &self,
        request: Request<pb::GetRegistrySettingsRequest>,
    ) -> Result<Response<pb::GetRegistrySettingsResponse>, Status> {
        self.known(Op::DescribeRegistry, request, async |ctx, message: pb::GetRegistrySettingsRequest| {
            let registry = self.app.registry_settings(&ctx, names::registry(&message.name).of("name")?).await?;
            let audit_rows_lost = i64::try_from(self.app.audit_rows_lost()).unwrap_or(i64::MAX);
            Ok(pb::GetRegistrySettingsResponse {
                settings: Some(settings(registry.account, registry.settings)),
                audit_rows_lost,
                directory_staleness: Some(names::duration(self.app.directory_staleness())),
            })
        })
        .await
    }

    async fn update_registry_settings(
        &self,
        request: Request<pb::UpdateRegistrySettingsRequest>,
    ) -> Result<Response<pb::UpdateRegistrySettingsResponse>, Status> {
        self.known(Op::PutRegistrySettings, request, async |ctx, message: pb::UpdateRegistrySettingsRequest| {
            let wanted = message.settings.unwrap_or_default();
            let account = names::registry(&wanted.name).of("settings.name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let chosen = self.app.set_registry_settings(&ctx, account, new_settings(&wanted)?).await?;
            Ok(pb::UpdateRegistrySettingsResponse { settings: Some(settings(account, chosen)) })
        })
        .await
    }

    async fn list_images(
        &self,
        request: Request<pb::ListImagesRequest>,
    ) -> Result<Response<pb::ListImagesResponse>, Status> {
        self.known(Op::DescribeImages, request, async |ctx, message: pb::ListImagesRequest| {
            let address = self.named(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let page = self.app.list_images(&ctx, &address, after, size).await?;
            let next_page_token = page.next.map_or_else(String::new, |token| token.encode());
            let images = page.images.into_iter().map(|listed| image(&address, &page.kms_key, listed)).collect();
            Ok(pb::ListImagesResponse { images, next_page_token })
        })
        .await
    }

    async fn delete_image(
        &self,
        request: Request<pb::DeleteImageRequest>,
    ) -> Result<Response<pb::DeleteImageResponse>, Status> {
        self.known(Op::BatchDeleteImage, request, async |ctx, message: pb::DeleteImageRequest| {
            let address = self.named(&message.parent).of("parent")?;
            let reference = match Digest::parse(&message.reference) {
                Ok(digest) => Reference::Digest(digest),
                Err(_) => Reference::Tag(Tag::parse(&message.reference).of("reference")?),
            };
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_image(&ctx, &address, reference).await?;
            Ok(pb::DeleteImageResponse {})
        })
        .await
    }
}

impl Services {
    pub(super) fn named(&self, name: &str) -> Result<RepositoryRef> {
        names::repository(name, &self.app.settings().region)
    }

    fn repository(&self, row: RepositoryRow) -> pb::Repository {
        let settings = self.app.settings();
        let name = names::of_repository(row.account, &row.name);
        let uri = settings.repository_uri(row.account, &row.name);
        pb::Repository {
            name,
            uri,
            kms_key_arn: names::of_key(&row.kms_key),
            create_time: Some(names::time(row.created_at)),
            sparse_manifests: sparse(row.sparse_manifests).into(),
            tag_mutability: mode(&row.tag_mutability).into(),
            tag_mutability_exclusion_filters: row.tag_mutability.filters().iter().map(ToString::to_string).collect(),
            visibility: if row.public { Visibility::Public } else { Visibility::Private }.into(),
            arn: row.into_address(&settings.region).arn().to_string(),
        }
    }
}

/// The words of the contract are Amazon ECR's after this.
const MUTABILITY: &str = "TAG_MUTABILITY_";

fn mode(mutability: &TagMutability) -> pb::TagMutability {
    pb::TagMutability::from_str_name(&format!("{MUTABILITY}{}", mutability.mode())).unwrap_or_default()
}

fn mutability(mode: pb::TagMutability, filters: &[String]) -> Result<TagMutability> {
    let filters = filters.iter().map(|filter| TagFilter::parse(filter)).collect::<Result<Vec<_>, _>>();
    let filters = filters.of("tag_mutability_exclusion_filters")?;
    TagMutability::new(mode.as_str_name().trim_start_matches(MUTABILITY), filters).of("tag_mutability")
}

fn settings(account: AccountId, chosen: Settings) -> pb::RegistrySettings {
    let create_on_push = if chosen.create_on_push { CreateOnPush::Enabled } else { CreateOnPush::Disabled };
    let profile = match chosen.profile {
        Profile::Oci => ProfileName::Oci,
        Profile::Ecr => ProfileName::Ecr,
    };
    pb::RegistrySettings {
        name: format!("accounts/{account}/registry"),
        create_on_push: create_on_push.into(),
        sparse_manifests: sparse(Some(chosen.sparse_manifests)).into(),
        profile: profile.into(),
    }
}

fn sparse(chosen: Option<bool>) -> SparseManifests {
    match chosen {
        None => SparseManifests::Inherited,
        Some(false) => SparseManifests::Refused,
        Some(true) => SparseManifests::Accepted,
    }
}

fn new_settings(wanted: &pb::RegistrySettings) -> Result<NewSettings> {
    let new = NewSettings {
        create_on_push: match wanted.create_on_push() {
            CreateOnPush::Unspecified => None,
            CreateOnPush::Disabled => Some(false),
            CreateOnPush::Enabled => Some(true),
        },
        sparse_manifests: match wanted.sparse_manifests() {
            SparseManifests::Unspecified => None,
            SparseManifests::Refused => Some(false),
            SparseManifests::Accepted => Some(true),
            SparseManifests::Inherited => {
                return Err(Error::invalid("sparse_manifests", "REFUSED or ACCEPTED; a registry inherits from nobody"));
            }
        },
        profile: match wanted.profile() {
            ProfileName::Unspecified => None,
            ProfileName::Oci => Some(Profile::Oci),
            ProfileName::Ecr => Some(Profile::Ecr),
        },
    };
    if new == NewSettings::default() {
        return Err(Error::invalid("settings", "at least one of create_on_push, sparse_manifests, profile"));
    }
    Ok(new)
}

fn image(address: &RepositoryRef, kms_key: &Arn, listed: Listed) -> pb::Image {
    let Listed { manifest, tags } = listed;
    pb::Image {
        name: format!("{}/images/{}", names::of_repository(address.account, &address.name), manifest.digest),
        digest: manifest.digest.to_string(),
        media_type: manifest.media_type.to_string(),
        artifact_type: manifest.artifact_type.unwrap_or_default(),
        tags: tags.iter().map(ToString::to_string).collect(),
        size_bytes: i64::try_from(manifest.total_size).unwrap_or(i64::MAX),
        push_time: Some(names::time(manifest.pushed_at)),
        kms_key_arn: kms_key.to_string(),
    }
}
