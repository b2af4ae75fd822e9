//! Who is calling, from where and when: made once per request by `identity`, read by everything below.

use crate::clock::Timestamp;
use crate::names::{
    AccountId, Arn, Issuer, Network, PrincipalKind, PrincipalName, Region, RepositoryName, RepositoryPattern,
    SessionName, SessionTag, TagPattern, Uid,
};
use std::net::IpAddr;
use std::sync::Arc;

/// The context of one request.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who is calling.
    pub caller: Caller,
    /// The region that serves the request.
    pub region: Region,
    /// Names the request in logs, audit rows and answers.
    pub request_id: Uid,
    /// The moment at which the request is judged.
    pub now: Timestamp,
    /// The peer's address, if it came over a network.
    pub source_ip: Option<IpAddr>,
    /// Whether it came over TLS.
    pub secure: bool,
    /// What the client calls itself, at most 256 characters.
    pub user_agent: Arc<str>,
    /// How a change is to be carried out; read by the gate, and by what the gate could not roll back.
    pub mutation: Mutation,
}

/// How a change is to be carried out (decision 25, ADR 0016).
#[derive(Clone, Debug, Default)]
pub struct Mutation {
    /// Check everything, change nothing.
    pub validate_only: bool,
    /// A repeated call under this id answers as the first.
    pub request_id: Option<Uid>,
    /// The version that the thing to be changed must have.
    pub etag: Option<String>,
}

/// Who is calling.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// A user or role of an account.
    Principal(Arc<Principal>),
    /// The bearer of another issuer's identity token, in the one call in which it takes a role's session.
    WebIdentity(Arc<WebIdentity>),
    /// A peer region's replication service, for one source account.
    Replication {
        /// The account whose registry is the source.
        account: AccountId,
        /// The peer's region, as its certificate says.
        region: Region,
    },
    /// A job of this server.
    System(&'static str),
}

/// The bearer of an identity token that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    /// The account whose provider the issuer is.
    pub account: AccountId,
    /// The issuer.
    pub issuer: Issuer,
    /// The bearer's name there: `sub`.
    pub subject: String,
    /// For whom the token is.
    pub audience: String,
    /// What the token says, as far as it is text or lists of it.
    pub claims: Vec<Claim>,
}

/// Something that a token says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// What it says; one value unless it is a list.
    pub values: Vec<String>,
    /// Whether the token has a list there.
    pub is_list: bool,
}

/// A user or role, with the session under which it calls, if any.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Account, kind and name.
    pub name: PrincipalName,
    /// The id that survives no re-creation: `AIDA…` or `AROA…`.
    pub unique_id: Arc<str>,
    /// Constraints and lifetime of a temporary credential; `None` for a user's own access key.
    pub session: Option<Session>,
}

/// What a temporary credential carries: identity's constraints, never permissions.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session's id; revocations name it.
    pub id: Uid,
    /// For a role: the name the caller chose. For a user: that of the federated user for whom it made the session.
    pub name: Option<SessionName>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Session policies, OR-ed together; `None` when none was passed.
    pub policies: Option<Vec<Arc<str>>>,
    /// An upper bound on repositories and actions, as a registry token's scope; `None` is no bound.
    pub scope: Option<Vec<Scope>>,
    /// What a registry token was asked to be good for, and what each token was that it was made from; each must hold.
    pub bounds: Vec<Arc<Bound>>,
    /// The source identity set along the chain.
    pub source_identity: Option<Arc<str>>,
    /// Its tags, those it inherited included; each key once.
    pub tags: Vec<SessionTag>,
    /// The provider for whose token it was given, if it was; kept along the chain.
    pub provider: Option<Arc<str>>,
    /// Whether a second factor was shown when it was taken; not kept along the chain.
    pub mfa: Mfa,
}

/// Whether a second factor was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mfa {
    /// Nothing is known of it: the token was made with a user's own key.
    Unasked,
    /// Temporary credentials that were taken without one.
    Absent,
    /// It was shown at this moment.
    Given(Timestamp),
}

/// What a registry token is good for at most. A list that is empty bounds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The repositories, each of a registry.
    pub repositories: Vec<(AccountId, RepositoryPattern)>,
    /// The tags that reach what is read, and those that may be set or removed.
    pub tags: Vec<TagPattern>,
    /// May read.
    pub pull: bool,
    /// May write, and ask whether a blob is there.
    pub push: bool,
    /// May delete.
    pub delete: bool,
    /// Where it may be used from.
    pub sources: Vec<Network>,
}

