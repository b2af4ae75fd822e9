//! AWS KMS behind the trait of `keys`.
//!
//! One client for one region: a repository's key lives in the repository's region. Every call has a timeout, and
//! whatever AWS answers becomes a refusal in KMS's own terms. Key policies and grants are AWS's business.

use super::Role;
use crate::clock::Timestamp;
use crate::keys::{Context, Error, KeyInfo, KeyState, Kms, Refusal, Result};
use crate::names::{AccountId, Arn, Region};
use crate::secret::Secret;
use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata, KeyState as AwsState, Tag};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Where and as whom to reach AWS KMS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region whose keys are used.
    pub region: Region,
    /// Another address than AWS's own.
    pub endpoint: Option<String>,
    /// Credentials to use instead of those that the environment, a profile or the instance gives.
    pub credentials: Option<Credentials>,
    /// The role to assume with them; its credentials then use the keys.
    pub role: Option<Role>,
}

/// A long-term access key of AWS.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AKIA…`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret<String>,
}

/// AWS KMS in one region.
#[derive(Debug)]
pub struct AwsKms {
    client: Client,
    region: Region,
    role: Option<Role>,
}

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for one attempt: KMS answers in tens of milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a call with all its attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of one call.
const ATTEMPTS: u32 = 3;
/// The most keys of a region that are looked through for an account's: one page, the largest AWS gives.
const MAX_KEYS: i32 = 1_000;
/// The tag that says for which account of ours a key was made: one AWS account may serve several.
const ACCOUNT_TAG: &str = "transship:account";

impl AwsKms {
    /// A client; no call is made yet.
    pub async fn new(settings: Settings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(aws_sdk_kms::config::Region::new(settings.region.to_string()))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(Credentials { access_key_id, secret_access_key }) = settings.credentials {
            let secret = secret_access_key.expose().clone();
            loader = loader.credentials_provider(aws_sdk_kms::config::Credentials::new(
                access_key_id,
                secret,
                None,
                None,
                "settings",
            ));
        }
        let base = loader.load().await;
        let mut config = aws_sdk_kms::config::Builder::from(&base);
        if let Some(endpoint) = settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if let Some(role) = &settings.role {
            config = config.credentials_provider(role.provider(&base).await);
        }
        Self { client: Client::from_conf(config.build()), region: settings.region, role: settings.role }
    }

    /// What AWS answered, or that it did not, or that this server is not let to ask.
    fn refused<E, R>(&self, operation: &'static str, key: impl std::fmt::Display, error: SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let (refusal, error) = (refusal(error.code()), Arc::new(error));
        let of_role = self.role.as_ref().and_then(|role| role.refused(operation, &key, error.clone()));
        of_role.unwrap_or_else(|| Error::Kms { operation, key: key.to_string(), refusal, source: Some(error) })
    }

    async fn all_keys(&self) -> Result<Vec<Arn>> {
        let page = self.client.list_keys().limit(MAX_KEYS).send().await;
        let page = page.map_err(|error| self.refused("ListKeys", &self.region, error))?;
        if page.truncated {
            return Err(Error::TooLarge {
                what: "number of KMS keys in the region",
                limit: MAX_KEYS.unsigned_abs().into(),
            });
        }
        page.keys.unwrap_or_default().iter().map(|key| parse_arn("ListKeys", key.key_arn())).collect()
    }
}

#[async_trait]
impl Kms for AwsKms {
    async fn create_key(&self, account: AccountId, region: &Region, description: &str) -> Result<KeyInfo> {
        if *region != self.region {
            return Err(Error::refused("CreateKey", region, Refusal::NotFound));
        }
        let tag = Tag::builder().tag_key(ACCOUNT_TAG).tag_value(account.as_str()).build();
        let tag = tag.map_err(|error| unusable("CreateKey", region, error))?;
        let answer = self.client.create_key().description(description).tags(tag).send().await;
        let answer = answer.map_err(|error| self.refused("CreateKey", region, error))?;
        key_info("CreateKey", answer.key_metadata)
    }

    async fn describe_key(&self, arn: &Arn) -> Result<KeyInfo> {
        let answer = self.client.describe_key().key_id(arn.as_str()).send().await;
        let answer = answer.map_err(|error| self.refused("DescribeKey", arn, error))?;
        key_info("DescribeKey", answer.key_metadata)
    }

    async fn list_keys(&self, account: AccountId) -> Result<Vec<KeyInfo>> {
        let mut keys = Vec::new();
        for arn in self.all_keys().await? {
            if self.belongs_to(&arn, account).await? {
                keys.push(self.describe_key(&arn).await?);
            }
        }
        keys.sort_by(|a, b| a.arn.cmp(&b.arn));
        Ok(keys)
    }

