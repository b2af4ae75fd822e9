//! `TrustService`: the trust broker.

use super::asking::changing;
use super::names::Field;
use super::{Services, names};
use crate::clock::Timestamp;
use crate::ctx::Bound;
use crate::domain::aws_roles::{DURATION_DEFAULT_SECS, NewAwsRole};
use crate::domain::federated_users::GetFederationToken;
use crate::domain::federation::{AssumeRoleWithWebIdentity, Federated};
use crate::domain::mfa_devices::MfaCode;
use crate::domain::revocations::Of;
use crate::domain::sessions::{AssumeRole, Issued};
use crate::error::{Error, Result};
use crate::names::{
    AccountId, Arn, AwsRoleName, AwsRoleRef, FederatedName, Network, PolicyRef, PrincipalName, RoleArn, SessionName,
    SessionTag, TagPattern, Uid,
};
use crate::ops::Op;
use crate::pb::trust as pb;
use crate::pb::trust::trust_service_server::TrustService;
use crate::secret::Secret;
use crate::store::aws_roles::AwsRoleRow;
use crate::store::sessions::SessionRow;
use std::time::Duration;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl TrustService for Services {
    async fn exchange_token(
        &self,
        request: Request<pb::ExchangeTokenRequest>,
    ) -> Result<Response<pb::ExchangeTokenResponse>, Status> {
        self.unproven(request, async |ctx, message: pb::ExchangeTokenRequest| {
            let (token, principal) = self.app.exchange_token(&ctx, &message.presigned_url, &self.endpoints).await?;
            Ok(pb::ExchangeTokenResponse {
                token: token.text.expose().clone(),
                expire_time: Some(names::time(token.expires_at)),
                arn: principal.arn().to_string(),
            })
        })
        .await
    }

    async fn assume_role(
        &self,
        request: Request<pb::AssumeRoleRequest>,
    ) -> Result<Response<pb::AssumeRoleResponse>, Status> {
        self.known(Op::AssumeRole, request, async |ctx, message: pb::AssumeRoleRequest| {
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let assumed = told(&self.app.assume_role(&ctx, wanted(message)?).await.document("policies")?);
            // Sealed is what was only to be checked all the same; nobody is given it.
            let checked = pb::AssumeRoleResponse { arn: assumed.arn.clone(), ..Default::default() };
            Ok(if ctx.mutation.validate_only { checked } else { assumed })
        })
        .await
    }

    async fn assume_role_with_web_identity(
        &self,
        request: Request<pb::AssumeRoleWithWebIdentityRequest>,
    ) -> Result<Response<pb::AssumeRoleWithWebIdentityResponse>, Status> {
        self.unproven(request, async |ctx, message: pb::AssumeRoleWithWebIdentityRequest| {
            let duration = message.duration.as_ref().map(names::seconds).transpose().of("duration")?;
            let request = AssumeRoleWithWebIdentity {
                role: PrincipalName::from_arn(&Arn::parse(&message.role_arn).of("role_arn")?).of("role_arn")?,
                session_name: SessionName::parse(&message.session_name).of("session_name")?,
                token: Secret::new(message.web_identity_token),
                duration: duration.map(Duration::from_secs),
                policies: message.policies,
                managed: managed(&message.policy_arns)?,
            };
            let Federated { issued, identity } =
                self.app.assume_role_with_web_identity(&ctx, request).await.document("policies")?;
            let pb::AssumeRoleResponse { credentials, arn, session } = told(&issued);
            Ok(pb::AssumeRoleWithWebIdentityResponse {
                credentials,
                arn,
                session,
                issuer: identity.issuer.to_string(),
                subject: identity.subject.clone(),
                audience: identity.audience.clone(),
            })
        })
        .await
    }

    async fn get_caller_identity(
        &self,
        request: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        self.known(Op::GetCallerIdentity, request, async |ctx, _| {
            let principal = self.app.caller_identity(&ctx).await?;
            let user_id = principal.user_id();
            let (account, arn) = (principal.name.account.to_string(), principal.arn().to_string());
            Ok(pb::GetCallerIdentityResponse { account, arn, user_id })
        })
        .await
    }

    async fn get_session_token(
        &self,
        request: Request<pb::GetSessionTokenRequest>,
    ) -> Result<Response<pb::GetSessionTokenResponse>, Status> {
        self.known(Op::GetSessionToken, request, async |ctx, message: pb::GetSessionTokenRequest| {
            let duration = message.duration.as_ref().map(names::seconds).transpose().of("duration")?;
            let mfa = code(&message.mfa_serial_number, &message.mfa_code)?;
            let issued = self.app.session_token(&ctx, duration.map(Duration::from_secs), mfa.as_ref()).await?;
            let pb::AssumeRoleResponse { credentials, arn, session } = told(&issued);
            Ok(pb::GetSessionTokenResponse { credentials, arn, session })
        })
        .await
    }

    async fn get_federation_token(
        &self,
        request: Request<pb::GetFederationTokenRequest>,
    ) -> Result<Response<pb::GetFederationTokenResponse>, Status> {
        self.known(Op::GetFederationToken, request, async |ctx, message: pb::GetFederationTokenRequest| {
            let duration = message.duration.as_ref().map(names::seconds).transpose().of("duration")?;
            let tag = |tag: &pb::SessionTag| SessionTag::new(&tag.key, &tag.value, tag.transitive);
            let request = GetFederationToken {
                name: FederatedName::parse(&message.federated_name).of("federated_name")?,
                policies: message.policies,
                managed: managed(&message.policy_arns)?,
                duration: duration.map(Duration::from_secs),
                tags: message.tags.iter().map(tag).collect::<Result<_, _>>().of("tags")?,
            };
            let issued = self.app.federation_token(&ctx, request).await.document("policies")?;
            let pb::AssumeRoleResponse { credentials, arn, session } = told(&issued);
            Ok(pb::GetFederationTokenResponse { credentials, arn, session })
        })
        .await
    }

    async fn get_access_key_info(
        &self,
        request: Request<pb::GetAccessKeyInfoRequest>,
    ) -> Result<Response<pb::GetAccessKeyInfoResponse>, Status> {
        self.known(Op::GetAccessKeyInfo, request, async |ctx, message: pb::GetAccessKeyInfoRequest| {
            let account = self.app.access_key_account(&ctx, &message.access_key_id).await?.to_string();
            Ok(pb::GetAccessKeyInfoResponse { account })
        })
        .await
    }

    async fn put_aws_role(
        &self,
        request: Request<pb::PutAwsRoleRequest>,
    ) -> Result<Response<pb::PutAwsRoleResponse>, Status> {
        self.known(Op::PutAwsRole, request, async |ctx, message: pb::PutAwsRoleRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let role = AwsRoleRef { account, name: AwsRoleName::parse(&message.aws_role_id).of("aws_role_id")? };
            let new = NewAwsRole {
                arn: RoleArn::parse(&message.role_arn).of("role_arn")?,
                policy: message.policy,
                duration_secs: message.duration.map_or(DURATION_DEFAULT_SECS, |duration| duration.seconds),
            };
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let row = self.app.put_aws_role(&ctx, role, new).await.document("policy")?;
            let made = aws_role(row);
            // What would be made has no external id yet.
            let made = if message.validate_only { pb::AwsRole { external_id: String::new(), ..made } } else { made };
            Ok(pb::PutAwsRoleResponse { aws_role: Some(made) })
        })
        .await
    }

    async fn verify_aws_role(
        &self,
        request: Request<pb::VerifyAwsRoleRequest>,
    ) -> Result<Response<pb::VerifyAwsRoleResponse>, Status> {
        self.known(Op::VerifyAwsRole, request, async |ctx, message: pb::VerifyAwsRoleRequest| {
            let role = names::aws_role(&message.name).of("name")?;
            let ctx = changing(ctx, "", message.validate_only, "")?;
            let row = self.app.verify_aws_role(&ctx, &role).await?;
            Ok(pb::VerifyAwsRoleResponse { aws_role: Some(aws_role(row)) })
        })
        .await
    }

    async fn list_aws_roles(
        &self,
        request: Request<pb::ListAwsRolesRequest>,
    ) -> Result<Response<pb::ListAwsRolesResponse>, Status> {
        self.known(Op::ListAwsRoles, request, async |ctx, message: pb::ListAwsRolesRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let after = token.as_ref().map_or("", |token| token.key());
            let rows = self.app.list_aws_roles(&ctx, account, after, size).await?;
            let next_page_token = names::next_page(&rows, size, |row| row.role.name.to_string());
            Ok(pb::ListAwsRolesResponse { aws_roles: rows.into_iter().map(aws_role).collect(), next_page_token })
        })
        .await
    }

    async fn delete_aws_role(
        &self,
        request: Request<pb::DeleteAwsRoleRequest>,
    ) -> Result<Response<pb::DeleteAwsRoleResponse>, Status> {
        self.known(Op::DeleteAwsRole, request, async |ctx, message: pb::DeleteAwsRoleRequest| {
            let role = names::aws_role(&message.name).of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.delete_aws_role(&ctx, &role).await?;
            Ok(pb::DeleteAwsRoleResponse {})
        })
        .await
    }

    async fn get_aws_credentials(
        &self,
        request: Request<pb::GetAwsCredentialsRequest>,
    ) -> Result<Response<pb::GetAwsCredentialsResponse>, Status> {
        self.known(Op::GetAwsCredentials, request, async |ctx, message: pb::GetAwsCredentialsRequest| {
            let role = names::aws_role(&message.name).of("name")?;
            let given = self.app.aws_credentials(&ctx, &role).await?;
            let credentials = pb::Credentials {
                access_key_id: given.access_key_id,
                secret_access_key: given.secret.expose().clone(),
                session_token: given.session_token.expose().clone(),
                expire_time: Some(names::time(given.expires_at)),
            };
            Ok(pb::GetAwsCredentialsResponse { credentials: Some(credentials) })
        })
        .await
    }

    async fn decode_authorization_message(
        &self,
        request: Request<pb::DecodeAuthorizationMessageRequest>,
    ) -> Result<Response<pb::DecodeAuthorizationMessageResponse>, Status> {
        let op = Op::DecodeAuthorizationMessage;
        self.known(op, request, async |ctx, message: pb::DecodeAuthorizationMessageRequest| {
            let decoded_message = self.app.decode_message(&ctx, &message.encoded_message).await?;
            Ok(pb::DecodeAuthorizationMessageResponse { decoded_message })
        })
        .await
    }

    async fn get_authorization_token(
        &self,
        request: Request<pb::GetAuthorizationTokenRequest>,
    ) -> Result<Response<pb::GetAuthorizationTokenResponse>, Status> {
        self.known(Op::GetAuthorizationToken, request, async |ctx, message: pb::GetAuthorizationTokenRequest| {
            let ttl = message.duration.as_ref().map(names::seconds).transpose().of("duration")?;
            let token = self.app.narrowed_token(&ctx, bound(&message)?, ttl.map(Duration::from_secs)).await?;
            Ok(pb::GetAuthorizationTokenResponse {
                username: "AWS".to_owned(),
                password: token.text.expose().clone(),
                expire_time: Some(names::time(token.expires_at)),
            })
        })
        .await
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        self.known(Op::ListSessions, request, async |ctx, message: pb::ListSessionsRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let (size, token) = names::page(message.page_size, &message.page_token)?;
            let before = token.as_ref().map(|token| before(token.key())).transpose()?;
            let rows = self.app.list_sessions(&ctx, account, before, size).await?;
            let next_page_token = names::next_page(&rows, size, page_key);
            Ok(pb::ListSessionsResponse { sessions: rows.into_iter().map(session).collect(), next_page_token })
        })
        .await
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>, Status> {
        self.known(Op::RevokeSession, request, async |ctx, message: pb::RevokeSessionRequest| {
            let (account, id) = names::numbered(&message.name, "sessions").of("name")?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            self.app.revoke_session(&ctx, account, id).await?;
            Ok(pb::RevokeSessionResponse {})
        })
        .await
    }

    async fn revoke_sessions(
        &self,
        request: Request<pb::RevokeSessionsRequest>,
    ) -> Result<Response<pb::RevokeSessionsResponse>, Status> {
        self.known(Op::RevokeSessions, request, async |ctx, message: pb::RevokeSessionsRequest| {
            let account = names::account(&message.parent).of("parent")?;
            let of = revoked(message.of.as_ref(), account)?;
            let ctx = changing(ctx, &message.request_id, message.validate_only, "")?;
            let before = self.app.revoke_sessions(&ctx, account, of).await?;
            Ok(pb::RevokeSessionsResponse { before_time: Some(names::time(before)) })
        })
        .await
    }
}

