//! Who calls, whom a policy names, and how closely the one fits the other.
//!
//! The caller brings all its names, so every comparison is plain equality: no wildcard, no surgery on ARNs. Principals
//! that were bound to unique ids match only the bearer of the id, so that a re-created namesake inherits nothing.

use crate::names::AccountId;
use std::collections::BTreeMap;

/// Who calls, with every name by which a policy may call it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller<'a> {
    /// A user, with its own keys or a session of its own.
    User {
        /// The user's account.
        account: AccountId,
        /// `arn:aws:iam::<account>:user/<name>`.
        arn: &'a str,
        /// `AIDA…`.
        unique_id: &'a str,
    },
    /// A session of a role.
    RoleSession {
        /// The role's account.
        account: AccountId,
        /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
        session_arn: &'a str,
        /// The role's own ARN, with its path.
        role_arn: &'a str,
        /// `AROA…`.
        unique_id: &'a str,
    },
    /// A session of a role that belongs to a service of ours; organization policies do not bind it.
    ServiceLinkedRole {
        /// The account in which the role stands.
        account: AccountId,
        /// `arn:aws:iam::<account>:role/aws-service-role/…`.
        arn: &'a str,
        /// Its session's ARN, where there is one.
        session_arn: Option<&'a str>,
    },
    /// A federated session that a user made for somebody.
    FederatedUser {
        /// The user's account.
        account: AccountId,
        /// `arn:aws:sts::<account>:federated-user/<name>`.
        arn: &'a str,
        /// ARN and unique id of the user that made it.
        user: Option<(&'a str, &'a str)>,
    },
    /// An account's root user.
    Root {
        /// The account.
        account: AccountId,
        /// `arn:aws:iam::<account>:root`.
        arn: &'a str,
    },
    /// A service, by its principal name such as `replication.ecr.amazonaws.com`.
    Service(&'a str),
    /// The bearer of a token of an identity provider, by the provider's ARN or built-in name.
    WebIdentity(&'a str),
    /// Nobody in particular.
    Anonymous,
}

impl Caller<'_> {
    /// The caller's account; services, token bearers and the anonymous have none.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::User { account, .. }
            | Self::RoleSession { account, .. }
            | Self::ServiceLinkedRole { account, .. }
            | Self::FederatedUser { account, .. }
            | Self::Root { account, .. } => Some(*account),
            Self::Service(_) | Self::WebIdentity(_) | Self::Anonymous => None,
        }
    }

    /// The caller as a refusal names it.
    #[must_use]
    pub fn display(&self) -> &str {
        match self {
            Self::User { arn, .. } | Self::FederatedUser { arn, .. } | Self::Root { arn, .. } => arn,
            Self::RoleSession { session_arn, .. } => session_arn,
            Self::ServiceLinkedRole { arn, session_arn, .. } => session_arn.unwrap_or(arn),
            Self::Service(name) | Self::WebIdentity(name) => name,
            Self::Anonymous => "anonymous",
        }
    }

    /// The partition of the caller's ARN.
    pub(super) fn partition(&self) -> Option<&str> {
        self.account()?;
        self.display().split(':').nth(1)
    }
}

/// In which ways a statement's principals fit the caller: a set, ordered by its closest member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Hits(u8);

impl Hits {
    pub(super) const NONE: Self = Self(0);
    /// The caller's account was named: a delegation, not a grant.
    pub(super) const ACCOUNT: Self = Self(1);
    /// The role of the calling session was named.
    pub(super) const ROLE_OF_SESSION: Self = Self(2);
    /// The user that made the calling federated session was named.
    pub(super) const USER_OF_FEDERATED: Self = Self(4);
    /// Everybody was named.
    pub(super) const STAR: Self = Self(8);
    /// The caller itself was named.
    pub(super) const DIRECT: Self = Self(16);

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The principals of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Principals {
    /// The kind of policy names none.
    Unnamed,
    /// `Principal`.
    In(Vec<Element>),
    /// `NotPrincipal`.
    NotIn(Vec<Element>),
}

/// One principal that a policy names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Element {
    Star,
    /// An account by id, or by the ARN of its root in one partition.
    Account {
        id: AccountId,
        partition: Option<String>,
    },
    User {
        arn: String,
        binding: Binding,
    },
    Role {
        arn: String,
        binding: Binding,
    },
    /// A role session or federated user by its own ARN.
    Session(String),
    Service(String),
    Provider(String),
    /// Refused where policies are written; it matches nobody.
    Nobody,
}

