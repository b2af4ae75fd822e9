//! Roles of AWS accounts, which the broker takes for others.

use crate::clock::Timestamp;
use crate::names::{RoleArn, SessionName};
use crate::secret::Secret;
use async_trait::async_trait;
use std::time::Duration;

/// What is asked of AWS STS.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The role.
    pub role: &'a RoleArn,
    /// The name of the session, by which AWS's logs know it.
    pub session_name: &'a SessionName,
    /// What the role's trust policy must ask for; without it only to see that it does.
    pub external_id: Option<&'a str>,
    /// What the session is cut down to.
    pub policy: &'a str,
    /// How long it lasts.
    pub duration: Duration,
}

/// Credentials of AWS.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// The secret half.
    pub secret: Secret<String>,
    /// The session token.
    pub session_token: Secret<String>,
    /// When they end.
    pub expires_at: Timestamp,
}

/// Why there are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// AWS does not let this server take the role so.
    #[error("AWS STS refuses the role to this server")]
    Denied,
    /// AWS refuses for another reason, by its code.
    #[error("AWS STS answered {0}")]
    Code(String),
    /// AWS STS did not answer.
    #[error("AWS STS does not answer: {0}")]
    Silent(String),
}

/// AWS STS, as far as it gives roles.
#[async_trait]
pub trait AwsRoles: Send + Sync {
    /// Takes a role.
    ///
    /// # Errors
    /// Why not; whatever it is, within seconds.
    async fn assume(&self, asked: &Asked<'_>) -> Result<AwsCredentials, Refused>;
}
