//! `IdentityService`: the directory.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::clock::Timestamp;
use crate::domain::directory::{DEFAULT_SESSION_SECS, NewAccessKey};
use crate::error::{Error, Result};
use crate::names::{
    AccountId, Issuer, MfaDeviceName, MfaDeviceRef, PolicyName, PolicyRef, PrincipalName, RoleName, UserName,
};
use crate::ops::Op;
use crate::pb::identity as pb;
use crate::pb::identity::identity_service_server::IdentityService;
use crate::secret::Secret;
use crate::store::control_policies::{ControlPolicyKey, ControlPolicyRow, ControlTarget, Controlled};
use crate::store::directory::{Account, PrincipalRow};
use crate::store::managed_policies::{Attachment, ManagedPolicyRow, Purpose};
use crate::store::oidc_providers::OidcProviderRow;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The target of a control policy that is all accounts.
const ORGANIZATION: &str = "organization";

#[tonic::async_trait]
impl IdentityService for Services {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        self.known(Op::CreateAccount, request, async |ctx, message: pb::CreateAccountRequest| {
            let id = Some(message.account_id.as_str())
                .filter(|id| !id.is_empty())
                .map(AccountId::parse)
                .transpose()
                .of("account_id")?;
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let (made, key) = self.app.create_account(&ctx, &message.display_name, id).await?;
            let mut made = account(made);
            if message.validate_only && id.is_none() {
                (made.name, made.account_id) = Default::default();
            }
            let access_key = (!message.validate_only).then(|| access_key(&key));
            Ok(pb::CreateAccountResponse { account: Some(made), access_key })
        })
        .await
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        self.known(Op::ListAccounts, request, async |ctx, message: pb::ListAccountsRequest| {
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let rows = self.app.list_accounts(&ctx, token.as_ref().map_or("", |token| token.key()), size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.id.to_string());
            Ok(pb::ListAccountsResponse { accounts: rows.into_iter().map(account).collect(), next_page_token })
        })
        .await
    }

    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        self.known(Op::CreateUser, request, async |ctx, message: pb::CreateUserRequest| {
            let (owner, name) =
                (names::account(&message.parent).of("parent")?, UserName::parse(&message.user_id).of("user_id")?);
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.create_user(&ctx, owner, &name).await?;
            Ok(pb::CreateUserResponse { user: Some(made(row, message.validate_only)) })
        })
        .await
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        self.known(Op::DeleteUser, request, async |ctx, message: pb::DeleteUserRequest| {
            let name = names::user(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_principal(&ctx, name).await?;
            Ok(pb::DeleteUserResponse {})
        })
        .await
    }

    async fn create_access_key(
        &self,
        request: Request<pb::CreateAccessKeyRequest>,
    ) -> Result<Response<pb::CreateAccessKeyResponse>, Status> {
        self.known(Op::CreateAccessKey, request, async |ctx, message: pb::CreateAccessKeyRequest| {
            let user = names::user(&message.parent).of("parent")?;
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let key = self.app.create_access_key(&ctx, user).await?;
            let access_key = (!message.validate_only).then(|| access_key(&key));
            Ok(pb::CreateAccessKeyResponse { access_key })
        })
        .await
    }

    async fn delete_access_key(
        &self,
        request: Request<pb::DeleteAccessKeyRequest>,
    ) -> Result<Response<pb::DeleteAccessKeyResponse>, Status> {
        self.known(Op::DeleteAccessKey, request, async |ctx, message: pb::DeleteAccessKeyRequest| {
            let (user, id) = names::access_key(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_access_key(&ctx, user, id).await?;
            Ok(pb::DeleteAccessKeyResponse {})
        })
        .await
    }

    async fn create_role(
        &self,
        request: Request<pb::CreateRoleRequest>,
    ) -> Result<Response<pb::CreateRoleResponse>, Status> {
        self.known(Op::CreateRole, request, async |ctx, message: pb::CreateRoleRequest| {
            let (owner, name) =
                (names::account(&message.parent).of("parent")?, RoleName::parse(&message.role_id).of("role_id")?);
            let longest = message.max_session_duration.map_or(DEFAULT_SESSION_SECS, |longest| longest.seconds);
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self
                .app
                .create_role(&ctx, owner, &name, &message.trust_policy, longest)
                .await
                .document("trust_policy")?;
            Ok(pb::CreateRoleResponse { role: Some(made(row, message.validate_only)) })
        })
        .await
    }

    async fn delete_role(
        &self,
        request: Request<pb::DeleteRoleRequest>,
    ) -> Result<Response<pb::DeleteRoleResponse>, Status> {
        self.known(Op::DeleteRole, request, async |ctx, message: pb::DeleteRoleRequest| {
            let name = names::role(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_principal(&ctx, name).await?;
            Ok(pb::DeleteRoleResponse {})
        })
        .await
    }

    async fn list_principals(
        &self,
        request: Request<pb::ListPrincipalsRequest>,
    ) -> Result<Response<pb::ListPrincipalsResponse>, Status> {
        self.known(Op::ListPrincipals, request, async |ctx, message: pb::ListPrincipalsRequest| {
            let owner = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_principals(&ctx, owner, after, size).await?;
            let next_page_token = names::next_page(&rows, size, |(row, _)| row.name.key());
            let principals = rows.into_iter().map(|(row, attachments)| principal(row, &attachments)).collect();
            Ok(pb::ListPrincipalsResponse { principals, next_page_token })
        })
        .await
    }

    async fn put_principal_policy(
        &self,
        request: Request<pb::PutPrincipalPolicyRequest>,
    ) -> Result<Response<pb::PutPrincipalPolicyResponse>, Status> {
        let op = by_kind(&request.get_ref().parent, Op::PutUserPolicy, Op::PutRolePolicy);
        self.known(op, request, async |ctx, message: pb::PutPrincipalPolicyRequest| {
            let name = names::principal(&message.parent).of("parent")?;
            UserName::parse(&message.policy_id).of("policy_id")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let put = self.app.put_principal_policy(&ctx, name, &message.policy_id, &message.document).await;
            let warnings = put.document("document")?;
            Ok(pb::PutPrincipalPolicyResponse { warnings })
        })
        .await
    }

    async fn create_mfa_device(
        &self,
        request: Request<pb::CreateMfaDeviceRequest>,
    ) -> Result<Response<pb::CreateMfaDeviceResponse>, Status> {
        self.known(Op::CreateMfaDevice, request, async |ctx, message: pb::CreateMfaDeviceRequest| {
            let user = names::user(&message.parent).of("parent")?;
            let name = MfaDeviceName::parse(&message.device_id).of("device_id")?;
            let device = MfaDeviceRef { account: user.account, name };
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let made = self.app.create_mfa_device(&ctx, user.clone(), device).await?;
            let told =
                |secret: &Secret<String>| if message.validate_only { String::new() } else { secret.expose().clone() };
            let (seed, uri) = (told(&made.seed), told(&made.uri));
            let device = Some(mfa_device(&user, &made.device, false, made.created_at));
            Ok(pb::CreateMfaDeviceResponse { device, seed, uri })
        })
        .await
    }

    async fn enable_mfa_device(
        &self,
        request: Request<pb::EnableMfaDeviceRequest>,
    ) -> Result<Response<pb::EnableMfaDeviceResponse>, Status> {
        self.known(Op::EnableMfaDevice, request, async |ctx, message: pb::EnableMfaDeviceRequest| {
            let (user, device) = names::mfa_device(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let codes = (message.authentication_code_1.as_str(), message.authentication_code_2.as_str());
            self.app.enable_mfa_device(&ctx, user, device, codes).await?;
            Ok(pb::EnableMfaDeviceResponse {})
        })
        .await
    }

    async fn list_mfa_devices(
        &self,
        request: Request<pb::ListMfaDevicesRequest>,
    ) -> Result<Response<pb::ListMfaDevicesResponse>, Status> {
        self.known(Op::ListMfaDevices, request, async |ctx, message: pb::ListMfaDevicesRequest| {
            let user = names::user(&message.parent).of("parent")?;
            let rows = self.app.list_mfa_devices(&ctx, &user).await?;
            let devices = rows.iter().map(|row| mfa_device(&user, &row.device, row.enabled, row.created_at)).collect();
            Ok(pb::ListMfaDevicesResponse { devices })
        })
        .await
    }

    async fn delete_mfa_device(
        &self,
        request: Request<pb::DeleteMfaDeviceRequest>,
    ) -> Result<Response<pb::DeleteMfaDeviceResponse>, Status> {
        self.known(Op::DeleteMfaDevice, request, async |ctx, message: pb::DeleteMfaDeviceRequest| {
            let (user, device) = names::mfa_device(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_mfa_device(&ctx, user, device).await?;
            Ok(pb::DeleteMfaDeviceResponse {})
        })
        .await
    }

    async fn create_policy(
        &self,
        request: Request<pb::CreatePolicyRequest>,
    ) -> Result<Response<pb::CreatePolicyResponse>, Status> {
        self.known(Op::CreatePolicy, request, async |ctx, message: pb::CreatePolicyRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let policy = PolicyRef { account, name: PolicyName::parse(&message.policy_id).of("policy_id")? };
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let written = self.app.create_policy(&ctx, policy, &message.document).await.document("document")?;
            Ok(pb::CreatePolicyResponse { policy: Some(managed_policy(written.0)), warnings: written.1 })
        })
        .await
    }

    async fn update_policy(
        &self,
        request: Request<pb::UpdatePolicyRequest>,
    ) -> Result<Response<pb::UpdatePolicyResponse>, Status> {
        self.known(Op::UpdatePolicy, request, async |ctx, message: pb::UpdatePolicyRequest| {
            let policy = names::policy(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let written = self.app.update_policy(&ctx, policy, &message.document).await.document("document")?;
            Ok(pb::UpdatePolicyResponse { policy: Some(managed_policy(written.0)), warnings: written.1 })
        })
        .await
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        self.known(Op::ListPolicies, request, async |ctx, message: pb::ListPoliciesRequest| {
            let owner = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_policies(&ctx, owner, after, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.policy.name.to_string());
            let policies = rows.into_iter().map(managed_policy).collect();
            Ok(pb::ListPoliciesResponse { policies, next_page_token })
        })
        .await
    }

    async fn delete_policy(
        &self,
        request: Request<pb::DeletePolicyRequest>,
    ) -> Result<Response<pb::DeletePolicyResponse>, Status> {
        self.known(Op::DeletePolicy, request, async |ctx, message: pb::DeletePolicyRequest| {
            let policy = names::policy(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_policy(&ctx, policy).await?;
            Ok(pb::DeletePolicyResponse {})
        })
        .await
    }

    async fn attach_policy(
        &self,
        request: Request<pb::AttachPolicyRequest>,
    ) -> Result<Response<pb::AttachPolicyResponse>, Status> {
        let op = by_kind(&request.get_ref().name, Op::AttachUserPolicy, Op::AttachRolePolicy);
        self.known(op, request, async |ctx, message: pb::AttachPolicyRequest| {
            let (name, policy) = attachment(&message.name, &message.policy)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.attach_policy(&ctx, name, &policy).await?;
            Ok(pb::AttachPolicyResponse {})
        })
        .await
    }

    async fn detach_policy(
        &self,
        request: Request<pb::DetachPolicyRequest>,
    ) -> Result<Response<pb::DetachPolicyResponse>, Status> {
        let op = by_kind(&request.get_ref().name, Op::DetachUserPolicy, Op::DetachRolePolicy);
        self.known(op, request, async |ctx, message: pb::DetachPolicyRequest| {
            let (name, policy) = attachment(&message.name, &message.policy)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.detach_policy(&ctx, name, &policy).await?;
            Ok(pb::DetachPolicyResponse {})
        })
        .await
    }

    async fn put_permissions_boundary(
        &self,
        request: Request<pb::PutPermissionsBoundaryRequest>,
    ) -> Result<Response<pb::PutPermissionsBoundaryResponse>, Status> {
        let op = by_kind(&request.get_ref().name, Op::PutUserBoundary, Op::PutRoleBoundary);
        self.known(op, request, async |ctx, message: pb::PutPermissionsBoundaryRequest| {
            let (name, policy) = attachment(&message.name, &message.policy)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.put_boundary(&ctx, name, &policy).await?;
            Ok(pb::PutPermissionsBoundaryResponse {})
        })
        .await
    }

    async fn delete_permissions_boundary(
        &self,
        request: Request<pb::DeletePermissionsBoundaryRequest>,
    ) -> Result<Response<pb::DeletePermissionsBoundaryResponse>, Status> {
        let op = by_kind(&request.get_ref().name, Op::DeleteUserBoundary, Op::DeleteRoleBoundary);
        self.known(op, request, async |ctx, message: pb::DeletePermissionsBoundaryRequest| {
            let name = names::principal(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_boundary(&ctx, name).await?;
            Ok(pb::DeletePermissionsBoundaryResponse {})
        })
        .await
    }

    async fn put_control_policy(
        &self,
        request: Request<pb::PutControlPolicyRequest>,
    ) -> Result<Response<pb::PutControlPolicyResponse>, Status> {
        self.known(Op::PutControlPolicy, request, async |ctx, message: pb::PutControlPolicyRequest| {
            let key = control_key(&message.target, message.kind, &message.policy_id)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let put = self.app.put_control_policy(&ctx, key, &message.document).await.document("document")?;
            Ok(pb::PutControlPolicyResponse { control_policy: Some(control_policy(put.0)), warnings: put.1 })
        })
        .await
    }

    async fn list_control_policies(
        &self,
        request: Request<pb::ListControlPoliciesRequest>,
    ) -> Result<Response<pb::ListControlPoliciesResponse>, Status> {
        self.known(Op::ListControlPolicies, request, async |ctx, message: pb::ListControlPoliciesRequest| {
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_control_policies(&ctx, after, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.key.subject());
            let control_policies = rows.into_iter().map(control_policy).collect();
            Ok(pb::ListControlPoliciesResponse { control_policies, next_page_token })
        })
        .await
    }

    async fn delete_control_policy(
        &self,
        request: Request<pb::DeleteControlPolicyRequest>,
    ) -> Result<Response<pb::DeleteControlPolicyResponse>, Status> {
        self.known(Op::DeleteControlPolicy, request, async |ctx, message: pb::DeleteControlPolicyRequest| {
            let key = control_key(&message.target, message.kind, &message.policy_id)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_control_policy(&ctx, key).await?;
            Ok(pb::DeleteControlPolicyResponse {})
        })
        .await
    }

    async fn put_oidc_provider(
        &self,
        request: Request<pb::PutOidcProviderRequest>,
    ) -> Result<Response<pb::PutOidcProviderResponse>, Status> {
        self.known(Op::PutOidcProvider, request, async |ctx, message: pb::PutOidcProviderRequest| {
            let (owner, issuer) =
                (names::account(&message.parent).of("parent")?, Issuer::parse(&message.issuer).of("issuer")?);
            let ca_pem = Some(message.ca_certificate).filter(|pem| !pem.is_empty());
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.put_oidc_provider(&ctx, owner, issuer, message.client_ids, ca_pem).await?;
            Ok(pb::PutOidcProviderResponse { oidc_provider: Some(oidc_provider(row)) })
        })
        .await
    }

    async fn list_oidc_providers(
        &self,
        request: Request<pb::ListOidcProvidersRequest>,
    ) -> Result<Response<pb::ListOidcProvidersResponse>, Status> {
        self.known(Op::ListOidcProviders, request, async |ctx, message: pb::ListOidcProvidersRequest| {
            let owner = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_oidc_providers(&ctx, owner, after, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.issuer.to_string());
            let oidc_providers = rows.into_iter().map(oidc_provider).collect();
            Ok(pb::ListOidcProvidersResponse { oidc_providers, next_page_token })
        })
        .await
    }

    async fn delete_oidc_provider(
        &self,
        request: Request<pb::DeleteOidcProviderRequest>,
    ) -> Result<Response<pb::DeleteOidcProviderResponse>, Status> {
        self.known(Op::DeleteOidcProvider, request, async |ctx, message: pb::DeleteOidcProviderRequest| {
            let (owner, issuer) = names::oidc_provider(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_oidc_provider(&ctx, owner, issuer).await?;
            Ok(pb::DeleteOidcProviderResponse {})
        })
        .await
    }
}

fn account(row: Account) -> pb::Account {
    pb::Account {
        name: format!("accounts/{}", row.id),
        account_id: row.id.to_string(),
        display_name: row.display_name,
        create_time: Some(names::time(row.created_at)),
    }
}

fn access_key(key: &NewAccessKey) -> pb::AccessKey {
    pb::AccessKey {
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.expose().clone(),
        create_time: Some(names::time(key.created_at)),
    }
}

fn oidc_provider(row: OidcProviderRow) -> pb::OidcProvider {
    pb::OidcProvider {
        name: format!("accounts/{}/oidcProviders/{}", row.account, row.issuer.id()),
        arn: row.issuer.arn(row.account).to_string(),
        issuer: row.issuer.to_string(),
        client_ids: row.client_ids,
        ca_certificate: row.ca_pem.unwrap_or_default(),
        create_time: Some(names::time(row.created_at)),
    }
}

/// A principal that was made; without the id that nobody has when it was not.
fn made(row: PrincipalRow, validate_only: bool) -> pb::Principal {
    let made = principal(row, &[]);
    if validate_only { pb::Principal { unique_id: String::new(), ..made } } else { made }
}

fn principal(row: PrincipalRow, attachments: &[Attachment]) -> pb::Principal {
    let account = row.name.account;
    let of = |purpose: Purpose| attachments.iter().filter(move |attachment| attachment.purpose == purpose);
    let mut boundary = of(Purpose::Boundary);
    let longest = Duration::from_secs(u64::try_from(row.max_session_secs).unwrap_or(0));
    pb::Principal {
        name: names::of_principal(&row.name),
        arn: row.name.arn().to_string(),
        unique_id: row.unique_id.to_string(),
        trust_policy: row.trust_policy.unwrap_or_default(),
        max_session_duration: Some(names::duration(longest)),
        create_time: Some(names::time(row.created_at)),
        policies: of(Purpose::Permissions).map(|it| names::of_policy(account, &it.policy)).collect(),
        permissions_boundary: boundary.next().map_or_else(String::new, |it| names::of_policy(account, &it.policy)),
    }
}

/// The operation on a principal that a request names.
fn by_kind(name: &str, user: Op, role: Op) -> Op {
    if names::is_user(name) { user } else { role }
}

/// Who and what an attachment is about.
fn attachment(name: &str, policy: &str) -> Result<(PrincipalName, PolicyRef)> {
    Ok((names::principal(name).of("name")?, names::policy(policy).of("policy")?))
}

fn mfa_device(user: &PrincipalName, device: &MfaDeviceRef, enabled: bool, created_at: Timestamp) -> pb::MfaDevice {
    pb::MfaDevice {
        name: format!("{}/mfaDevices/{}", names::of_principal(user), device.name),
        serial_number: device.arn().to_string(),
        enabled,
        create_time: Some(names::time(created_at)),
    }
}

fn managed_policy(row: ManagedPolicyRow) -> pb::Policy {
    pb::Policy {
        name: names::of_policy(row.policy.account, &row.policy.name),
        arn: row.policy.arn().to_string(),
        document: row.document,
        create_time: Some(names::time(row.created_at)),
        update_time: Some(names::time(row.updated_at)),
    }
}

fn control_key(target: &str, kind: i32, name: &str) -> Result<ControlPolicyKey> {
    let target = match target {
        ORGANIZATION => ControlTarget::Organization,
        account => ControlTarget::Account(names::account(account).of("target")?),
    };
    let controlled = match pb::control_policy::Kind::try_from(kind) {
        Ok(pb::control_policy::Kind::Service) => Controlled::Principals,
        Ok(pb::control_policy::Kind::Resource) => Controlled::Resources,
        Ok(pb::control_policy::Kind::Unspecified) | Err(_) => {
            return Err(Error::invalid("kind", "SERVICE or RESOURCE"));
        }
    };
    Ok(ControlPolicyKey { target, controlled, name: PolicyName::parse(name).of("policy_id")? })
}

fn control_policy(row: ControlPolicyRow) -> pb::ControlPolicy {
    let kind = match row.key.controlled {
        Controlled::Principals => pb::control_policy::Kind::Service,
        Controlled::Resources => pb::control_policy::Kind::Resource,
    };
    pb::ControlPolicy {
        target: match row.key.target {
            ControlTarget::Organization => ORGANIZATION.to_owned(),
            ControlTarget::Account(account) => format!("accounts/{account}"),
        },
        kind: kind.into(),
        policy_id: row.key.name.to_string(),
        document: row.document,
        create_time: Some(names::time(row.created_at)),
    }
}
