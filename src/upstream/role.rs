//! The role under which AWS KMS is used: its credentials come from STS, in memory only.
//!
//! The KMS client keeps a session's credentials until shortly before their end and asks STS anew then; calls that need
//! them meanwhile wait for one `AssumeRole`. Nothing here reads what a role may do.

use crate::keys::Error;
use crate::names::{RoleArn, SessionName};
use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_kms::config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use std::sync::Arc;
use std::time::Duration;

/// A role of AWS that this server assumes.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its ARN.
    pub arn: RoleArn,
    /// What its trust policy asks for, if it does.
    pub external_id: Option<String>,
    /// The name of the sessions.
    pub session_name: SessionName,
    /// Another address of STS than the region's own.
    pub sts_endpoint: Option<String>,
}

/// Time for a connection to STS to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts: with the pause between them they fit into the time of the KMS call that waits, so that its error is this one.
const ATTEMPTS: u32 = 2;

impl Role {
    /// Where the credentials come from. `base` has the region and the credentials that STS knows this server by.
    pub(super) async fn provider(&self, base: &SdkConfig) -> AssumeRoleProvider {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        let mut config = base.clone().into_builder().timeout_config(timeouts.build()).retry_config(retries);
        if let Some(endpoint) = &self.sts_endpoint {
            config = config.endpoint_url(endpoint);
        }
        let mut role = AssumeRoleProvider::builder(self.arn.as_str())
            .session_name(self.session_name.as_str())
            .configure(&config.build());
        if let Some(id) = &self.external_id {
            role = role.external_id(id);
        }
        role.build().await
    }

    /// The error of a KMS call that never left, for want of the role; `None` if it has another cause.
    pub(super) fn refused<E>(
        &self,
        operation: &'static str,
        key: &dyn std::fmt::Display,
        error: Arc<E>,
    ) -> Option<Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let code = sts_code(&*error)?;
        Some(Error::Role { operation, key: key.to_string(), role: self.arn.as_str().to_owned(), code, source: error })
    }
}

/// What STS answered, if the call failed at STS.
fn sts_code(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let mut failed = chain.filter_map(|cause| cause.downcast_ref::<SdkError<AssumeRoleError>>());
    failed.next().map(|error| error.code().unwrap_or("Unreachable").to_owned())
}