/// How a user or role of a policy is tied to the bearer of its ARN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Binding {
    /// By ARN alone.
    Unbound,
    /// To the principal of this unique id.
    Bound(String),
    /// To nobody: the ARN named nothing when the policy was bound.
    Vacant,
}

impl Principals {
    /// The ways in which the clause covers the caller; `None` when it does not.
    ///
    /// For a clause that names nobody, and for an exclusion, the set is empty.
    pub(super) fn cover(&self, caller: &Caller<'_>) -> Option<Hits> {
        match self {
            Self::Unnamed => Some(Hits::NONE),
            Self::In(elements) => Some(hits(elements, caller)).filter(|hits| !hits.is_none()),
            Self::NotIn(elements) => (!excepts(elements, caller)).then_some(Hits::NONE),
        }
    }

    /// Whether it covers every caller that the other covers, in the same way.
    pub(super) fn include(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(outer), Self::In(inner)) => {
                outer.contains(&Element::Star) || inner.iter().all(|element| outer.contains(element))
            }
            (Self::Unnamed | Self::In(_) | Self::NotIn(_), Self::Unnamed | Self::In(_) | Self::NotIn(_)) => {
                self == other
            }
        }
    }

    /// The elements named or excluded.
    pub(super) fn elements(&self) -> &[Element] {
        match self {
            Self::Unnamed => &[],
            Self::In(elements) | Self::NotIn(elements) => elements,
        }
    }

    /// Ties users and roles to the unique ids of `ids`, by ARN.
    pub(super) fn bind(&mut self, ids: &BTreeMap<String, String>) {
        match self {
            Self::Unnamed => {}
            Self::In(elements) | Self::NotIn(elements) => elements.iter_mut().for_each(|element| element.bind(ids)),
        }
    }
}

fn hits(elements: &[Element], caller: &Caller<'_>) -> Hits {
    elements.iter().fold(Hits::NONE, |all, element| all.with(element.hit(caller)))
}

/// Whether an exclusion names the caller.
///
/// AWS asks that an excepted user is listed with its account, and an excepted session with its role and account. There
/// the wider entry only accompanies the closer one: who else belongs to the account or role is not excepted.
/// SPEC: IAM JSON policy elements, `NotPrincipal`: "all principals except the user named Bob", listed with his account.
fn excepts(elements: &[Element], caller: &Caller<'_>) -> bool {
    let hits = hits(elements, caller);
    if hits.meets(Hits::DIRECT.with(Hits::STAR).with(Hits::USER_OF_FEDERATED)) {
        return true;
    }
    let accompanies = |is_closer: &dyn Fn(&Element) -> bool| elements.iter().any(is_closer);
    if hits.meets(Hits::ROLE_OF_SESSION) {
        return !accompanies(&|element| element.is_session_beside(caller));
    }
    hits.meets(Hits::ACCOUNT) && !accompanies(&|element| element.member_of() == caller.account())
}

