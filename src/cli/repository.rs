//! `transship repo` and `transship registry`.

use super::failure::Result;
use super::output::{Rows, line, time};
use super::{Session, read};
use crate::pb::registry as pb;
use crate::pb::registry::SparseManifests;
use crate::pb::registry::registry_settings::{CreateOnPush, Profile as ProfileName};
use serde_json::Value;
use std::path::PathBuf;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Repo {
    /// Makes a repository.
    Create {
        name: String,
        /// Its KMS key; the account's default unless given.
        #[arg(long, value_name = "ARN")]
        kms_key: Option<String>,
        /// Whether its tags, once set, may be moved.
        #[arg(long, value_enum, default_value = "mutable", value_name = "MODE")]
        tag_mutability: TagMutability,
        /// Tags for which it is the other way, with * for any run of characters; up to five times.
        #[arg(long, value_name = "FILTER")]
        except: Vec<String>,
    },
    /// Lists the repositories.
    List,
    /// Shows a repository.
    Get { name: String },
    /// Removes a repository.
    Delete {
        name: String,
        /// With its images.
        #[arg(long)]
        force: bool,
    },
    /// Changes a repository's settings.
    Set {
        name: String,
        /// Whether a manifest may name what the repository does not hold.
        #[arg(long, value_enum, value_name = "SWITCH")]
        sparse_manifests: Inheritable,
    },
    /// Chooses whether the repository's tags, once set, may be moved.
    SetTagMutability {
        name: String,
        #[arg(value_enum)]
        mode: TagMutability,
        /// Tags for which it is the other way, with * for any run of characters; up to five times.
        #[arg(long, value_name = "FILTER")]
        except: Vec<String>,
    },
    /// Chooses who may pull from the repository.
    SetVisibility {
        name: String,
        #[arg(value_enum)]
        visibility: Visibility,
    },
    /// Prints a repository's policy.
    GetPolicy { name: String },
    /// Replaces a repository's policy.
    SetPolicy {
        name: String,
        /// The document; `-` is standard input.
        file: PathBuf,
        /// Accept principals that do not exist; they match nobody.
        #[arg(long)]
        force: bool,
    },
    /// Removes a repository's policy.
    DeletePolicy { name: String },
}

/// Whether tags, once set, may be moved.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum TagMutability {
    /// They may.
    Mutable,
    /// They may not.
    Immutable,
}

/// Who may pull.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Visibility {
    /// Whom policies and grants allow.
    Private,
    /// Anybody, without credentials too.
    Public,
}

impl TagMutability {
    /// The mode with or without exclusions.
    fn mode(self, except: &[String]) -> i32 {
        match (self, except.is_empty()) {
            (Self::Mutable, true) => pb::TagMutability::Mutable,
            (Self::Immutable, true) => pb::TagMutability::Immutable,
            (Self::Mutable, false) => pb::TagMutability::MutableWithExclusion,
            (Self::Immutable, false) => pb::TagMutability::ImmutableWithExclusion,
        }
        .into()
    }
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Registry {
    /// Prints the registry's policy.
    GetPolicy,
    /// Replaces the registry's policy.
    PutPolicy {
        /// The document; `-` is standard input.
        file: PathBuf,
        /// Accept principals that do not exist; they match nobody.
        #[arg(long)]
        force: bool,
    },
    /// Removes the registry's policy.
    DeletePolicy,
    /// Shows the registry's settings.
    GetSettings,
    /// Changes the registry's settings; what is not given stays as it is.
    #[command(group = clap::ArgGroup::new("settings").required(true).multiple(true))]
    SetSettings {
        /// Whether a push makes the repository it names; on if no value is given.
        #[arg(long, group = "settings", value_enum, num_args = 0..=1, default_missing_value = "on", value_name = "SWITCH")]
        create_on_push: Option<Switch>,
        /// Whether a manifest may name what its repository does not hold, where the repository does not say.
        #[arg(long, group = "settings", value_enum, value_name = "SWITCH")]
        sparse_manifests: Option<Switch>,
        /// Whose answers are given where Amazon ECR and the OCI specification differ.
        #[arg(long, group = "settings", value_enum)]
        profile: Option<Profile>,
    },
}

/// A setting that is on or off.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Switch {
    /// It happens.
    On,
    /// It does not.
    Off,
}