/// What a password is to be good for; `None` when nothing is asked for.
fn bound(message: &pb::GetAuthorizationTokenRequest) -> Result<Option<Bound>> {
    use pb::get_authorization_token_request::Action;
    let pb::GetAuthorizationTokenRequest { repositories, tags, actions, source_cidrs, duration: _ } = message;
    if [repositories, tags, source_cidrs].iter().all(|list| list.is_empty()) && actions.is_empty() {
        return Ok(None);
    }
    let mut bound = Bound {
        repositories: repositories.iter().map(|name| names::pattern(name)).collect::<Result<_>>().of("repositories")?,
        tags: tags.iter().map(|text| TagPattern::parse(text)).collect::<Result<_, _>>().of("tags")?,
        sources: source_cidrs.iter().map(|text| Network::parse(text)).collect::<Result<_, _>>().of("source_cidrs")?,
        ..Bound::default()
    };
    for action in actions {
        match Action::try_from(*action) {
            Ok(Action::Pull) => bound.pull = true,
            Ok(Action::Push) => bound.push = true,
            Ok(Action::Delete) => bound.delete = true,
            Ok(Action::Unspecified) | Err(_) => return Err(Error::invalid("actions", "PULL, PUSH or DELETE")),
        }
    }
    if actions.is_empty() {
        (bound.pull, bound.push, bound.delete) = (true, true, true);
    }
    Ok(Some(bound))
}

