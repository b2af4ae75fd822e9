//! AWS STS: who one is, and credentials for a role or for a while.

use super::tree::Tree;
use super::{Asking, Parameters};
use crate::domain::federated_users::GetFederationToken;
use crate::domain::federation::{AssumeRoleWithWebIdentity, Federated};
use crate::domain::mfa_devices::MfaCode;
use crate::domain::sessions::{AssumeRole, Issued};
use crate::error::{Error, Reason, Result};
use crate::names::{Arn, FederatedName, PolicyRef, PrincipalName, SessionName, SessionTag};
use crate::ops::Op;
use crate::secret::Secret;
use std::time::Duration;

/// Members of a list that are looked at; the domain takes fewer.
const TAGS_READ: usize = 64;

macro_rules! calls {
    ($($name:ident => $op:ident;)*) => {
        /// An operation of AWS STS.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Call { $($name,)* }

        impl Call {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The operation that an `Action` names.
            pub(super) fn named(action: &str) -> Option<Self> {
                match action { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The product's operation, for the audit of who is not believed.
            pub(super) fn op(self) -> Op {
                match self { $(Self::$name => Op::$op,)* }
            }
        }
    };
}

calls! {
    AssumeRole => AssumeRole;
    AssumeRoleWithWebIdentity => AssumeRoleWithWebIdentity;
    DecodeAuthorizationMessage => DecodeAuthorizationMessage;
    GetAccessKeyInfo => GetAccessKeyInfo;
    GetCallerIdentity => GetCallerIdentity;
    GetFederationToken => GetFederationToken;
    GetSessionToken => GetSessionToken;
}

impl Call {
    /// Whether a request proves its caller by what it says instead of a signature.
    pub(super) fn is_unsigned(self) -> bool {
        match self {
            Self::AssumeRoleWithWebIdentity => true,
            Self::AssumeRole
            | Self::DecodeAuthorizationMessage
            | Self::GetAccessKeyInfo
            | Self::GetCallerIdentity
            | Self::GetFederationToken
            | Self::GetSessionToken => false,
        }
    }

    pub(super) async fn answer(self, asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
        match self {
            Self::AssumeRole => assume_role(asking, parameters).await,
            Self::AssumeRoleWithWebIdentity => assume_role_with_web_identity(asking, parameters).await,
            Self::DecodeAuthorizationMessage => decoded_message(asking, parameters).await,
            Self::GetAccessKeyInfo => access_key_info(asking, parameters).await,
            Self::GetFederationToken => federation_token(asking, parameters).await,
            Self::GetCallerIdentity => caller_identity(asking, parameters).await,
            Self::GetSessionToken => session_token(asking, parameters).await,
        }
    }
}

async fn assume_role(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&[
        "RoleArn",
        "RoleSessionName",
        "Policy",
        "PolicyArns",
        "DurationSeconds",
        "ExternalId",
        "Tags",
        "TransitiveTagKeys",
        "SourceIdentity",
        "SerialNumber",
        "TokenCode",
    ])?;
    let role = Arn::parse(required(parameters, "RoleArn")?)?;
    let external_id = parameters.text("ExternalId").map(external_id).transpose()?;
    let request = AssumeRole {
        role: PrincipalName::from_arn(&role)?,
        session_name: SessionName::parse(required(parameters, "RoleSessionName")?)?,
        duration: duration(parameters)?,
        policies: parameters.text("Policy").map(ToOwned::to_owned).into_iter().collect(),
        managed: policy_arns(parameters)?,
        external_id,
        tags: tags(parameters)?,
        source_identity: parameters.text("SourceIdentity").map(SessionName::parse).transpose()?,
        mfa: mfa(parameters)?,
    };
    let packed = !request.policies.is_empty() || !request.managed.is_empty() || !request.tags.is_empty();
    let issued = asking.app.assume_role(&asking.ctx, request).await?;
    Ok(assumed(&issued, packed))
}

async fn assume_role_with_web_identity(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    let known = ["RoleArn", "RoleSessionName", "WebIdentityToken", "Policy", "PolicyArns", "DurationSeconds"];
    parameters.only(&known)?;
    let role = Arn::parse(required(parameters, "RoleArn")?)?;
    let request = AssumeRoleWithWebIdentity {
        role: PrincipalName::from_arn(&role)?,
        session_name: SessionName::parse(required(parameters, "RoleSessionName")?)?,
        token: Secret::new(required(parameters, "WebIdentityToken")?.to_owned()),
        duration: duration(parameters)?,
        policies: parameters.text("Policy").map(ToOwned::to_owned).into_iter().collect(),
        managed: policy_arns(parameters)?,
    };
    let policies = !request.policies.is_empty() || !request.managed.is_empty();
    let Federated { issued, identity } = asking.app.assume_role_with_web_identity(&asking.ctx, request).await?;
    let tags = issued.principal.session.as_ref().is_some_and(|session| !session.tags.is_empty());
    let mut result = assumed(&issued, policies || tags);
    result.push(Tree::Text("SubjectFromWebIdentityToken", identity.subject.clone()));
    result.push(Tree::Text("Provider", identity.issuer.to_string()));
    result.push(Tree::Text("Audience", identity.audience.clone()));
    Ok(result)
}

/// What every call that takes a session of a role answers.
fn assumed(issued: &Issued, packed: bool) -> Vec<Tree> {
    let user = vec![
        Tree::Text("AssumedRoleId", issued.principal.user_id()),
        Tree::Text("Arn", issued.principal.arn().to_string()),
    ];
    let mut result = vec![Tree::Fields("AssumedRoleUser", user), credentials(issued)];
    if packed {
        result.push(Tree::Text("PackedPolicySize", issued.credentials.packed_percent.to_string()));
    }
    let identity = issued.principal.session.as_ref().and_then(|session| session.source_identity.as_ref());
    result.extend(identity.map(|identity| Tree::Text("SourceIdentity", identity.to_string())));
    result
}

async fn federation_token(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&["Name", "Policy", "PolicyArns", "DurationSeconds", "Tags"])?;
    let request = GetFederationToken {
        name: FederatedName::parse(required(parameters, "Name")?)?,
        policies: parameters.text("Policy").map(ToOwned::to_owned).into_iter().collect(),
        managed: policy_arns(parameters)?,
        duration: duration(parameters)?,
        tags: tags(parameters)?,
    };
    let packed = !request.policies.is_empty() || !request.managed.is_empty() || !request.tags.is_empty();
    let issued = asking.app.federation_token(&asking.ctx, request).await?;
    let user = vec![
        Tree::Text("FederatedUserId", issued.principal.user_id()),
        Tree::Text("Arn", issued.principal.arn().to_string()),
    ];
    let mut result = vec![credentials(&issued), Tree::Fields("FederatedUser", user)];
    if packed {
        result.push(Tree::Text("PackedPolicySize", issued.credentials.packed_percent.to_string()));
    }
    Ok(result)
}