impl Element {
    /// Reads an entry under `AWS`; `None` when it is none of the accepted forms.
    pub(super) fn aws(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Star);
        }
        if let Ok(id) = AccountId::parse(text) {
            return Some(Self::Account { id, partition: None });
        }
        let [_, partition, service, "", account, resource] = plain_arn(text)? else { return None };
        let id = AccountId::parse(account).ok()?;
        let arn = text.to_owned();
        match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => Some(Self::Account { id, partition: Some(partition.to_owned()) }),
            ("iam", Some(("user", name))) if is_path(name) => Some(Self::User { arn, binding: Binding::Unbound }),
            ("iam", Some(("role", name))) if is_path(name) => Some(Self::Role { arn, binding: Binding::Unbound }),
            ("sts", Some(("assumed-role", name))) if is_path(name) && name.matches('/').count() == 1 => {
                Some(Self::Session(arn))
            }
            ("sts", Some(("federated-user", name))) if is_path(name) && !name.contains('/') => Some(Self::Session(arn)),
            _ => None,
        }
    }

    /// Reads an entry under `Service`.
    pub(super) fn service(text: &str) -> Option<Self> {
        let label =
            |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (text.contains('.') && text.split('.').all(label)).then(|| Self::Service(text.to_owned()))
    }

    /// Reads an entry under `Federated`.
    pub(super) fn federated(text: &str) -> Option<Self> {
        if is_built_in_provider(text) {
            return Some(Self::Provider(text.to_owned()));
        }
        let [_, _, "iam", "", account, resource] = plain_arn(text)? else { return None };
        AccountId::parse(account).ok()?;
        let name = resource.strip_prefix("oidc-provider/").or_else(|| resource.strip_prefix("saml-provider/"))?;
        is_path(name).then(|| Self::Provider(text.to_owned()))
    }

    /// The ARN, if it names a user or a role that has a unique id; service-linked roles have none.
    pub(super) fn bindable(&self) -> Option<&str> {
        match self {
            Self::User { arn, .. } => Some(arn),
            Self::Role { arn, .. } if !is_service_linked(arn) => Some(arn),
            Self::Role { .. }
            | Self::Star
            | Self::Account { .. }
            | Self::Session(_)
            | Self::Service(_)
            | Self::Provider(_)
            | Self::Nobody => None,
        }
    }

    /// The account that a user, role or session belongs to.
    fn member_of(&self) -> Option<AccountId> {
        match self {
            Self::User { arn, .. } | Self::Role { arn, .. } | Self::Session(arn) => {
                AccountId::parse(super::arn::fields(arn)?[4]).ok()
            }
            Self::Star | Self::Account { .. } | Self::Service(_) | Self::Provider(_) | Self::Nobody => None,
        }
    }

    /// Whether it is a session of the same role as the caller's.
    fn is_session_beside(&self, caller: &Caller<'_>) -> bool {
        let (Self::Session(arn), Some(own)) = (self, session_arn(caller)) else { return false };
        let role = |arn: &str| arn.rsplit_once('/').map(|(role, _)| role.to_owned());
        role(arn) == role(own)
    }

    fn bind(&mut self, ids: &BTreeMap<String, String>) {
        let Some(id) = self.bindable().map(|arn| ids.get(arn)) else { return };
        let bound = id.map_or(Binding::Vacant, |id| Binding::Bound(id.clone()));
        if let Self::User { binding, .. } | Self::Role { binding, .. } = self {
            *binding = bound;
        }
    }

    fn hit(&self, caller: &Caller<'_>) -> Hits {
        match self {
            Self::Star => Hits::STAR,
            Self::Account { id, partition } => account_hit(*id, partition.as_deref(), caller),
            Self::User { arn, binding } => user_hit(arn, binding, caller),
            Self::Role { arn, binding } => role_hit(arn, binding, caller),
            Self::Session(arn) => direct_if(session_arn(caller) == Some(arn)),
            Self::Service(name) => direct_if(*caller == Caller::Service(name)),
            Self::Provider(name) => direct_if(*caller == Caller::WebIdentity(name)),
            Self::Nobody => Hits::NONE,
        }
    }
}

impl Binding {
    fn admits(&self, unique_id: &str) -> bool {
        match self {
            Self::Unbound => true,
            Self::Bound(id) => id == unique_id,
            Self::Vacant => false,
        }
    }
}

