//! The way to a server: who we are, by the keys of the environment, and the connection under which that was proven.

use super::failure::{Failure, Result};
use crate::clock::{Clock, Timestamp};
use crate::identity::{Endpoint, aws, sign};
use crate::names::{Region, Uid};
use crate::pb::identity::identity_service_client::IdentityServiceClient;
use crate::pb::keys::key_service_client::KeyServiceClient;
use crate::pb::registry::lock_service_client::LockServiceClient;
use crate::pb::registry::registry_service_client::RegistryServiceClient;
use crate::pb::replication::replication_service_client::ReplicationServiceClient;
use crate::pb::sharing::sharing_service_client::SharingServiceClient;
use crate::pb::storage::storage_service_client::StorageServiceClient;
use crate::pb::trust::trust_service_client::TrustServiceClient;
use crate::pb::trust::{
    AssumeRoleWithWebIdentityRequest, ExchangeTokenRequest, GetAuthorizationTokenRequest, GetCallerIdentityRequest,
};
use crate::secret::Secret;
use crate::upstream;
use std::net::IpAddr;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Request, Status};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_secs(60);
/// How often the server is asked whether it still lives while an answer streams, and how long it has to say so.
const PULSE: Duration = Duration::from_secs(20);
/// How long a proof of identity may be used; it is used at once.
const PROOF: Duration = Duration::from_secs(300);

/// Credentials as AWS clients know them.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The secret half.
    pub secret: Secret<String>,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret<String>>,
}

/// An identity token of another issuer, and what is asked for it.
#[derive(Clone, Debug)]
pub struct WebIdentity {
    /// The role to take.
    pub role_arn: String,
    /// The session's name.
    pub session_name: String,
    /// The token.
    pub token: Secret<String>,
}

/// By what a caller proves who it is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// Keys that it signs with.
    Keys(Credentials),
    /// A token that it shows.
    WebIdentity(WebIdentity),
    /// As whom AWS knows it.
    Aws(AwsIdentity),
}

/// Which role somebody takes as whom AWS knows it.
#[derive(Clone, Debug)]
pub struct AwsIdentity {
    /// The role to take.
    pub role_arn: String,
    /// The session's name.
    pub session_name: String,
    /// For whom the proof is. A server that is told of no organization could show the proof to another.
    pub organization: Option<Uid>,
}

impl Proof {
    /// Reads the variables that AWS clients read, keys, or else a role and the file of an identity token; before them our own,
    /// which say that AWS's credentials are to be a proof and no keys of ours.
    ///
    /// # Errors
    /// When neither is set, or the file cannot be read.
    pub fn from_environment() -> Result<Self> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let session_name = read("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "transship".to_owned());
        if let Some(role_arn) = read("TRANSSHIP_AWS_ROLE_ARN") {
            let organization = read("TRANSSHIP_ORGANIZATION").map(|uid| Uid::parse(&uid)).transpose()?;
            return Ok(Self::Aws(AwsIdentity { role_arn, session_name, organization }));
        }
        if let (Some(access_key_id), Some(secret)) = (read("AWS_ACCESS_KEY_ID"), read("AWS_SECRET_ACCESS_KEY")) {
            let session_token = read("AWS_SESSION_TOKEN").map(Secret::new);
            return Ok(Self::Keys(Credentials { access_key_id, secret: Secret::new(secret), session_token }));
        }
        let (Some(role_arn), Some(file)) = (read("AWS_ROLE_ARN"), read("AWS_WEB_IDENTITY_TOKEN_FILE")) else {
            return Err(Failure::usage(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary credentials), or \
                 AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, or TRANSSHIP_AWS_ROLE_ARN and TRANSSHIP_ORGANIZATION where \
                 AWS knows you",
            ));
        };
        let token = Secret::new(super::read(file.as_ref())?.trim().to_owned());
        Ok(Self::WebIdentity(WebIdentity { role_arn, session_name, token }))
    }
}

/// Puts the token on every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Proven = InterceptedService<Channel, Bearer>;

/// A connection whose caller is proven.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    bearer: Bearer,
    /// The region that serves it.
    pub region: Region,
}