/// One entry of a registry token's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The registry's account.
    pub account: AccountId,
    /// The repository; `None` is each of the registry.
    pub repository: Option<RepositoryName>,
    /// May read.
    pub pull: bool,
    /// May write.
    pub push: bool,
    /// May delete.
    pub delete: bool,
}

impl Scope {
    /// Whether it covers a repository, or with `None` each of the account's registry.
    #[must_use]
    pub fn covers(&self, account: AccountId, repository: Option<&RepositoryName>) -> bool {
        self.account == account && (self.repository.is_none() || self.repository.as_ref() == repository)
    }
}

impl Caller {
    /// The upper bound on what the caller's token is good for, if it has one.
    #[must_use]
    pub fn scope(&self) -> Option<&[Scope]> {
        match self {
            Self::Principal(principal) => principal.session.as_ref()?.scope.as_deref(),
            Self::Anonymous | Self::WebIdentity(_) | Self::Replication { .. } | Self::System(_) => None,
        }
    }

    /// The caller's account, if it has one.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::Principal(principal) => Some(principal.name.account),
            Self::Replication { account, .. } => Some(*account),
            Self::Anonymous | Self::WebIdentity(_) | Self::System(_) => None,
        }
    }

    /// The caller as a denial and an audit row name it.
    #[must_use]
    pub fn display(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Principal(principal) => principal.arn().to_string(),
            Self::WebIdentity(identity) => identity.display(),
            Self::Replication { account, .. } => replication_role(*account).to_string(),
            Self::System(job) => format!("system:{job}"),
        }
    }
}

/// Characters of a subject that names show.
const SUBJECT_SHOWN: usize = 128;

impl WebIdentity {
    /// The provider's ARN.
    #[must_use]
    pub fn provider(&self) -> Arn {
        self.issuer.arn(self.account)
    }

    /// `<issuer>:<audience>:<subject>`.
    // SPEC: CloudTrail user guide, `userIdentity`, `principalId` of a `WebIdentityUser`.
    #[must_use]
    pub fn display(&self) -> String {
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(SUBJECT_SHOWN).collect::<String>();
        format!("{}:{}:{}", self.issuer.id(), shown(&self.audience), shown(&self.subject))
    }
}

impl Principal {
    /// Whether a user made these credentials for somebody else.
    #[must_use]
    pub fn is_federated(&self) -> bool {
        self.name.kind == PrincipalKind::User && self.session.as_ref().is_some_and(|session| session.name.is_some())
    }

    /// Whether a user calls with its own access key, or with a token that was made with it.
    #[must_use]
    pub fn has_own_key(&self) -> bool {
        let of_key = self.session.as_ref().is_none_or(|session| session.mfa == Mfa::Unasked);
        self.name.kind == PrincipalKind::User && !self.is_federated() && of_key
    }

    /// Whether it is a user with temporary credentials that it took of itself.
    #[must_use]
    pub fn has_session_token(&self) -> bool {
        self.name.kind == PrincipalKind::User && !self.is_federated() && !self.has_own_key()
    }

    /// The id a caller is known by, as `aws:userid`: a user's unique id, or a role's with the session's name, or the
    /// account's with the federated user's.
    #[must_use]
    pub fn user_id(&self) -> String {
        match (self.name.kind, self.session.as_ref().and_then(|session| session.name.as_ref())) {
            (PrincipalKind::Role, Some(session)) => format!("{}:{session}", self.unique_id),
            (PrincipalKind::User, Some(federated)) => format!("{}:{federated}", self.name.account),
            (PrincipalKind::User | PrincipalKind::Role, None) => self.unique_id.to_string(),
        }
    }

    /// The ARN a caller is known by: the user's, the assumed-role session's, or the federated user's.
    #[must_use]
    pub fn arn(&self) -> Arn {
        match (&self.name.kind, self.session.as_ref().and_then(|s| s.name.as_ref())) {
            (PrincipalKind::Role, Some(session)) => {
                Arn::new("sts", "", Some(self.name.account), &format!("assumed-role/{}/{session}", self.name.name))
            }
            (PrincipalKind::User, Some(federated)) => {
                Arn::new("sts", "", Some(self.name.account), &format!("federated-user/{federated}"))
            }
            (PrincipalKind::User | PrincipalKind::Role, None) => self.name.arn(),
        }
    }
}

/// The service-linked role as which replication from an account is judged (decision 11).
#[must_use]
pub fn replication_role(account: AccountId) -> Arn {
    Arn::new(
        "iam",
        "",
        Some(account),
        "role/aws-service-role/replication.ecr.amazonaws.com/AWSServiceRoleForECRReplication",
    )
}