/// What is to end, which must be the account's.
fn revoked(of: Option<&pb::revoke_sessions_request::Of>, account: AccountId) -> Result<Of> {
    use pb::revoke_sessions_request::Of as Asked;
    let (field, owner, of) = match of {
        Some(Asked::Principal(name)) => {
            let name = names::principal(name).of("principal")?;
            ("principal", name.account, Of::Principal(name))
        }
        Some(Asked::Grant(name)) => {
            let (owner, id) = names::numbered(name, "grants").of("grant")?;
            ("grant", owner, Of::Grant(id))
        }
        None => return Err(Error::invalid("of", "principal or grant")),
    };
    if owner == account { Ok(of) } else { Err(Error::invalid(field, format!("must be of account {account}"))) }
}

/// Where a page of sessions begins.
fn before(key: &str) -> Result<(Timestamp, Uid)> {
    let parsed = key.split_once('/').and_then(|(at, id)| Some((at.parse().ok()?, Uid::parse(id).ok()?)));
    let (at, id) = parsed.ok_or_else(|| Error::invalid("page_token", "unchanged, please"))?;
    Ok((Timestamp::from_micros(at), id))
}

fn page_key(row: &SessionRow) -> String {
    format!("{}/{}", row.issued_at.micros(), row.id)
}