impl Client {
    /// Connects and proves the identity, by keys or by a token for which the server gives some.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn log_in(endpoint: &str, ca: Option<&[u8]>, proof: &Proof) -> Result<Self> {
        let credentials = match proof {
            Proof::Keys(credentials) => credentials.clone(),
            Proof::WebIdentity(identity) => given(endpoint, ca, identity).await?,
            Proof::Aws(identity) => given(endpoint, ca, &proven(endpoint, ca, identity).await?).await?,
        };
        Self::connect(endpoint, ca, &credentials).await
    }

    /// Connects and proves the identity: asks for whom a proof must be, signs it, exchanges it.
    ///
    /// # Errors
    /// When the server cannot be reached or does not believe the credentials.
    pub async fn connect(endpoint: &str, ca: Option<&[u8]>, credentials: &Credentials) -> Result<Self> {
        let address = address(endpoint)?;
        let channel = channel(&address, ca).await?;
        let mut trust = TrustServiceClient::new(channel.clone());
        let told = match trust.exchange_token(ExchangeTokenRequest::default()).await {
            Err(status) => Failure::from(status),
            Ok(_) => return Err(Failure::new("the server believes anybody; this is no transship server")),
        };
        let (Some(region), Some(organization)) = (told.metadata("region"), told.metadata("organization")) else {
            return Err(told.at(&address));
        };
        let region = Region::parse(region)?;
        let presigned_url = sign::presign_get_caller_identity(
            &address,
            &region,
            &sign::Credentials {
                access_key_id: &credentials.access_key_id,
                secret: &credentials.secret,
                session_token: credentials.session_token.as_ref(),
            },
            Clock::system().now(),
            PROOF,
            Uid::parse(organization)?,
            Some(Clock::system().uid()),
        );
        let token = trust.exchange_token(ExchangeTokenRequest { presigned_url }).await?.into_inner().token;
        let bearer = format!("Bearer {token}").parse().map_err(|_| Failure::new("the server's token is no header"))?;
        Ok(Self { channel, bearer: Bearer(bearer), region })
    }

    fn proven<T>(&self, client: impl FnOnce(Proven) -> T) -> T {
        client(InterceptedService::new(self.channel.clone(), self.bearer.clone()))
    }

    /// The directory.
    #[must_use]
    pub fn identity(&self) -> IdentityServiceClient<Proven> {
        self.proven(IdentityServiceClient::new)
    }

    /// Repositories and images.
    #[must_use]
    pub fn registry(&self) -> RegistryServiceClient<Proven> {
        self.proven(RegistryServiceClient::new)
    }

    /// Grants.
    #[must_use]
    pub fn locks(&self) -> LockServiceClient<Proven> {
        self.proven(LockServiceClient::new)
    }

    /// Grants.
    #[must_use]
    pub fn sharing(&self) -> SharingServiceClient<Proven> {
        self.proven(SharingServiceClient::new)
    }

    /// Replication.
    #[must_use]
    pub fn replication(&self) -> ReplicationServiceClient<Proven> {
        self.proven(ReplicationServiceClient::new)
    }

    /// KMS keys.
    #[must_use]
    pub fn keys(&self) -> KeyServiceClient<Proven> {
        self.proven(KeyServiceClient::new)
    }

    /// The collector, the scrubber, repair.
    #[must_use]
    pub fn storage(&self) -> StorageServiceClient<Proven> {
        self.proven(StorageServiceClient::new)
    }

    /// The trust broker.
    #[must_use]
    pub fn trust(&self) -> TrustServiceClient<Proven> {
        self.proven(TrustServiceClient::new)
    }

    /// The caller's account, 12 digits.
    ///
    /// # Errors
    /// What the server says.
    pub async fn account(&self) -> Result<String> {
        Ok(self.trust().get_caller_identity(GetCallerIdentityRequest {}).await?.into_inner().account)
    }

    /// A registry password.
    ///
    /// # Errors
    /// What the server says.
    pub async fn password(&self) -> Result<String> {
        Ok(self.password_for(Vec::new()).await?.0)
    }

    /// A registry password for these actions, all unless there are some, and when it ends.
    ///
    /// # Errors
    /// What the server says.
    pub async fn password_for(&self, actions: Vec<i32>) -> Result<(String, Timestamp)> {
        let request = GetAuthorizationTokenRequest { actions, ..Default::default() };
        let given = self.trust().get_authorization_token(request).await?.into_inner();
        let until = given.expire_time.map_or(0, |until| until.seconds);
        Ok((given.password, Timestamp::from_secs(until)))
    }
}

