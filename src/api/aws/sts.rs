//! AWS STS: who one is, and credentials for a role or for a while.

use super::tree::Tree;
use super::{Asking, Parameters};
use crate::domain::trust::{AssumeRole, Issued};
use crate::error::{Error, Reason, Result};
use crate::names::{Arn, PrincipalName, SessionName};
use crate::ops::Op;
use std::time::Duration;

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
    GetCallerIdentity => GetCallerIdentity;
    GetSessionToken => GetSessionToken;
}

impl Call {
    pub(super) async fn answer(self, asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
        match self {
            Self::AssumeRole => assume_role(asking, parameters).await,
            Self::GetCallerIdentity => caller_identity(asking, parameters).await,
            Self::GetSessionToken => session_token(asking, parameters).await,
        }
    }
}

async fn assume_role(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&["RoleArn", "RoleSessionName", "Policy", "DurationSeconds", "ExternalId"])?;
    let role = Arn::parse(required(parameters, "RoleArn")?)?;
    let external_id = parameters.text("ExternalId").map(external_id).transpose()?;
    let request = AssumeRole {
        role: PrincipalName::from_arn(&role)?,
        session_name: SessionName::parse(required(parameters, "RoleSessionName")?)?,
        duration: duration(parameters)?,
        policies: parameters.text("Policy").map(ToOwned::to_owned).into_iter().collect(),
        external_id,
    };
    let packed = !request.policies.is_empty();
    let issued = asking.app.assume_role(&asking.ctx, request).await?;
    let user = vec![
        Tree::Text("AssumedRoleId", issued.principal.user_id()),
        Tree::Text("Arn", issued.principal.arn().to_string()),
    ];
    let mut result = vec![Tree::Fields("AssumedRoleUser", user), credentials(&issued)];
    if packed {
        result.push(Tree::Text("PackedPolicySize", issued.packed_percent.to_string()));
    }
    Ok(result)
}

async fn session_token(asking: &Asking<'_>, parameters: &Parameters) -> Result<Vec<Tree>> {
    parameters.only(&["DurationSeconds"])?;
    Ok(vec![credentials(&asking.app.session_token(&asking.ctx, duration(parameters)?).await?)])
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
