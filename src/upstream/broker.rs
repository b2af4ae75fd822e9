//! AWS STS, asked for roles of others' accounts as whom the environment says this server is.
//!
//! Nothing is kept here; each call has a timeout.

use super::Credentials;
use crate::clock::Timestamp;
use crate::identity::aws::Place;
use crate::identity::aws_roles::{Asked, AwsCredentials, AwsRoles, Refused};
use crate::secret::Secret;
use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::{Builder, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use std::time::Duration;

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for a call with all its attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of one call.
const ATTEMPTS: u32 = 2;

/// AWS STS over the network.
#[derive(Debug)]
pub struct Broker {
    client: Client,
}

impl Broker {
    /// STS at that place, with the credentials that the environment, a profile or the instance gives unless some are given.
    pub async fn new(place: &Place, credentials: Option<Credentials>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT);
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(place.region.to_string()))
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(Credentials { access_key_id, secret_access_key }) = credentials {
            let secret = secret_access_key.expose().clone();
            let given = aws_sdk_sts::config::Credentials::new(access_key_id, secret, None, None, "settings");
            loader = loader.credentials_provider(given);
        }
        let config = Builder::from(&loader.load().await).endpoint_url(place.endpoint.as_str()).build();
        Self { client: Client::from_conf(config) }
    }
}

#[async_trait]
impl AwsRoles for Broker {
    async fn assume(&self, asked: &Asked<'_>) -> Result<AwsCredentials, Refused> {
        let seconds = i32::try_from(asked.duration.as_secs()).unwrap_or(i32::MAX);
        let answer = self
            .client
            .assume_role()
            .role_arn(asked.role.as_str())
            .role_session_name(asked.session_name.as_str())
            .set_external_id(asked.external_id.map(ToOwned::to_owned))
            .policy(asked.policy)
            .duration_seconds(seconds)
            .send()
            .await
            .map_err(|error| refused(&error))?;
        let given = answer.credentials.ok_or_else(|| Refused::Silent("it gave no credentials".to_owned()))?;
        Ok(AwsCredentials {
            access_key_id: given.access_key_id,
            secret: Secret::new(given.secret_access_key),
            session_token: Secret::new(given.session_token),
            expires_at: Timestamp::from_secs(given.expiration.secs()),
        })
    }
}

fn refused<E, R>(error: &SdkError<E, R>) -> Refused
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match error.code() {
        Some("AccessDenied") => Refused::Denied,
        Some(code) => Refused::Code(code.to_owned()),
        None => Refused::Silent(DisplayErrorContext(error).to_string()),
    }
}
