//! The operation table: one row per operation of the product, whatever surface it enters by.
//!
//! Authorization, audit and metering read this table, and so do `docs/generated/operations.md` and the
//! coverage tests: an operation without a row cannot be written down, let alone called.

/// What an operation does to the store, which decides how the gate runs and audits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Reads metadata; audited in batches.
    Read,
    /// Reads or transfers blob bytes; audited in batches.
    Data,
    /// Changes the store; audited in the transaction of the change.
    Write,
}

/// The kind of resource an operation is authorized on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One repository: `arn:aws:ecr:…:repository/<name>`.
    Repository,
    /// An account's registry in a region; the resource is `*`, as in ECR.
    Registry,
    /// A role, judged by its trust policy too.
    Role,
    /// Somebody for whom a user makes credentials: `arn:aws:sts::<account>:federated-user/<name>`.
    FederatedUser,
    /// A user, role or access key of an account: `arn:aws:iam::<account>:…`.
    Principal,
    /// A KMS key of an account in a region.
    Key,
    /// The organization: its list of accounts and regions.
    Organization,
    /// Nothing: the caller asks about itself, which every policy permits and only nobody may not.
    Caller,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct OpSpec {
    /// The operation.
    pub op: Op,
    /// The IAM action, `service:Name`.
    pub action: &'static str,
    /// What it does to the store.
    pub class: Class,
    /// What it is authorized on.
    pub resource: Kind,
    /// The release that first had it.
    pub since: &'static str,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $op:ident $action:literal $class:ident $kind:ident $since:literal;)*) => {
        /// Every operation of the product.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Op { $($(#[$doc])* $op,)* }

        impl Op {
            /// All operations, in the order of the table.
            pub const ALL: &'static [Op] = &[$(Op::$op,)*];

            /// This operation's row.
            #[must_use]
            pub fn spec(self) -> OpSpec {
                match self {
                    $(Op::$op => OpSpec {
                        op: self, action: $action, class: Class::$class, resource: Kind::$kind, since: $since,
                    },)*
                }
            }

            /// The operation's name in audit rows and documents.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Op::$op => stringify!($op),)* }
            }
        }
    };
}

