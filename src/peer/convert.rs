//! Between the messages of the transport and the domain's values.

use crate::clock::Timestamp;
use crate::domain::follow::Entry;
use crate::domain::replication::{ImageChange, NeededBlob, SentManifest};
use crate::error::{Error, Reason, Result};
use crate::names::{
    AccountId, AwsRoleName, AwsRoleRef, Digest, Issuer, MfaDeviceName, MfaDeviceRef, PolicyName, PolicyRef, Region,
    RepositoryName, RoleArn, Tag, Uid,
};
use crate::pb::replication as pb;
use crate::secret::Secret;
use crate::store::aws_roles::AwsRoleRow;
use crate::store::control_policies::{ControlPolicyKey, ControlPolicyRow, ControlTarget, Controlled};
use crate::store::directory::{Account, Organization, Policy, PrincipalRow, principal_name};
use crate::store::managed_policies::{Attachment, ManagedPolicyRow, Purpose};
use crate::store::mfa_devices::MfaDeviceRow;
use crate::store::oidc_providers::OidcProviderRow;
use crate::store::sessions::{Cut, Revocation};
use bytes::Bytes;

impl From<ImageChange> for pb::ImageChange {
    fn from(change: ImageChange) -> Self {
        let (tag, tag_version) = change.tag.map_or((String::new(), 0), |(tag, version)| (tag.to_string(), version));
        let manifests = change.manifests.into_iter().map(|manifest| pb::Manifest {
            digest: manifest.digest.to_string(),
            media_type: manifest.media_type,
            content: manifest.bytes,
        });
        Self {
            seq: change.seq,
            repository: change.repository.to_string(),
            tag,
            tag_version,
            manifests: manifests.collect(),
        }
    }
}

impl TryFrom<pb::ImageChange> for ImageChange {
    type Error = Error;

    fn try_from(change: pb::ImageChange) -> Result<Self> {
        let tag = if change.tag.is_empty() { None } else { Some((Tag::parse(&change.tag)?, change.tag_version)) };
        let manifests = change.manifests.into_iter().map(|manifest| {
            Ok(SentManifest {
                digest: Digest::parse(&manifest.digest)?,
                media_type: manifest.media_type,
                bytes: manifest.content,
            })
        });
        Ok(Self {
            seq: change.seq,
            repository: RepositoryName::parse(&change.repository)?,
            tag,
            manifests: manifests.collect::<Result<_>>()?,
        })
    }
}

impl From<NeededBlob> for pb::NeededBlob {
    fn from(blob: NeededBlob) -> Self {
        Self {
            digest: blob.digest.to_string(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            repository: blob.repository.to_string(),
        }
    }
}

impl TryFrom<pb::NeededBlob> for NeededBlob {
    type Error = Error;