fn direct_if(named: bool) -> Hits {
    if named { Hits::DIRECT } else { Hits::NONE }
}

fn account_hit(id: AccountId, partition: Option<&str>, caller: &Caller<'_>) -> Hits {
    let in_partition = partition.is_none_or(|p| caller.partition() == Some(p));
    match caller {
        _ if caller.account() != Some(id) || !in_partition => Hits::NONE,
        Caller::Root { .. } => Hits::DIRECT,
        Caller::User { .. }
        | Caller::RoleSession { .. }
        | Caller::ServiceLinkedRole { .. }
        | Caller::FederatedUser { .. }
        | Caller::Service(_)
        | Caller::WebIdentity(_)
        | Caller::Anonymous => Hits::ACCOUNT,
    }
}

fn user_hit(named: &str, binding: &Binding, caller: &Caller<'_>) -> Hits {
    match caller {
        Caller::User { arn, unique_id, .. } => direct_if(*arn == named && binding.admits(unique_id)),
        Caller::FederatedUser { user: Some((arn, unique_id)), .. } if *arn == named && binding.admits(unique_id) => {
            Hits::USER_OF_FEDERATED
        }
        Caller::FederatedUser { .. }
        | Caller::RoleSession { .. }
        | Caller::ServiceLinkedRole { .. }
        | Caller::Root { .. }
        | Caller::Service(_)
        | Caller::WebIdentity(_)
        | Caller::Anonymous => Hits::NONE,
    }
}

fn role_hit(named: &str, binding: &Binding, caller: &Caller<'_>) -> Hits {
    let is_role = match caller {
        Caller::RoleSession { role_arn, unique_id, .. } => *role_arn == named && binding.admits(unique_id),
        Caller::ServiceLinkedRole { arn, .. } => *arn == named,
        Caller::User { .. }
        | Caller::FederatedUser { .. }
        | Caller::Root { .. }
        | Caller::Service(_)
        | Caller::WebIdentity(_)
        | Caller::Anonymous => false,
    };
    if is_role { Hits::ROLE_OF_SESSION } else { Hits::NONE }
}

fn session_arn<'a>(caller: &Caller<'a>) -> Option<&'a str> {
    match caller {
        Caller::RoleSession { session_arn, .. } => Some(session_arn),
        Caller::ServiceLinkedRole { session_arn, .. } => *session_arn,
        Caller::FederatedUser { arn, .. } => Some(arn),
        Caller::User { .. } | Caller::Root { .. } | Caller::Service(_) | Caller::WebIdentity(_) | Caller::Anonymous => {
            None
        }
    }
}

/// Whether the ARN is that of a role under `aws-service-role/`, which no tenant can make or remove.
pub(super) fn is_service_linked(role_arn: &str) -> bool {
    super::arn::fields(role_arn).is_some_and(|fields| fields[5].starts_with("role/aws-service-role/"))
}

/// Whether the name is that of an identity provider that AWS knows without being told.
pub(super) fn is_built_in_provider(name: &str) -> bool {
    ["accounts.google.com", "cognito-identity.amazonaws.com", "graph.facebook.com", "www.amazon.com"].contains(&name)
}

/// The fields of an ARN that holds no wildcard.
fn plain_arn(text: &str) -> Option<[&str; 6]> {
    let fields = super::arn::fields(text)?;
    let partition_fits = !fields[1].is_empty() && fields[1].bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    (partition_fits && !text.contains(['*', '?'])).then_some(fields)
}