/// SPEC: AWS STS API, `GetAccessKeyInfo`: `[\w]{16,128}`.
async fn access_key_info(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&["AccessKeyId"])?;
    let id = required(parameters, "AccessKeyId")?;
    if !(16..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Error::invalid("AccessKeyId", "16-128 characters A-Z a-z 0-9 _"));
    }
    Ok(vec![Tree::Text("Account", asking.app.access_key_account(&asking.ctx, id).await?.to_string())])
}

async fn decoded_message(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&["EncodedMessage"])?;
    let message = asking.app.decode_message(&asking.ctx, required(parameters, "EncodedMessage")?).await?;
    Ok(vec![Tree::Text("DecodedMessage", message)])
}

async fn session_token(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&["DurationSeconds", "SerialNumber", "TokenCode"])?;
    let (duration, mfa) = (duration(parameters)?, mfa(parameters)?);
    Ok(vec![credentials(&asking.app.session_token(&asking.ctx, duration, mfa.as_ref()).await?)])
}

async fn caller_identity(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&[])?;
    let principal = asking.app.caller_identity(&asking.ctx).await?;
    Ok(vec![
        Tree::Text("Arn", principal.arn().to_string()),
        Tree::Text("UserId", principal.user_id()),
        Tree::Text("Account", principal.name.account.to_string()),
    ])
}