fn address(endpoint: &str) -> Result<Endpoint> {
    Endpoint::parse(endpoint).map_err(|e| Failure::usage(format!("--endpoint {endpoint}: {e}")))
}

/// A proof of who somebody is to AWS, as an identity token: asks the server for where it must be, and signs it.
async fn proven(endpoint: &str, ca: Option<&[u8]>, identity: &AwsIdentity) -> Result<WebIdentity> {
    let AwsIdentity { role_arn, session_name, organization } = identity;
    if !is_private(endpoint) {
        return Err(Failure::usage("a proof for AWS is shown over https only: whoever reads it on its way can use it"));
    }
    let empty = Secret::new(aws::PREFIX.to_owned());
    let (role_arn, session_name) = (role_arn.clone(), session_name.clone());
    let asking = WebIdentity { role_arn, session_name, token: empty };
    let told = match given(endpoint, ca, &asking).await {
        Err(told) => told,
        Ok(_) => return Err(Failure::new("the server believes anybody; this is no transship server")),
    };
    let [Some(place), Some(region), Some(theirs)] =
        ["sts_endpoint", "sts_region", "organization"].map(|key| told.metadata(key))
    else {
        return Err(told);
    };
    let (place, region, theirs) = (address(place)?, Region::parse(region)?, Uid::parse(theirs)?);
    if *organization != Some(theirs) {
        return Err(Failure::usage(format!(
            "the server is of organization {theirs}; if that is whom you mean to show who you are to AWS, set \
             TRANSSHIP_ORGANIZATION={theirs}"
        )));
    }
    let (keys, session_token) = upstream::ambient(&region)
        .await
        .map_err(|why| Failure::usage(format!("there are no credentials of AWS here: {why}")))?;
    let url = sign::presign_get_caller_identity(
        &place,
        &region,
        &sign::Credentials {
            access_key_id: &keys.access_key_id,
            secret: &keys.secret_access_key,
            session_token: session_token.as_ref(),
        },
        Clock::system().now(),
        proof_life(),
        theirs,
        None,
    );
    Ok(WebIdentity { token: Secret::new(aws::token(&url)), ..asking })
}

/// Whether nobody else hears what is said to an endpoint.
fn is_private(endpoint: &str) -> bool {
    let uri = endpoint.parse::<http::Uri>().unwrap_or_default();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    here || uri.scheme_str() == Some("https")
}

/// How long a proof for AWS may be used: some minutes, and not the same each time, for no two proofs may be the same.
fn proof_life() -> Duration {
    Duration::from_secs(240 + u64::from(Clock::system().uid().bytes()[0]))
}

/// The credentials that a server gives for an identity token.
async fn given(endpoint: &str, ca: Option<&[u8]>, identity: &WebIdentity) -> Result<Credentials> {
    let mut trust = TrustServiceClient::new(channel(&address(endpoint)?, ca).await?);
    let request = AssumeRoleWithWebIdentityRequest {
        role_arn: identity.role_arn.clone(),
        session_name: identity.session_name.clone(),
        web_identity_token: identity.token.expose().clone(),
        duration: None,
        policies: Vec::new(),
        policy_arns: Vec::new(),
    };
    let keys = trust.assume_role_with_web_identity(request).await?.into_inner().credentials;
    let keys = keys.ok_or_else(|| Failure::new("the server gave no credentials"))?;
    Ok(Credentials {
        access_key_id: keys.access_key_id,
        secret: Secret::new(keys.secret_access_key),
        session_token: Some(Secret::new(keys.session_token)),
    })
}

async fn channel(address: &Endpoint, ca: Option<&[u8]>) -> Result<Channel> {
    let mut endpoint = Channel::from_shared(address.as_str().to_owned())
        .map_err(|e| Failure::usage(format!("--endpoint {address}: {e}")))?
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .http2_keep_alive_interval(PULSE)
        .keep_alive_timeout(PULSE);
    if address.as_str().starts_with("https:") {
        let roots =
            ca.ok_or_else(|| Failure::usage("an https endpoint needs --ca FILE with the root that signs it"))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
        endpoint = endpoint.tls_config(tls).map_err(|e| Failure::usage(format!("--ca: {e}")))?;
    }
    endpoint.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        Failure::unavailable(format!("{address} cannot be reached{cause}; is `transship serve` or `dev` running?"))
    })
}