operations! {
    /// Make a repository, with its first branch key.
    CreateRepository "ecr:CreateRepository" Write Repository "0.1";
    /// Remove a repository; by force with its images.
    DeleteRepository "ecr:DeleteRepository" Write Repository "0.1";
    /// List repositories or read one.
    DescribeRepositories "ecr:DescribeRepositories" Read Repository "0.1";
    /// List the repositories of a registry.
    ListRepositories "ecr:DescribeRepositories" Read Registry "0.1";
    /// Read a repository's policy.
    GetRepositoryPolicy "ecr:GetRepositoryPolicy" Read Repository "0.1";
    /// Replace a repository's policy.
    SetRepositoryPolicy "ecr:SetRepositoryPolicy" Write Repository "0.1";
    /// Remove a repository's policy.
    DeleteRepositoryPolicy "ecr:DeleteRepositoryPolicy" Write Repository "0.1";
    /// Change a repository's settings.
    PutRepositorySettings "transship:PutRepositorySettings" Write Repository "0.1";
    /// Choose whether a repository's tags may be moved.
    PutImageTagMutability "ecr:PutImageTagMutability" Write Repository "0.2";
    /// Choose whether anybody may pull from a repository.
    PutRepositoryVisibility "transship:PutRepositoryVisibility" Write Repository "0.2";
    /// Protect a tag, an image or a repository from deletion.
    CreateLock "transship:CreateLock" Write Repository "0.2";
    /// Read a repository's locks.
    ListLocks "transship:ListLocks" Read Repository "0.2";
    /// End a lock.
    DeleteLock "transship:DeleteLock" Write Repository "0.2";
    /// Read a registry's policy.
    GetRegistryPolicy "ecr:GetRegistryPolicy" Read Registry "0.1";
    /// Replace a registry's policy.
    PutRegistryPolicy "ecr:PutRegistryPolicy" Write Registry "0.1";
    /// Remove a registry's policy.
    DeleteRegistryPolicy "ecr:DeleteRegistryPolicy" Write Registry "0.1";
    /// Read a registry's settings.
    DescribeRegistry "ecr:DescribeRegistry" Read Registry "0.1";
    /// Change a registry's settings.
    PutRegistrySettings "ecr:PutAccountSetting" Write Registry "0.1";
    /// Turn the caller's identity into a registry password.
    GetAuthorizationToken "ecr:GetAuthorizationToken" Read Registry "0.1";
    /// Read a manifest.
    BatchGetImage "ecr:BatchGetImage" Data Repository "0.1";
    /// List the manifests that name another as their subject.
    ListImageReferrers "ecr:BatchGetImage" Read Repository "0.1";
    /// Read a blob.
    GetDownloadUrlForLayer "ecr:GetDownloadUrlForLayer" Data Repository "0.1";
    /// Ask whether a blob is there.
    BatchCheckLayerAvailability "ecr:BatchCheckLayerAvailability" Read Repository "0.1";
    /// Open an upload, or mount a blob.
    InitiateLayerUpload "ecr:InitiateLayerUpload" Write Repository "0.1";
    /// Add bytes to an upload.
    UploadLayerPart "ecr:UploadLayerPart" Write Repository "0.1";
    /// Close an upload under its digest.
    CompleteLayerUpload "ecr:CompleteLayerUpload" Write Repository "0.1";
    /// Store a manifest, with or without a tag.
    PutImage "ecr:PutImage" Write Repository "0.1";
    /// Remove a tag, a manifest or a blob.
    BatchDeleteImage "ecr:BatchDeleteImage" Write Repository "0.1";
    /// List a repository's tags.
    ListImages "ecr:ListImages" Read Repository "0.1";
    /// Read an image's digest, size, tags and key.
    DescribeImages "ecr:DescribeImages" Read Repository "0.1";
    /// Arrive at a destination by replication.
    ReplicateImage "ecr:ReplicateImage" Write Repository "0.1";
    /// Give another principal access for a time.
    CreateGrant "transship:CreateGrant" Write Registry "0.1";
    /// Read one grant or list them.
    ListGrants "transship:ListGrants" Read Registry "0.1";
    /// End a grant.
    RevokeGrant "transship:RevokeGrant" Write Registry "0.1";
    /// Ask why a principal may or may not do something.
    ExplainAccess "transship:ExplainAccess" Read Repository "0.1";
    /// Add a replication rule.
    CreateReplicationRule "ecr:PutReplicationConfiguration" Write Registry "0.1";
    /// Read replication rules.
    ListReplicationRules "ecr:DescribeRegistry" Read Registry "0.1";
    /// Remove a replication rule.
    DeleteReplicationRule "ecr:PutReplicationConfiguration" Write Registry "0.1";
    /// Read lag, pending work and the last error per destination.
    GetReplicationStatus "ecr:DescribeImageReplicationStatus" Read Registry "0.1";
    /// Read an image's signed receipts.
    ListReceipts "ecr:DescribeImageReplicationStatus" Read Repository "0.1";
    /// Re-read stored blobs and compare them with their digests.
    VerifyImages "transship:VerifyImages" Data Repository "0.1";
    /// Hand a blob that went to another region, or came from it, to that region for a repair; between regions only.
    FetchBlob "transship:FetchBlob" Data Repository "0.2";
    /// Read what the collector and the scrubber of a region did.
    GetStorageReport "transship:GetStorageReport" Read Organization "0.2";
    /// Run the collector of a region.
    CollectStorage "transship:CollectStorage" Write Organization "0.2";
    /// Read all stored objects of a region again.
    ScrubStorage "transship:ScrubStorage" Data Organization "0.2";
    /// List the damaged blobs of a region.
    ListQuarantines "transship:ListQuarantines" Read Organization "0.2";
    /// Read a repository's stored objects again, and set aside what is damaged.
    QuarantineImages "transship:QuarantineImages" Write Repository "0.2";
    /// Put sound objects in the place of a repository's damaged ones.
    RepairImages "transship:RepairImages" Write Repository "0.2";
    /// Make a KMS key.
    CreateKey "kms:CreateKey" Write Key "0.1";
    /// Read KMS keys.
    ListKeys "kms:ListKeys" Read Key "0.1";
    /// Let a KMS key wrap and unwrap again.
    EnableKey "kms:EnableKey" Write Key "0.1";
    /// Stop a KMS key from opening anything.
    DisableKey "kms:DisableKey" Write Key "0.1";
    /// Make an account in the organization.
    CreateAccount "organizations:CreateAccount" Write Organization "0.1";
    /// List the organization's accounts and regions.
    ListAccounts "organizations:ListAccounts" Read Organization "0.1";
    /// Make a user.
    CreateUser "iam:CreateUser" Write Principal "0.1";
    /// Remove a user with its keys and policies.
    DeleteUser "iam:DeleteUser" Write Principal "0.1";
    /// Make an access key for a user; the secret is shown once.
    CreateAccessKey "iam:CreateAccessKey" Write Principal "0.1";
    /// Remove an access key.
    DeleteAccessKey "iam:DeleteAccessKey" Write Principal "0.1";
    /// Make a role with its trust policy.
    CreateRole "iam:CreateRole" Write Principal "0.1";
    /// Remove a role with its policies.
    DeleteRole "iam:DeleteRole" Write Principal "0.1";
    /// Read users and roles.
    ListPrincipals "iam:ListRoles" Read Principal "0.1";
    /// Attach or replace a user's identity policy.
    PutUserPolicy "iam:PutUserPolicy" Write Principal "0.2";
    /// Attach or replace a role's identity policy.
    PutRolePolicy "iam:PutRolePolicy" Write Principal "0.1";
    /// Register a role of AWS that the broker may take for the account, or change what it is registered for.
    PutAwsRole "transship:PutAwsRole" Write Principal "0.2";
    /// See that a role of AWS is let to the broker with the external id alone.
    VerifyAwsRole "transship:VerifyAwsRole" Write Principal "0.2";
    /// Read which roles of AWS an account has.
    ListAwsRoles "transship:ListAwsRoles" Read Principal "0.2";
    /// Remove a role of AWS.
    DeleteAwsRole "transship:DeleteAwsRole" Write Principal "0.2";
    /// Take credentials of AWS by a role that the account has.
    GetAwsCredentials "transship:GetAwsCredentials" Write Principal "0.2";
    /// Make a second factor for a user; its secret is shown once.
    CreateMfaDevice "iam:CreateVirtualMFADevice" Write Principal "0.2";
    /// Show that a second factor is in its user's hands: from now on it counts.
    EnableMfaDevice "iam:EnableMFADevice" Write Principal "0.2";
    /// Read which second factors a user has.
    ListMfaDevices "iam:ListMFADevices" Read Principal "0.2";
    /// Remove a second factor.
    DeleteMfaDevice "iam:DeactivateMFADevice" Write Principal "0.2";
    /// Make a managed policy.
    CreatePolicy "iam:CreatePolicy" Write Principal "0.2";
    /// Replace a managed policy's document.
    UpdatePolicy "iam:CreatePolicyVersion" Write Principal "0.2";
    /// Read managed policies.
    ListPolicies "iam:ListPolicies" Read Principal "0.2";
    /// Remove a managed policy that nothing uses.
    DeletePolicy "iam:DeletePolicy" Write Principal "0.2";
    /// Give a user what a managed policy gives.
    AttachUserPolicy "iam:AttachUserPolicy" Write Principal "0.2";
    /// Give a role what a managed policy gives.
    AttachRolePolicy "iam:AttachRolePolicy" Write Principal "0.2";
    /// Take from a user what a managed policy gives.
    DetachUserPolicy "iam:DetachUserPolicy" Write Principal "0.2";
    /// Take from a role what a managed policy gives.
    DetachRolePolicy "iam:DetachRolePolicy" Write Principal "0.2";
    /// Bound a user by a managed policy.
    PutUserBoundary "iam:PutUserPermissionsBoundary" Write Principal "0.2";
    /// Bound a role by a managed policy.
    PutRoleBoundary "iam:PutRolePermissionsBoundary" Write Principal "0.2";
    /// Bound a user no longer.
    DeleteUserBoundary "iam:DeleteUserPermissionsBoundary" Write Principal "0.2";
    /// Bound a role no longer.
    DeleteRoleBoundary "iam:DeleteRolePermissionsBoundary" Write Principal "0.2";
    /// Bound what accounts may do, or change a bound.
    PutControlPolicy "organizations:UpdatePolicy" Write Organization "0.2";
    /// Read the organization's bounds on its accounts.
    ListControlPolicies "organizations:ListPolicies" Read Organization "0.2";
    /// End a bound on accounts.
    DeleteControlPolicy "organizations:DeletePolicy" Write Organization "0.2";
    /// Trust an issuer of identity tokens, or change what is trusted of it.
    PutOidcProvider "iam:CreateOpenIDConnectProvider" Write Principal "0.2";
    /// Read which issuers of identity tokens are trusted.
    ListOidcProviders "iam:ListOpenIDConnectProviders" Read Principal "0.2";
    /// Trust an issuer of identity tokens no longer.
    DeleteOidcProvider "iam:DeleteOpenIDConnectProvider" Write Principal "0.2";
    /// Take a role's session.
    AssumeRole "sts:AssumeRole" Write Role "0.1";
    /// Take a role's session with an identity token of another issuer.
    AssumeRoleWithWebIdentity "sts:AssumeRoleWithWebIdentity" Write Role "0.2";
    /// Tag a role's session that is taken.
    TagSession "sts:TagSession" Read Role "0.2";
    /// Say who is behind a role's session that is taken.
    SetSourceIdentity "sts:SetSourceIdentity" Read Role "0.2";
    /// Take temporary credentials for oneself.
    GetSessionToken "sts:GetSessionToken" Write Caller "0.2";
    /// Make credentials for somebody who is no user here.
    GetFederationToken "sts:GetFederationToken" Write FederatedUser "0.2";
    /// Tag the session that is made for a federated user.
    TagFederatedUser "sts:TagSession" Read FederatedUser "0.2";
    /// Ask whose an access key is.
    GetAccessKeyInfo "sts:GetAccessKeyInfo" Read Caller "0.2";
    /// Read what a refusal was about.
    DecodeAuthorizationMessage "sts:DecodeAuthorizationMessage" Read Caller "0.2";
    /// Prove an identity and receive a bearer token, over gRPC or at `/token`.
    ExchangeToken "sts:GetCallerIdentity" Read Caller "0.1";
    /// Ask who one is, or whether one is let in.
    GetCallerIdentity "sts:GetCallerIdentity" Read Caller "0.1";
    /// List sessions issued here.
    ListSessions "transship:ListSessions" Read Principal "0.1";
    /// End a session everywhere.
    RevokeSession "transship:RevokeSession" Write Principal "0.1";
    /// End everywhere what sessions issued before now have of a principal or by a grant.
    RevokeSessions "transship:RevokeSession" Write Principal "0.2";
}