/// A repository's setting that the registry has too.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Inheritable {
    /// It may.
    On,
    /// It may not.
    Off,
    /// As the registry says.
    Inherit,
}

/// Whose answers are given where they differ.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Profile {
    /// The specification's.
    Oci,
    /// Amazon ECR's.
    Ecr,
}

impl Repo {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut registry = session.client.registry();
        match self {
            Self::Create { name, kms_key, tag_mutability, except } => {
                let request = pb::CreateRepositoryRequest {
                    parent: session.parent().await?,
                    repository_id: name,
                    kms_key_arn: kms_key.unwrap_or_default(),
                    request_id,
                    validate_only,
                    tag_mutability: tag_mutability.mode(&except),
                    tag_mutability_exclusion_filters: except,
                };
                let made = registry.create_repository(request).await?.into_inner().repository;
                show(made.into_iter().collect()).print_one(session.global.output);
            }
            Self::List => list(session).await?,
            Self::Get { name } => {
                let request = pb::GetRepositoryRequest { name: session.repository(&name).await? };
                let found = registry.get_repository(request).await?.into_inner().repository;
                show(found.into_iter().collect()).print_one(session.global.output);
            }
            Self::Delete { name, force } => {
                let name = session.repository(&name).await?;
                let request = pb::DeleteRepositoryRequest { name, force, request_id, validate_only };
                registry.delete_repository(request).await?;
            }
            Self::Set { name, sparse_manifests } => {
                let name = session.repository(&name).await?;
                let wanted = match sparse_manifests {
                    Inheritable::On => SparseManifests::Accepted,
                    Inheritable::Off => SparseManifests::Refused,
                    Inheritable::Inherit => SparseManifests::Inherited,
                };
                let request =
                    pb::UpdateRepositoryRequest { name, sparse_manifests: wanted.into(), request_id, validate_only };
                let changed = registry.update_repository(request).await?.into_inner().repository;
                show(changed.into_iter().collect()).print_one(session.global.output);
            }
            Self::SetTagMutability { name, mode, except } => {
                let request = pb::PutImageTagMutabilityRequest {
                    name: session.repository(&name).await?,
                    tag_mutability: mode.mode(&except),
                    tag_mutability_exclusion_filters: except,
                    request_id,
                    validate_only,
                };
                let changed = registry.put_image_tag_mutability(request).await?.into_inner().repository;
                show(changed.into_iter().collect()).print_one(session.global.output);
            }
            Self::SetVisibility { name, visibility } => {
                let visibility = match visibility {
                    Visibility::Private => pb::Visibility::Private,
                    Visibility::Public => pb::Visibility::Public,
                }
                .into();
                let name = session.repository(&name).await?;
                let request = pb::PutRepositoryVisibilityRequest { name, visibility, request_id, validate_only };
                let changed = registry.put_repository_visibility(request).await?.into_inner().repository;
                show(changed.into_iter().collect()).print_one(session.global.output);
            }
            Self::GetPolicy { name } => {
                let request = pb::GetRepositoryPolicyRequest { name: session.repository(&name).await? };
                line(registry.get_repository_policy(request).await?.into_inner().policy);
            }
            Self::SetPolicy { name, file, force } => {
                let (name, policy) = (session.repository(&name).await?, read(&file)?);
                let request = pb::SetRepositoryPolicyRequest { name, policy, force, request_id, validate_only };
                warn(registry.set_repository_policy(request).await?.into_inner().warnings);
            }
            Self::DeletePolicy { name } => {
                let name = session.repository(&name).await?;
                let request = pb::DeleteRepositoryPolicyRequest { name, request_id, validate_only };
                registry.delete_repository_policy(request).await?;
            }
        }
        Ok(())
    }
}