    fn try_from(blob: pb::NeededBlob) -> Result<Self> {
        Ok(Self {
            repository: RepositoryName::parse(&blob.repository)?,
            digest: Digest::parse(&blob.digest)?,
            size: u64::try_from(blob.size).map_err(|_| Error::invalid("size", "not negative"))?,
        })
    }
}

impl From<Entry> for pb::DirectoryEntry {
    fn from(entry: Entry) -> Self {
        use pb::directory_entry::Entry as Sent;
        let sent = match entry {
            Entry::Organization(organization) => Sent::Organization(pb::OrganizationEntry {
                uid: uid_bytes(organization.uid),
                home_region: organization.home_region.to_string(),
            }),
            Entry::Account(account) => Sent::Account(pb::AccountEntry {
                id: account.id.to_string(),
                display_name: account.display_name,
                created_at: account.created_at.micros(),
            }),
            Entry::Principal(row, policies, attachments) => Sent::Principal(principal(row, policies, attachments)),
            Entry::AccessKey(id, unique_id, secret, created_at) => Sent::AccessKey(pb::AccessKeyEntry {
                id,
                unique_id,
                secret: Bytes::copy_from_slice(secret.expose()),
                created_at: created_at.micros(),
            }),
            Entry::MfaDevice(row, secret) => Sent::MfaDevice(pb::MfaDeviceEntry {
                account: row.device.account.to_string(),
                name: row.device.name.to_string(),
                unique_id: row.unique_id,
                secret: Bytes::copy_from_slice(secret.expose()),
                enabled: row.enabled,
                created_at: row.created_at.micros(),
            }),
            Entry::TokenKey(id, secret, created_at) => Sent::TokenKey(pb::TokenKeyEntry {
                id,
                secret: Bytes::copy_from_slice(secret.expose()),
                created_at: created_at.micros(),
            }),
            Entry::Revocation(revocation) => Sent::Revocation(pb::RevocationEntry {
                id: uid_bytes(revocation.id),
                kind: revocation.cut.as_str().to_owned(),
                subject: revocation.subject,
                before_at: revocation.before_at.micros(),
                expires_at: revocation.expires_at.micros(),
            }),
            Entry::OidcProvider(row) => Sent::OidcProvider(pb::OidcProviderEntry {
                account: row.account.to_string(),
                issuer: row.issuer.to_string(),
                client_ids: row.client_ids,
                ca_pem: row.ca_pem.unwrap_or_default(),
                created_at: row.created_at.micros(),
            }),
            Entry::ManagedPolicy(row) => Sent::ManagedPolicy(pb::ManagedPolicyEntry {
                account: row.policy.account.to_string(),
                name: row.policy.name.to_string(),
                document: row.document,
                created_at: row.created_at.micros(),
                updated_at: row.updated_at.micros(),
            }),
            Entry::ControlPolicy(row) => Sent::ControlPolicy(pb::ControlPolicyEntry {
                target: row.key.target.as_str().to_owned(),
                kind: row.key.controlled.as_str().to_owned(),
                name: row.key.name.to_string(),
                document: row.document,
                created_at: row.created_at.micros(),
            }),
            Entry::AwsRole(row) => Sent::AwsRole(pb::AwsRoleEntry {
                account: row.role.account.to_string(),
                name: row.role.name.to_string(),
                role_arn: row.arn.to_string(),
                external_id: row.external_id,
                policy: row.policy,
                duration_secs: row.duration_secs,
                verified_at: row.verified_at.map(Timestamp::micros),
                created_at: row.created_at.micros(),
            }),
            Entry::Removed(kind, subject) => Sent::Removed(pb::RemovedEntry { kind, subject }),
        };
        Self { entry: Some(sent) }
    }
}

fn principal(row: PrincipalRow, policies: Vec<Policy>, attachments: Vec<Attachment>) -> pb::PrincipalEntry {
    let attachment =
        |it: Attachment| pb::AttachmentEntry { purpose: it.purpose.as_str().to_owned(), policy: it.policy.to_string() };
    let policies = policies.into_iter().map(|Policy { name, document }| pb::PolicyEntry { name, document });
    pb::PrincipalEntry {
        account: row.name.account.to_string(),
        kind: row.name.kind.as_str().to_owned(),
        name: row.name.name.to_string(),
        unique_id: row.unique_id.to_string(),
        trust_policy: row.trust_policy.unwrap_or_default(),
        trust_bindings: serde_json::to_string(&row.trust_bindings).unwrap_or_default(),
        max_session_secs: row.max_session_secs,
        created_at: row.created_at.micros(),
        policies: policies.collect(),
        attachments: attachments.into_iter().map(attachment).collect(),
    }
}

impl TryFrom<pb::DirectoryEntry> for Entry {
    type Error = Error;