fn credentials(issued: &Issued) -> Tree {
    Tree::Fields(
        "Credentials",
        vec![
            Tree::Text("AccessKeyId", issued.credentials.access_key_id.clone()),
            Tree::Text("SecretAccessKey", issued.credentials.secret.expose().clone()),
            Tree::Text("SessionToken", issued.credentials.session_token.expose().clone()),
            Tree::Text("Expiration", issued.expires_at.to_string()),
        ],
    )
}

fn required<'a>(parameters: &'a Parameters, name: &'static str) -> Result<&'a str> {
    parameters.text(name).filter(|text| !text.is_empty()).ok_or_else(|| {
        let text = format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        );
        Error::new(Reason::InvalidArgument, text).with("field", name)
    })
}

/// `PolicyArns.member.N.arn`.
fn policy_arns(parameters: &Parameters) -> Result<Vec<PolicyRef>> {
    let arns: Vec<&str> =
        (1..=TAGS_READ).map_while(|at| parameters.text(&format!("PolicyArns.member.{at}.arn"))).collect();
    if parameters.members("PolicyArns") != arns.len() {
        return Err(Error::invalid("PolicyArns", "PolicyArns.member.N.arn from 1 on"));
    }
    arns.into_iter().map(|arn| Ok(PolicyRef::from_arn(&Arn::parse(arn)?)?)).collect()
}

/// `Tags.member.N.Key` and `.Value`, with the keys of `TransitiveTagKeys.member.N`.
fn tags(parameters: &Parameters) -> Result<Vec<SessionTag>> {
    let numbered = |list: &str, at: usize, field: &str| parameters.text(&format!("{list}.member.{at}{field}"));
    let transitive: Vec<&str> = (1..=TAGS_READ).map_while(|at| numbered("TransitiveTagKeys", at, "")).collect();
    let passed: Vec<(&str, &str)> = (1..=TAGS_READ)
        .map_while(|at| Some((numbered("Tags", at, ".Key")?, numbered("Tags", at, ".Value").unwrap_or_default())))
        .collect();
    let read = passed.len() * 2 + transitive.len();
    if parameters.members("Tags") + parameters.members("TransitiveTagKeys") != read {
        return Err(Error::invalid(
            "Tags",
            "Tags.member.N.Key, Tags.member.N.Value and TransitiveTagKeys.member.N from 1 on",
        ));
    }
    if let Some(key) = transitive.iter().find(|key| !passed.iter().any(|(known, _)| known == *key)) {
        return Err(Error::invalid("TransitiveTagKeys", format!("{key} is not the key of a tag of this request")));
    }
    passed.into_iter().map(|(key, value)| Ok(SessionTag::new(key, value, transitive.contains(&key))?)).collect()
}

fn mfa(parameters: &Parameters) -> Result<Option<MfaCode>> {
    MfaCode::of(parameters.text("SerialNumber"), parameters.text("TokenCode"))
}

fn duration(parameters: &Parameters) -> Result<Option<Duration>> {
    let Some(text) = parameters.text("DurationSeconds") else { return Ok(None) };
    let seconds = text.parse::<u64>().map_err(|_| Error::invalid("DurationSeconds", "a number of seconds"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// SPEC: AWS STS API, `AssumeRole`: `[\w+=,.@:\/-]{2,1224}`.
fn external_id(text: &str) -> Result<String> {
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b));
    if fits && (2..=1_224).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("ExternalId", "2-1224 characters A-Z a-z 0-9 _ + = , . @ : / -"))
}