impl Registry {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let (parent, mut registry) = (session.parent().await?, session.client.registry());
        match self {
            Self::GetPolicy => {
                let request = pb::GetRegistryPolicyRequest { parent };
                line(registry.get_registry_policy(request).await?.into_inner().policy);
            }
            Self::PutPolicy { file, force } => {
                let policy = read(&file)?;
                let request = pb::PutRegistryPolicyRequest { parent, policy, force, request_id, validate_only };
                warn(registry.put_registry_policy(request).await?.into_inner().warnings);
            }
            Self::DeletePolicy => {
                let request = pb::DeleteRegistryPolicyRequest { parent, request_id, validate_only };
                registry.delete_registry_policy(request).await?;
            }
            Self::GetSettings => {
                let request = pb::GetRegistrySettingsRequest { name: format!("{parent}/registry") };
                let found = registry.get_registry_settings(request).await?.into_inner();
                let settings = found.settings.unwrap_or_default();
                let mut rows = Rows::new(&["CREATE ON PUSH", "SPARSE MANIFESTS", "PROFILE", "AUDIT ROWS LOST"]);
                let profile = if settings.profile() == ProfileName::Ecr { "ecr" } else { "oci" };
                rows.push([
                    (settings.create_on_push() == CreateOnPush::Enabled).into(),
                    (settings.sparse_manifests() == SparseManifests::Accepted).into(),
                    profile.to_owned().into(),
                    found.audit_rows_lost.into(),
                ]);
                rows.print_one(session.global.output);
            }
            Self::SetSettings { create_on_push, sparse_manifests, profile } => {
                let settings = settings(format!("{parent}/registry"), create_on_push, sparse_manifests, profile);
                let request = pb::UpdateRegistrySettingsRequest { settings: Some(settings), request_id, validate_only };
                registry.update_registry_settings(request).await?;
            }
        }
        Ok(())
    }
}

fn settings(
    name: String,
    create_on_push: Option<Switch>,
    sparse_manifests: Option<Switch>,
    profile: Option<Profile>,
) -> pb::RegistrySettings {
    let create_on_push = match create_on_push {
        None => CreateOnPush::Unspecified,
        Some(Switch::On) => CreateOnPush::Enabled,
        Some(Switch::Off) => CreateOnPush::Disabled,
    };
    let sparse_manifests = match sparse_manifests {
        None => SparseManifests::Unspecified,
        Some(Switch::On) => SparseManifests::Accepted,
        Some(Switch::Off) => SparseManifests::Refused,
    };
    let profile = match profile {
        None => ProfileName::Unspecified,
        Some(Profile::Oci) => ProfileName::Oci,
        Some(Profile::Ecr) => ProfileName::Ecr,
    };
    pb::RegistrySettings {
        name,
        create_on_push: create_on_push.into(),
        sparse_manifests: sparse_manifests.into(),
        profile: profile.into(),
    }
}

async fn list(session: &Session) -> Result<()> {
    let parent = session.parent().await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListRepositoriesRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.registry().list_repositories(request).await?.into_inner();
        all.extend(page.repositories);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            show(all).print(session.global.output);
            return Ok(());
        }
    }
}

fn show(repositories: Vec<pb::Repository>) -> Rows {
    let mut rows = Rows::new(&["URI", "ARN", "KMS KEY", "SPARSE MANIFESTS", "TAGS", "EXCEPT", "VISIBILITY", "CREATED"]);
    for repository in repositories {
        let created = time(repository.create_time.as_ref());
        let sparse = match repository.sparse_manifests() {
            SparseManifests::Accepted => "on",
            SparseManifests::Refused => "off",
            SparseManifests::Inherited | SparseManifests::Unspecified => "inherit",
        };
        let tags = match repository.tag_mutability() {
            pb::TagMutability::Mutable | pb::TagMutability::MutableWithExclusion => "mutable",
            pb::TagMutability::Immutable | pb::TagMutability::ImmutableWithExclusion => "immutable",
            pb::TagMutability::Unspecified => "",
        };
        let visibility = match repository.visibility() {
            pb::Visibility::Public => "public",
            pb::Visibility::Private | pb::Visibility::Unspecified => "private",
        };
        let except = repository.tag_mutability_exclusion_filters;
        rows.push([
            repository.uri.into(),
            repository.arn.into(),
            repository.kms_key_arn.into(),
            sparse.to_owned().into(),
            tags.to_owned().into(),
            Value::Array(except.into_iter().map(Value::from).collect()),
            visibility.to_owned().into(),
            created,
        ]);
    }
    rows
}

fn warn(warnings: Vec<String>) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}
