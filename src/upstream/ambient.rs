//! As whom AWS knows this process: by its environment, a profile, its container or its machine.

use super::Credentials;
use crate::names::Region;
use crate::secret::Secret;
use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials;
use std::time::Duration;

/// How long the search may take: a machine without metadata service does not answer at all.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The credentials that an AWS client would use here, with the session token beside them if they are temporary.
///
/// # Errors
/// What was missing, in AWS's words.
pub async fn ambient(region: &Region) -> Result<(Credentials, Option<Secret<String>>), String> {
    let loader =
        aws_config::defaults(BehaviorVersion::v2026_01_12()).region(aws_config::Region::new(region.to_string()));
    let search = async {
        let config = loader.load().await;
        let provider = config.credentials_provider().ok_or("there is no way to find any")?;
        let found = provider.provide_credentials().await.map_err(|error| error.to_string())?;
        let secret_access_key = Secret::new(found.secret_access_key().to_owned());
        let token = found.session_token().map(|token| Secret::new(token.to_owned()));
        Ok((Credentials { access_key_id: found.access_key_id().to_owned(), secret_access_key }, token))
    };
    tokio::time::timeout(SEARCH_TIMEOUT, search).await.map_err(|_| "no answer within 10 seconds".to_owned())?
}
