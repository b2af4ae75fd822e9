//! `IdentityService`: the directory.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::domain::directory::{DEFAULT_SESSION_SECS, NewAccessKey};
use crate::error::Result;
use crate::names::{AccountId, Issuer, RoleName, UserName};
use crate::ops::Op;
use crate::pb::identity as pb;
use crate::pb::identity::identity_service_server::IdentityService;
use crate::store::directory::{Account, PrincipalRow};
use crate::store::oidc_providers::OidcProviderRow;
use std::time::Duration;
use tonic::{Request, Response, Status};

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
            let key = |row: &PrincipalRow| format!("{}/{}", row.name.kind.as_str(), row.name.name);
            let next_page_token = names::next_page(&rows, size, key);
            Ok(pb::ListPrincipalsResponse { principals: rows.into_iter().map(principal).collect(), next_page_token })
        })
        .await
    }

    async fn put_principal_policy(
        &self,
        request: Request<pb::PutPrincipalPolicyRequest>,
    ) -> Result<Response<pb::PutPrincipalPolicyResponse>, Status> {
        self.known(Op::PutPrincipalPolicy, request, async |ctx, message: pb::PutPrincipalPolicyRequest| {
            let name = names::principal(&message.parent).of("parent")?;
            UserName::parse(&message.policy_id).of("policy_id")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let put = self.app.put_principal_policy(&ctx, name, &message.policy_id, &message.document).await;
            let warnings = put.document("document")?;
            Ok(pb::PutPrincipalPolicyResponse { warnings })
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
    let made = principal(row);
    if validate_only { pb::Principal { unique_id: String::new(), ..made } } else { made }
}

fn principal(row: PrincipalRow) -> pb::Principal {
    let longest = Duration::from_secs(u64::try_from(row.max_session_secs).unwrap_or(0));
    pb::Principal {
        name: names::of_principal(&row.name),
        arn: row.name.arn().to_string(),
        unique_id: row.unique_id.to_string(),
        trust_policy: row.trust_policy.unwrap_or_default(),
        max_session_duration: Some(names::duration(longest)),
        create_time: Some(names::time(row.created_at)),
    }
}