fn wanted(message: pb::AssumeRoleRequest) -> Result<AssumeRole> {
    let duration = message.duration.as_ref().map(names::seconds).transpose().of("duration")?;
    let tag = |tag: &pb::SessionTag| SessionTag::new(&tag.key, &tag.value, tag.transitive);
    let tags = message.tags.iter().map(tag).collect::<Result<_, _>>().of("tags")?;
    let source_identity = Some(message.source_identity.as_str()).filter(|text| !text.is_empty());
    let source_identity = source_identity.map(SessionName::parse).transpose().of("source_identity")?;
    let mfa = code(&message.mfa_serial_number, &message.mfa_code)?;
    Ok(AssumeRole {
        role: PrincipalName::from_arn(&Arn::parse(&message.role_arn).of("role_arn")?).of("role_arn")?,
        session_name: SessionName::parse(&message.session_name).of("session_name")?,
        duration: duration.map(Duration::from_secs),
        policies: message.policies,
        managed: managed(&message.policy_arns)?,
        external_id: Some(message.external_id).filter(|id| !id.is_empty()),
        tags,
        source_identity,
        mfa,
    })
}

fn aws_role(row: AwsRoleRow) -> pb::AwsRole {
    let duration = Duration::from_secs(u64::try_from(row.duration_secs).unwrap_or_default());
    pb::AwsRole {
        name: format!("accounts/{}/awsRoles/{}", row.role.account, row.role.name),
        role_arn: row.arn.to_string(),
        external_id: row.external_id,
        policy: row.policy,
        duration: Some(names::duration(duration)),
        verify_time: row.verified_at.map(names::time),
        create_time: Some(names::time(row.created_at)),
    }
}

/// A second factor's code, if one is shown.
fn code(serial: &str, code: &str) -> Result<Option<MfaCode>> {
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    MfaCode::of(given(serial), given(code)).of("mfa_code")
}

fn managed(arns: &[String]) -> Result<Vec<PolicyRef>> {
    arns.iter().map(|arn| PolicyRef::from_arn(&Arn::parse(arn)?)).collect::<Result<_, _>>().of("policy_arns")
}

fn told(assumed: &Issued) -> pb::AssumeRoleResponse {
    let credentials = pb::Credentials {
        access_key_id: assumed.credentials.access_key_id.clone(),
        secret_access_key: assumed.credentials.secret.expose().clone(),
        session_token: assumed.credentials.session_token.expose().clone(),
        expire_time: Some(names::time(assumed.expires_at)),
    };
    let account = assumed.principal.name.account.to_string();
    pb::AssumeRoleResponse {
        credentials: Some(credentials),
        arn: assumed.principal.arn().to_string(),
        session: session_name(&account, assumed.id),
    }
}

fn session(row: SessionRow) -> pb::Session {
    pb::Session {
        name: session_name(row.account.as_str(), row.id),
        principal_arn: row.principal,
        session_name: row.name,
        issue_time: Some(names::time(row.issued_at)),
        expire_time: Some(names::time(row.expires_at)),
    }
}

fn session_name(account: &str, id: Uid) -> String {
    format!("accounts/{account}/sessions/{id}")
}