/// A name with or without path: graphic ASCII, no empty segment.
fn is_path(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic()) && text.split('/').all(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Caller, Element, Hits, Principals};
    use crate::names::AccountId;
    use std::collections::BTreeMap;

    fn account() -> AccountId {
        AccountId::parse("111122223333").unwrap()
    }

    fn callers() -> Vec<(&'static str, Caller<'static>)> {
        let account = account();
        let slr = "arn:aws:iam::111122223333:role/aws-service-role/replication.ecr.amazonaws.com/Slr";
        vec![
            ("user", Caller::User { account, arn: "arn:aws:iam::111122223333:user/alice", unique_id: "AIDA1" }),
            (
                "session",
                Caller::RoleSession {
                    account,
                    session_arn: "arn:aws:sts::111122223333:assumed-role/ci/b",
                    role_arn: "arn:aws:iam::111122223333:role/p/ci",
                    unique_id: "AROA1",
                },
            ),
            ("slr", Caller::ServiceLinkedRole { account, arn: slr, session_arn: None }),
            (
                "federated",
                Caller::FederatedUser {
                    account,
                    arn: "arn:aws:sts::111122223333:federated-user/carol",
                    user: Some(("arn:aws:iam::111122223333:user/alice", "AIDA1")),
                },
            ),
            ("root", Caller::Root { account, arn: "arn:aws:iam::111122223333:root" }),
            ("service", Caller::Service("replication.ecr.amazonaws.com")),
            ("web", Caller::WebIdentity("arn:aws:iam::111122223333:oidc-provider/gitlab.example.com")),
            ("anonymous", Caller::Anonymous),
        ]
    }

    /// The callers an element hits, with the kind of hit.
    fn hit_list(element: &Element) -> Vec<(&'static str, Hits)> {
        callers().iter().map(|(name, caller)| (*name, element.hit(caller))).filter(|(_, hit)| !hit.is_none()).collect()
    }

    #[test]
    fn each_form_hits_the_callers_it_names_in_its_own_way() {
        let of_account = [
            ("user", Hits::ACCOUNT),
            ("session", Hits::ACCOUNT),
            ("slr", Hits::ACCOUNT),
            ("federated", Hits::ACCOUNT),
            ("root", Hits::DIRECT),
        ];
        assert_eq!(hit_list(&Element::aws("111122223333").unwrap()), of_account);
        assert_eq!(hit_list(&Element::aws("arn:aws:iam::111122223333:root").unwrap()), of_account);
        assert_eq!(hit_list(&Element::aws("arn:aws-cn:iam::111122223333:root").unwrap()), []);
        assert_eq!(hit_list(&Element::aws("*").unwrap()).len(), callers().len());
        let table = [
            (
                "arn:aws:iam::111122223333:user/alice",
                &[("user", Hits::DIRECT), ("federated", Hits::USER_OF_FEDERATED)][..],
            ),
            ("arn:aws:iam::111122223333:user/Alice", &[]),
            ("arn:aws:iam::111122223333:role/p/ci", &[("session", Hits::ROLE_OF_SESSION)]),
            ("arn:aws:iam::111122223333:role/ci", &[]),
            ("arn:aws:sts::111122223333:assumed-role/ci/b", &[("session", Hits::DIRECT)]),
            ("arn:aws:sts::111122223333:assumed-role/ci/other", &[]),
            ("arn:aws:sts::111122223333:federated-user/carol", &[("federated", Hits::DIRECT)]),
        ];
        for (text, expected) in table {
            assert_eq!(hit_list(&Element::aws(text).unwrap()), expected, "{text}");
        }
        let service = Element::service("replication.ecr.amazonaws.com").unwrap();
        assert_eq!(hit_list(&service), [("service", Hits::DIRECT)]);
        let provider = Element::federated("arn:aws:iam::111122223333:oidc-provider/gitlab.example.com").unwrap();
        assert_eq!(hit_list(&provider), [("web", Hits::DIRECT)]);
    }

    #[test]
    fn partial_wildcards_and_other_forms_are_refused() {
        let bad = [
            "",
            "arn:aws:iam::111122223333:*",
            "arn:aws:iam::*:root",
            "arn:aws:iam::111122223333:user/*",
            "arn:aws:sts::111122223333:assumed-role/ci/*",
            "arn:aws:sts::111122223333:assumed-role/ci",
            "arn:aws:iam::111122223333:group/admins",
            "arn:aws:iam::11112222333:root",
            "arn:aws:iam::111122223333:user/",
            "AIDAEXAMPLE",
            "1111*",
            "arn:aws:iam:us-east-1:111122223333:root",
            "arn:aws:iam::111122223333:user/a//b",
        ];
        for text in bad {
            assert!(Element::aws(text).is_none(), "{text}");
        }
        for text in ["*", "ecs-tasks", "*.amazonaws.com", "", "A.amazonaws.com"] {
            assert!(Element::service(text).is_none(), "{text}");
        }
        for text in
            ["*", "gitlab.example.com", "arn:aws:iam::111122223333:oidc-provider/*", "arn:aws:iam::111122223333:role/x"]
        {
            assert!(Element::federated(text).is_none(), "{text}");
        }
    }

    #[test]
    fn in_an_exclusion_the_closest_entry_decides() {
        let (root, user, role) = (
            "arn:aws:iam::111122223333:root",
            "arn:aws:iam::111122223333:user/alice",
            "arn:aws:iam::111122223333:role/p/ci",
        );
        let (own, beside, other) = (
            "arn:aws:sts::111122223333:assumed-role/ci/b",
            "arn:aws:sts::111122223333:assumed-role/ci/c",
            "arn:aws:iam::111122223333:role/p/other",
        );
        let foreign = "arn:aws:iam::444455556666:user/dana";
        let table: &[(&[&str], &[&str])] = &[
            (&[root], &["user", "session", "slr", "federated", "root"]),
            (&["111122223333", foreign], &["user", "session", "slr", "federated", "root"]),
            (&[user], &["user", "federated"]),
            (&[user, root], &["user", "federated", "root"]),
            (&[role], &["session"]),
            (&[role, root], &["session", "root"]),
            (&[role, root, own], &["session", "root"]),
            (&[role, root, beside], &["root"]),
            (&[other, root], &["root"]),
            (&["*"], &["user", "session", "slr", "federated", "root", "service", "web", "anonymous"]),
        ];
        for (list, expected) in table {
            let exclusion = Principals::NotIn(list.iter().map(|text| Element::aws(text).unwrap()).collect());
            let excepted: Vec<_> =
                callers().iter().filter(|(_, c)| exclusion.cover(c).is_none()).map(|(n, _)| *n).collect();
            assert_eq!(&excepted, expected, "{list:?}");
        }
    }

    #[test]
    fn a_bound_principal_is_arn_and_unique_id_together() {
        let bind = |text: &str, ids: &[(&str, &str)]| {
            let mut principals = Principals::In(vec![Element::aws(text).unwrap()]);
            let ids: BTreeMap<_, _> = ids.iter().map(|(a, i)| ((*a).to_owned(), (*i).to_owned())).collect();
            principals.bind(&ids);
            callers().iter().filter(|(_, c)| principals.cover(c).is_some()).map(|(n, _)| *n).collect::<Vec<_>>()
        };
        let (user, role) = ("arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:role/p/ci");
        assert_eq!(bind(user, &[(user, "AIDA1")]), ["user", "federated"]);
        assert_eq!(bind(user, &[(user, "AIDA2")]), [""; 0]);
        assert_eq!(bind(user, &[]), [""; 0]);
        assert_eq!(bind(role, &[(role, "AROA1")]), ["session"]);
        assert_eq!(bind(role, &[(role, "AROA0")]), [""; 0]);
        let slr = "arn:aws:iam::111122223333:role/aws-service-role/replication.ecr.amazonaws.com/Slr";
        assert_eq!(bind(slr, &[]), ["slr"]);
        assert_eq!(bind("111122223333", &[]), ["user", "session", "slr", "federated", "root"]);
    }
}