    async fn belongs_to(&self, arn: &Arn, account: AccountId) -> Result<bool> {
        if arn.account() == Some(account) {
            return Ok(true);
        }
        let tags = self.client.list_resource_tags().key_id(arn.as_str()).send().await;
        let tags = match tags.map_err(|error| self.refused("ListResourceTags", arn, error)) {
            Ok(answer) => answer.tags.unwrap_or_default(),
            // A key whose tags this server may not read is none it made, and one that is not there is nobody's.
            Err(Error::Kms { refusal: Refusal::AccessDenied | Refusal::NotFound, .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(tags.iter().any(|tag| tag.tag_key() == ACCOUNT_TAG && tag.tag_value() == account.as_str()))
    }

    async fn set_enabled(&self, arn: &Arn, enabled: bool) -> Result<()> {
        if enabled {
            let answer = self.client.enable_key().key_id(arn.as_str()).send().await;
            answer.map(drop).map_err(|error| self.refused("EnableKey", arn, error))
        } else {
            let answer = self.client.disable_key().key_id(arn.as_str()).send().await;
            answer.map(drop).map_err(|error| self.refused("DisableKey", arn, error))
        }
    }

    async fn generate_data_key(&self, arn: &Arn, context: &Context) -> Result<(Secret<[u8; 32]>, Vec<u8>)> {
        const OPERATION: &str = "GenerateDataKey";
        let call = self.client.generate_data_key().key_id(arn.as_str()).key_spec(DataKeySpec::Aes256);
        let answer = call.set_encryption_context(Some(pairs(context))).send().await;
        let answer = answer.map_err(|error| self.refused(OPERATION, arn, error))?;
        let plain = plain_key(OPERATION, arn, answer.plaintext)?;
        Ok((plain, ciphertext(OPERATION, arn, answer.ciphertext_blob)?))
    }

    async fn decrypt(&self, arn: &Arn, ciphertext: &[u8], context: &Context) -> Result<Secret<[u8; 32]>> {
        let call = self.client.decrypt().key_id(arn.as_str()).ciphertext_blob(Blob::new(ciphertext));
        let answer = call.set_encryption_context(Some(pairs(context))).send().await;
        plain_key("Decrypt", arn, answer.map_err(|error| self.refused("Decrypt", arn, error))?.plaintext)
    }

    async fn re_encrypt(
        &self,
        from: &Arn,
        sealed: &[u8],
        from_context: &Context,
        to: &Arn,
        to_context: &Context,
    ) -> Result<Vec<u8>> {
        let call = self.client.re_encrypt().ciphertext_blob(Blob::new(sealed));
        let answer = call
            .source_key_id(from.as_str())
            .set_source_encryption_context(Some(pairs(from_context)))
            .destination_key_id(to.as_str())
            .set_destination_encryption_context(Some(pairs(to_context)))
            .send()
            .await;
        // AWS does not say which of the two keys it means; the source is the one that more can be wrong with.
        let answer = answer.map_err(|error| self.refused("ReEncrypt", from, error))?;
        ciphertext("ReEncrypt", to, answer.ciphertext_blob)
    }
}

fn pairs(context: &Context) -> HashMap<String, String> {
    context.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn plain_key(operation: &'static str, arn: &Arn, plaintext: Option<Blob>) -> Result<Secret<[u8; 32]>> {
    let bytes = Zeroizing::new(plaintext.map(Blob::into_inner).unwrap_or_default());
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    key.map(Secret::new).map_err(|_| unusable(operation, arn, "the plaintext is not 32 bytes"))
}

fn ciphertext(operation: &'static str, arn: &Arn, blob: Option<Blob>) -> Result<Vec<u8>> {
    let blob = blob.map(Blob::into_inner).filter(|bytes| !bytes.is_empty());
    blob.ok_or_else(|| unusable(operation, arn, "the ciphertext is missing"))
}

fn key_info(operation: &'static str, metadata: Option<KeyMetadata>) -> Result<KeyInfo> {
    let metadata = metadata.ok_or_else(|| unusable(operation, "-", "the key's metadata are missing"))?;
    let state = match metadata.key_state() {
        Some(AwsState::Enabled) => KeyState::Enabled,
        Some(AwsState::Disabled) => KeyState::Disabled,
        // AWS's enumeration is open: a state that is not known to be usable is not.
        _ => KeyState::PendingDeletion,
    };
    Ok(KeyInfo {
        arn: parse_arn(operation, metadata.arn())?,
        state,
        description: metadata.description().unwrap_or_default().to_owned(),
        created_at: Timestamp::from_secs(metadata.creation_date().map_or(0, |date| date.secs())),
    })
}

fn parse_arn(operation: &'static str, arn: Option<&str>) -> Result<Arn> {
    let text = arn.unwrap_or_default();
    Arn::parse(text).map_err(|error| unusable(operation, text, error))
}

/// An answer that cannot be understood.
fn unusable(
    operation: &'static str,
    key: impl std::fmt::Display,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let (key, refusal) = (key.to_string(), Refusal::Unreachable);
    Error::Kms { operation, key, refusal, source: Some(Arc::from(cause.into())) }
}

/// The refusal for a code on KMS's wire; codes that say nothing about key or ciphertext are failures of the service.
fn refusal(code: Option<&str>) -> Refusal {
    let known = |refusal: &&Refusal| code == Some(refusal.name());
    match code {
        Some("InvalidArnException" | "InvalidKeyUsageException") => Refusal::NotFound,
        Some("UnrecognizedClientException" | "ExpiredTokenException" | "InvalidSignatureException") => {
            Refusal::AccessDenied
        }
        Some("LimitExceededException") => Refusal::Throttled,
        _ => Refusal::ALL.iter().find(known).copied().unwrap_or(Refusal::Unreachable),
    }
}

#[cfg(test)]
mod tests {
    use super::{AwsKms, Credentials, Refusal, Role, Settings, refusal};
    use crate::error::{Error as Envelope, Reason};
    use crate::keys::{Context, Error, Kms};
    use crate::names::{Arn, Region, RoleArn, SessionName};
    use crate::secret::Secret;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    #[test]
    fn each_name_on_the_wire_has_its_refusal() {
        let cases = [
            (Some("DisabledException"), Refusal::Disabled),
            (Some("KMSInvalidStateException"), Refusal::InvalidState),
            (Some("NotFoundException"), Refusal::NotFound),
            (Some("InvalidCiphertextException"), Refusal::InvalidCiphertext),
            (Some("IncorrectKeyException"), Refusal::IncorrectKey),
            (Some("AccessDeniedException"), Refusal::AccessDenied),
            (Some("ExpiredTokenException"), Refusal::AccessDenied),
            (Some("ThrottlingException"), Refusal::Throttled),
            (Some("KeyUnavailableException"), Refusal::Unreachable),
            (Some("KMSInternalException"), Refusal::Unreachable),
            (None, Refusal::Unreachable),
        ];
        for (code, expected) in cases {
            assert_eq!(refusal(code), expected, "{code:?}");
        }
    }

    async fn error_of(endpoint: &str, role: Option<Role>) -> Error {
        let credentials =
            Credentials { access_key_id: "AKIATEST".to_owned(), secret_access_key: Secret::new("test".to_owned()) };
        let kms = AwsKms::new(Settings {
            region: Region::parse("us-east-1").unwrap(),
            endpoint: Some(endpoint.to_owned()),
            credentials: Some(credentials),
            role,
        })
        .await;
        let arn = Arn::parse("arn:aws:kms:us-east-1:111122223333:key/k").unwrap();
        kms.decrypt(&arn, b"x", &Context::new([]).unwrap()).await.unwrap_err()
    }

    fn role(sts_endpoint: &str) -> Option<Role> {
        Some(Role {
            arn: RoleArn::parse("arn:aws:iam::111122223333:role/kms").unwrap(),
            external_id: Some("who-asks".to_owned()),
            session_name: SessionName::parse("transship").unwrap(),
            sts_endpoint: Some(sts_endpoint.to_owned()),
        })
    }

    /// Answers one request over HTTP and tells it.
    async fn answer_once(status: &str, body: &str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut asked, mut buffer) = (Vec::new(), [0; 4_096]);
            while !asked.windows(18).any(|text| text == b"ExternalId=who-ask") {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    read => asked.extend_from_slice(&buffer[..read]),
                }
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (url, served)
    }

    /// Nothing listens on port 9 of the loopback address.
    const NOBODY: &str = "http://127.0.0.1:9";

    #[tokio::test]
    async fn a_kms_that_cannot_be_reached_is_said_to_be_so() {
        let error = error_of(NOBODY, None).await;
        assert!(matches!(error, Error::Kms { refusal: Refusal::Unreachable, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_role_that_sts_refuses_is_named_with_the_code_of_sts() {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error>\
                    <RequestId>r</RequestId></ErrorResponse>";
        let (url, served) = answer_once("403 Forbidden", body).await;
        let error = error_of(NOBODY, role(&url)).await;
        let envelope = Envelope::from(error);
        assert_eq!(envelope.reason, Reason::KeyUnavailable);
        assert_eq!(envelope.metadata["role"], "arn:aws:iam::111122223333:role/kms");
        assert_eq!(envelope.metadata["sts_error"], "AccessDenied");
        assert!(envelope.message.contains("KMS Decrypt") && envelope.message.contains("role/kms"), "{envelope}");
        let asked = served.await.unwrap();
        for part in ["Action=AssumeRole", "RoleSessionName=transship", "ExternalId=who-asks", "Credential=AKIATEST/"] {
            assert!(asked.contains(part), "{part} is not in {asked}");
        }
    }

    #[tokio::test]
    async fn an_sts_that_cannot_be_reached_is_told_from_a_kms_that_cannot() {
        let error = error_of("http://kms.invalid", role(NOBODY)).await;
        assert!(matches!(&error, Error::Role { code, .. } if code == "Unreachable"), "{error}");
    }
}