    fn try_from(entry: pb::DirectoryEntry) -> Result<Self> {
        use pb::directory_entry::Entry as Sent;
        let sent = entry.entry.ok_or_else(|| unreadable("an entry of an unknown kind"))?;
        Ok(match sent {
            Sent::Organization(sent) => Self::Organization(Organization {
                uid: uid(&sent.uid)?,
                home_region: Region::parse(&sent.home_region)?,
            }),
            Sent::Account(sent) => Self::Account(Account {
                id: AccountId::parse(&sent.id)?,
                display_name: sent.display_name,
                created_at: Timestamp::from_micros(sent.created_at),
            }),
            Sent::Principal(sent) => read_principal(sent)?,
            Sent::AccessKey(sent) => Self::AccessKey(
                sent.id,
                sent.unique_id,
                Secret::new(sent.secret.to_vec()),
                Timestamp::from_micros(sent.created_at),
            ),
            Sent::MfaDevice(sent) => Self::MfaDevice(
                MfaDeviceRow {
                    device: MfaDeviceRef {
                        account: AccountId::parse(&sent.account)?,
                        name: MfaDeviceName::parse(&sent.name)?,
                    },
                    unique_id: sent.unique_id,
                    sealed_secret: Vec::new(),
                    enabled: sent.enabled,
                    created_at: Timestamp::from_micros(sent.created_at),
                },
                Secret::new(sent.secret.to_vec()),
            ),
            Sent::TokenKey(sent) => {
                Self::TokenKey(sent.id, Secret::new(sent.secret.to_vec()), Timestamp::from_micros(sent.created_at))
            }
            Sent::Revocation(sent) => Self::Revocation(Revocation {
                id: uid(&sent.id)?,
                cut: Cut::from_word(&sent.kind).ok_or_else(|| unreadable("a revocation of an unknown kind"))?,
                subject: sent.subject,
                before_at: Timestamp::from_micros(sent.before_at),
                expires_at: Timestamp::from_micros(sent.expires_at),
                local_origin: false,
            }),
            Sent::OidcProvider(sent) => Self::OidcProvider(OidcProviderRow {
                account: AccountId::parse(&sent.account)?,
                issuer: Issuer::parse(&sent.issuer)?,
                client_ids: sent.client_ids,
                ca_pem: Some(sent.ca_pem).filter(|pem| !pem.is_empty()),
                created_at: Timestamp::from_micros(sent.created_at),
            }),
            Sent::ManagedPolicy(sent) => Self::ManagedPolicy(ManagedPolicyRow {
                policy: PolicyRef { account: AccountId::parse(&sent.account)?, name: PolicyName::parse(&sent.name)? },
                document: sent.document,
                created_at: Timestamp::from_micros(sent.created_at),
                updated_at: Timestamp::from_micros(sent.updated_at),
            }),
            Sent::ControlPolicy(sent) => Self::ControlPolicy(ControlPolicyRow {
                key: ControlPolicyKey {
                    target: ControlTarget::from_word(&sent.target).ok_or_else(|| unreadable("an unknown target"))?,
                    controlled: Controlled::from_word(&sent.kind)
                        .ok_or_else(|| unreadable("a control policy of an unknown kind"))?,
                    name: PolicyName::parse(&sent.name)?,
                },
                document: sent.document,
                created_at: Timestamp::from_micros(sent.created_at),
            }),
            Sent::AwsRole(sent) => Self::AwsRole(AwsRoleRow {
                role: AwsRoleRef { account: AccountId::parse(&sent.account)?, name: AwsRoleName::parse(&sent.name)? },
                arn: RoleArn::parse(&sent.role_arn)?,
                external_id: sent.external_id,
                policy: sent.policy,
                duration_secs: sent.duration_secs,
                verified_at: sent.verified_at.map(Timestamp::from_micros),
                created_at: Timestamp::from_micros(sent.created_at),
            }),
            Sent::Removed(sent) => Self::Removed(sent.kind, sent.subject),
        })
    }
}

fn read_principal(sent: pb::PrincipalEntry) -> Result<Entry> {
    let policies = sent.policies.into_iter().map(|pb::PolicyEntry { name, document }| Policy { name, document });
    let row = PrincipalRow {
        name: principal_name(AccountId::parse(&sent.account)?, &sent.kind, &sent.name)?,
        unique_id: sent.unique_id.into(),
        trust_policy: Some(sent.trust_policy).filter(|text| !text.is_empty()),
        trust_bindings: serde_json::from_str(&sent.trust_bindings).map_err(|_| unreadable("a role's bindings"))?,
        max_session_secs: sent.max_session_secs,
        created_at: Timestamp::from_micros(sent.created_at),
    };
    let attachment = |sent: pb::AttachmentEntry| {
        let purpose =
            Purpose::from_word(&sent.purpose).ok_or_else(|| unreadable("an attachment of an unknown purpose"))?;
        Ok(Attachment { purpose, policy: PolicyName::parse(&sent.policy)? })
    };
    let attachments = sent.attachments.into_iter().map(attachment).collect::<Result<_>>()?;
    Ok(Entry::Principal(row, policies.collect(), attachments))
}

fn uid_bytes(uid: Uid) -> Bytes {
    Bytes::copy_from_slice(uid.bytes())
}

fn uid(bytes: &[u8]) -> Result<Uid> {
    bytes.try_into().map(Uid::from_bytes).map_err(|_| unreadable("an id that is not 16 bytes"))
}

fn unreadable(what: &str) -> Error {
    Error::new(Reason::InvalidArgument, format!("the peer sent {what}; it may run a newer version"))
}
