//! The subtle cases of the evaluation logic, one by one, on one repository and one role.

use super::{Attached, Caller, Outcome, Policies, Request, evaluate};
use crate::authz::context::Context;
use crate::authz::explain;
use crate::authz::permit::Allowed;
use crate::authz::policy::{Document, Kind};
use crate::names::AccountId;
use std::collections::BTreeMap;

const OWNER: &str = "111122223333";
const GUEST: &str = "444455556666";
const REPOSITORY: &str = "arn:aws:ecr:us-east-1:111122223333:repository/team/app";
const ROLE: &str = "arn:aws:iam::111122223333:role/app-reader";
const ACTION: &str = "ecr:BatchGetImage";

const ALL: &str = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
const OTHER: &str = r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;
const DENY: &str = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
    {"Sid": "Never", "Effect": "Deny", "Action": "ecr:Batch*", "Resource": "*"}]}"#;

fn id(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

fn alice() -> Caller<'static> {
    Caller::User { account: id(OWNER), arn: "arn:aws:iam::111122223333:user/alice", unique_id: "AIDA1" }
}

fn dana() -> Caller<'static> {
    Caller::User { account: id(GUEST), arn: "arn:aws:iam::444455556666:user/dana", unique_id: "AIDA2" }
}

fn session() -> Caller<'static> {
    Caller::RoleSession {
        account: id(OWNER),
        session_arn: "arn:aws:sts::111122223333:assumed-role/ci/b",
        role_arn: "arn:aws:iam::111122223333:role/p/ci",
        unique_id: "AROA1",
    }
}

fn service_linked() -> Caller<'static> {
    let arn =
        "arn:aws:iam::444455556666:role/aws-service-role/replication.ecr.amazonaws.com/AWSServiceRoleForECRReplication";
    Caller::ServiceLinkedRole { account: id(GUEST), arn, session_arn: None }
}

fn federated() -> Caller<'static> {
    Caller::FederatedUser {
        account: id(OWNER),
        arn: "arn:aws:sts::111122223333:federated-user/carol",
        user: Some(("arn:aws:iam::111122223333:user/alice", "AIDA1")),
    }
}

fn root() -> Caller<'static> {
    Caller::Root { account: id(OWNER), arn: "arn:aws:iam::111122223333:root" }
}

/// A resource policy that lets one principal pull.
fn naming(principal: &str) -> String {
    format!(r#"{{"Statement": {{"Effect": "Allow", "Principal": {principal}, "Action": "{ACTION}"}}}}"#)
}

/// A question about the repository, with the policies given as texts.
struct Ask<'t> {
    caller: Caller<'t>,
    action: &'t str,
    resource: &'t str,
    identity: Option<&'t str>,
    boundary: Option<&'t str>,
    session: Option<&'t str>,
    scp: Option<&'t str>,
    rcp: Option<&'t str>,
    attached: Option<(Kind, &'t str)>,
}

fn attach(document: &Document) -> Attached<'_> {
    Attached { id: "p", document }
}

fn list(document: &Option<Document>) -> Vec<Attached<'_>> {
    document.iter().map(attach).collect()
}

fn levels(document: &Option<Document>) -> Vec<Vec<Attached<'_>>> {
    document.iter().map(|document| vec![attach(document)]).collect()
}

impl<'t> Ask<'t> {
    fn of(caller: Caller<'t>) -> Self {
        let (action, resource) = (ACTION, REPOSITORY);
        Self {
            caller,
            action,
            resource,
            identity: None,
            boundary: None,
            session: None,
            scp: None,
            rcp: None,
            attached: None,
        }
    }

    /// The outcome, the kind that decided and the sentence.
    fn answer(&self) -> (Outcome, Option<Kind>, String) {
        let parse = |kind, text: Option<&str>| text.map(|text| Document::parse(kind, text).unwrap());
        let identity = parse(Kind::Identity, self.identity);
        let boundary = parse(Kind::Boundary, self.boundary);
        let session = parse(Kind::Session, self.session);
        let scp = parse(Kind::ServiceControl, self.scp);
        let rcp = parse(Kind::ResourceControl, self.rcp);
        let resource = self.attached.and_then(|(kind, text)| parse(kind, Some(text)));
        let session_list = list(&session);
        let policies = Policies {
            identity: &list(&identity),
            boundary: boundary.as_ref().map(attach),
            session: session.is_some().then_some(&session_list),
            scp: &levels(&scp),
            rcp: &levels(&rcp),
            resource: &list(&resource),
        };
        let context = Context::new();
        let request = Request {
            caller: self.caller,
            action: self.action,
            resource: self.resource,
            resource_account: id(OWNER),
            context: &context,
        };
        let decision = evaluate(&request, &policies);
        assert_eq!(Allowed::grant((), &decision).is_some(), decision.outcome() == Outcome::Allow);
        (decision.outcome(), decision.kind(), explain::sentence(&request, &decision))
    }

    fn kind(&self) -> (Outcome, Option<Kind>) {
        let (outcome, kind, _) = self.answer();
        (outcome, kind)
    }
}

const ALLOW: fn(Kind) -> (Outcome, Option<Kind>) = |kind| (Outcome::Allow, Some(kind));
const MISSING: fn(Kind) -> (Outcome, Option<Kind>) = |kind| (Outcome::ImplicitDeny, Some(kind));
const DENIED: fn(Kind) -> (Outcome, Option<Kind>) = |kind| (Outcome::ExplicitDeny, Some(kind));

#[test]
fn inside_an_account_the_kind_of_hit_decides_what_else_is_needed() {
    let user = naming(r#"{"AWS": "arn:aws:iam::111122223333:user/alice"}"#);
    let role = naming(r#"{"AWS": "arn:aws:iam::111122223333:role/p/ci"}"#);
    let own = naming(r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/ci/b"}"#);
    let account = naming(r#"{"AWS": "111122223333"}"#);
    let star = naming(r#""*""#);
    let (silent, all) = (Some(OTHER), Some(ALL));
    let table = [
        ("account delegates only", alice(), &account, None, None, None, MISSING(Kind::Identity)),
        ("account and identity", alice(), &account, all, None, None, ALLOW(Kind::Identity)),
        ("user named", alice(), &user, None, silent, None, ALLOW(Kind::Resource)),
        ("everybody named", session(), &star, None, silent, silent, ALLOW(Kind::Resource)),
        ("session named", session(), &own, None, silent, silent, ALLOW(Kind::Resource)),
        ("role named", session(), &role, None, None, None, ALLOW(Kind::Resource)),
        ("role named, boundary silent", session(), &role, all, silent, None, MISSING(Kind::Boundary)),
        ("role named, session policy silent", session(), &role, all, None, silent, MISSING(Kind::Session)),
        ("role named, session policy allows", session(), &role, None, None, all, ALLOW(Kind::Resource)),
        ("maker of the federated session named", federated(), &user, None, None, all, ALLOW(Kind::Resource)),
        ("federated without session policy", federated(), &user, all, None, None, MISSING(Kind::Session)),
        ("root named", root(), &account, None, None, None, ALLOW(Kind::Resource)),
    ];
    for (name, caller, resource, identity, boundary, session, expected) in table {
        let ask = Ask { attached: Some((Kind::Resource, resource)), identity, boundary, session, ..Ask::of(caller) };
        assert_eq!(ask.kind(), expected, "{name}");
    }
    assert_eq!(Ask::of(root()).kind(), (Outcome::Allow, None));
    assert_eq!(Ask::of(alice()).kind(), MISSING(Kind::Identity));
}

#[test]
fn across_accounts_both_sides_must_agree() {
    let (account, star) = (naming(r#"{"AWS": "444455556666"}"#), naming(r#""*""#));
    let elsewhere = "arn:aws-cn:ecr:cn-north-1:111122223333:repository/team/app";
    let guest = || Ask::of(dana());
    assert_eq!(guest().kind(), MISSING(Kind::Identity));
    assert_eq!(Ask { identity: Some(ALL), ..guest() }.kind(), MISSING(Kind::Resource));
    assert_eq!(Ask { attached: Some((Kind::Resource, &star)), ..guest() }.kind(), MISSING(Kind::Identity));
    assert_eq!(
        Ask { attached: Some((Kind::Resource, &account)), identity: Some(ALL), ..guest() }.kind(),
        ALLOW(Kind::Identity)
    );
    let bounded =
        Ask { attached: Some((Kind::Resource, &star)), identity: Some(ALL), boundary: Some(OTHER), ..guest() };
    assert_eq!(bounded.kind(), MISSING(Kind::Boundary));
    let elsewhere =
        Ask { attached: Some((Kind::Resource, &account)), identity: Some(ALL), resource: elsewhere, ..guest() };
    assert_eq!(elsewhere.kind(), MISSING(Kind::Resource));
}

#[test]
fn callers_without_an_account_need_to_be_named_themselves_or_with_everybody() {
    let provider = "arn:aws:iam::111122223333:oidc-provider/gitlab.example.com";
    let (service, web) = (Caller::Service("scan.ecr.amazonaws.com"), Caller::WebIdentity(provider));
    let named = [
        (service, naming(r#"{"Service": "scan.ecr.amazonaws.com"}"#)),
        (web, naming(&format!(r#"{{"Federated": "{provider}"}}"#))),
        (service, naming(r#""*""#)),
        (web, naming(r#"{"AWS": "*"}"#)),
        (Caller::Anonymous, naming(r#"{"AWS": "*"}"#)),
    ];
    for (caller, text) in &named {
        let ask = Ask { attached: Some((Kind::Resource, text)), ..Ask::of(*caller) };
        assert_eq!(ask.kind(), ALLOW(Kind::Resource), "{caller:?} {text}");
    }
    let others =
        naming(r#"{"AWS": "111122223333", "Service": "push.ecr.amazonaws.com", "Federated": "accounts.google.com"}"#);
    for caller in [service, web, Caller::Anonymous] {
        let ask = Ask { attached: Some((Kind::Resource, &others)), identity: Some(ALL), ..Ask::of(caller) };
        assert_eq!(ask.kind(), MISSING(Kind::Resource), "{caller:?}");
    }
}

#[test]
fn a_root_user_is_its_account_and_nothing_abroad() {
    let foreign = Caller::Root { account: id(GUEST), arn: "arn:aws:iam::444455556666:root" };
    let text = naming(r#"{"AWS": "444455556666"}"#);
    let ask = Ask { attached: Some((Kind::Resource, &text)), ..Ask::of(foreign) };
    assert_eq!(ask.kind(), MISSING(Kind::Identity));
    let denied = r#"{"Statement": {"Effect": "Deny", "Principal": {"AWS": "111122223333"}, "Action": "*"}}"#;
    assert_eq!(Ask { attached: Some((Kind::Resource, denied)), ..Ask::of(root()) }.kind(), DENIED(Kind::Resource));
    assert_eq!(Ask { scp: Some(OTHER), ..Ask::of(root()) }.kind(), MISSING(Kind::ServiceControl));
}

#[test]
fn a_deny_counts_whatever_its_principal_hits() {
    for principal in ["\"*\"", r#"{"AWS": "111122223333"}"#, r#"{"AWS": "arn:aws:iam::111122223333:role/p/ci"}"#] {
        let text = format!(r#"{{"Statement": {{"Effect": "Deny", "Principal": {principal}, "Action": "ecr:*"}}}}"#);
        let ask = Ask { attached: Some((Kind::Resource, &text)), identity: Some(ALL), ..Ask::of(session()) };
        assert_eq!(ask.kind(), DENIED(Kind::Resource), "{principal}");
    }
}

#[test]
fn the_first_deny_is_named_in_a_fixed_order() {
    let resource = r#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*"}}"#;
    let rcp = r#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}"#;
    let mut ask = Ask {
        identity: Some(DENY),
        boundary: Some(DENY),
        session: Some(DENY),
        scp: Some(DENY),
        rcp: Some(rcp),
        attached: Some((Kind::Resource, resource)),
        ..Ask::of(session())
    };
    assert_eq!(ask.kind(), DENIED(Kind::ServiceControl));
    ask.scp = None;
    assert_eq!(ask.kind(), DENIED(Kind::ResourceControl));
    ask.rcp = None;
    assert_eq!(ask.kind(), DENIED(Kind::Resource));
    ask.attached = None;
    assert_eq!(ask.kind(), DENIED(Kind::Boundary));
    ask.boundary = None;
    assert_eq!(ask.kind(), DENIED(Kind::Session));
    ask.session = None;
    assert_eq!(ask.kind(), DENIED(Kind::Identity));
}

#[test]
fn organization_policies_bind_whom_they_should() {
    let star = naming(r#""*""#);
    let open = |caller| Ask { attached: Some((Kind::Resource, &star)), identity: Some(ALL), ..Ask::of(caller) };
    for caller in [alice(), session(), root(), dana()] {
        assert_eq!(Ask { scp: Some(DENY), ..open(caller) }.kind(), DENIED(Kind::ServiceControl), "{caller:?}");
        assert_eq!(Ask { scp: Some(OTHER), ..open(caller) }.kind(), MISSING(Kind::ServiceControl), "{caller:?}");
    }
    for caller in [service_linked(), Caller::Service("replication.ecr.amazonaws.com"), Caller::Anonymous] {
        assert_eq!(Ask { scp: Some(DENY), ..open(caller) }.answer().0, Outcome::Allow, "{caller:?}");
    }
    let rcp = r#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}"#;
    assert_eq!(Ask { rcp: Some(rcp), ..open(Caller::Anonymous) }.kind(), DENIED(Kind::ResourceControl));
    assert_eq!(Ask { rcp: Some(rcp), ..open(service_linked()) }.answer().0, Outcome::Allow);
}

#[test]
fn a_service_linked_role_replicates_into_a_foreign_registry_that_names_its_account() {
    let identity = r#"{"Statement": {"Effect": "Allow", "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"], "Resource": "*"}}"#;
    let registry = r#"{"Version": "2012-10-17", "Statement": {"Sid": "from 4444", "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::444455556666:root"}, "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"],
        "Resource": "arn:aws:ecr:us-east-1:111122223333:repository/*"}}"#;
    let ask = Ask { action: "ecr:ReplicateImage", identity: Some(identity), ..Ask::of(service_linked()) };
    assert_eq!(ask.kind(), MISSING(Kind::Resource));
    let ask = Ask { attached: Some((Kind::Resource, registry)), ..ask };
    assert_eq!(ask.kind(), ALLOW(Kind::Identity));
    assert_eq!(Ask { action: "ecr:PutImage", ..ask }.kind(), MISSING(Kind::Identity));
}

#[test]
fn roles_and_keys_trust_only_whom_their_own_policy_names() {
    let trust = |principal: &str| {
        format!(r#"{{"Statement": {{"Effect": "Allow", "Principal": {principal}, "Action": "sts:AssumeRole"}}}}"#)
    };
    let (account, user) =
        (trust(r#"{"AWS": "111122223333"}"#), trust(r#"{"AWS": "arn:aws:iam::111122223333:user/alice"}"#));
    let ask = |trust, identity| Ask {
        action: "sts:AssumeRole",
        resource: ROLE,
        identity,
        attached: trust,
        ..Ask::of(alice())
    };
    assert_eq!(ask(None, Some(ALL)).kind(), MISSING(Kind::Trust));
    assert_eq!(ask(Some((Kind::Trust, &account)), None).kind(), MISSING(Kind::Identity));
    assert_eq!(ask(Some((Kind::Trust, &account)), Some(ALL)).kind(), ALLOW(Kind::Identity));
    assert_eq!(ask(Some((Kind::Trust, &user)), None).kind(), ALLOW(Kind::Trust));
    let key = "arn:aws:kms:us-east-1:111122223333:key/k";
    let decrypt = Ask { action: "kms:Decrypt", resource: key, identity: Some(ALL), ..Ask::of(alice()) };
    assert_eq!(decrypt.kind(), MISSING(Kind::Key));
    assert_eq!(Ask { caller: root(), ..decrypt }.kind(), MISSING(Kind::Key));
    let list = Ask { action: "kms:ListKeys", resource: "*", identity: Some(ALL), ..Ask::of(alice()) };
    assert_eq!(list.kind(), ALLOW(Kind::Identity));
}

#[test]
fn some_actions_have_rules_of_their_own() {
    let deny = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;
    let ask = |caller, action| Ask { action, resource: "*", ..Ask::of(caller) };
    for action in ["sts:GetCallerIdentity", "sts:getcalleridentity"] {
        let denied = Ask { identity: Some(deny), ..ask(alice(), action) };
        assert_eq!(denied.kind(), (Outcome::Allow, None));
        assert_eq!(ask(Caller::Anonymous, action).kind(), MISSING(Kind::Resource));
    }
    assert_eq!(ask(alice(), "sts:GetSessionToken").kind(), (Outcome::Allow, None));
    assert_eq!(Ask { identity: Some(deny), ..ask(alice(), "sts:GetSessionToken") }.kind(), DENIED(Kind::Identity));
    assert_eq!(ask(session(), "sts:GetSessionToken").kind(), MISSING(Kind::Identity));
    let registry = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*", "Resource": "*"}}"#;
    let token = Ask { attached: Some((Kind::Resource, registry)), ..ask(alice(), "ecr:GetAuthorizationToken") };
    assert_eq!(token.kind(), MISSING(Kind::Identity));
}

#[test]
fn not_principal_excepts_its_entries_unless_the_caller_has_a_boundary() {
    let text = r#"{"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": ["arn:aws:iam::111122223333:user/alice"]}, "Action": "*"}}"#;
    let ask = |caller| Ask { attached: Some((Kind::Resource, text)), identity: Some(ALL), ..Ask::of(caller) };
    assert_eq!(ask(alice()).kind(), ALLOW(Kind::Identity));
    assert_eq!(Ask { boundary: Some(ALL), ..ask(alice()) }.kind(), DENIED(Kind::Resource));
    for caller in [session(), dana(), Caller::Anonymous] {
        assert_eq!(ask(caller).kind(), DENIED(Kind::Resource), "{caller:?}");
    }
}

#[test]
fn a_recreated_namesake_inherits_nothing() {
    let text = naming(r#"{"AWS": ["arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:role/p/ci"]}"#);
    let mut document = Document::parse(Kind::Resource, &text).unwrap();
    let arns: Vec<_> = document.principals().iter().map(|p| (p.arn.to_owned(), p.name.is_some())).collect();
    let (role, user) =
        ("arn:aws:iam::111122223333:role/p/ci".to_owned(), "arn:aws:iam::111122223333:user/alice".to_owned());
    assert_eq!(arns, [(role, false), (user.clone(), true)]);
    document.bind(&BTreeMap::from([(user, "AIDA1".to_owned())]));
    let context = Context::new();
    let allowed = |caller| {
        let resource_account = id(OWNER);
        let request = Request { caller, action: ACTION, resource: REPOSITORY, resource_account, context: &context };
        let attached = [Attached { id: "p", document: &document }];
        evaluate(&request, &Policies { resource: &attached, ..Policies::default() }).is_allowed()
    };
    let Caller::User { account, arn, .. } = alice() else { panic!("alice is a user") };
    assert!(allowed(alice()));
    assert!(!allowed(Caller::User { account, arn, unique_id: "AIDA9" }));
    assert!(!allowed(session()));
}

#[test]
fn refusals_use_the_sentences_of_aws() {
    let user = "User: arn:aws:iam::111122223333:user/alice is not authorized to perform:";
    let on = format!("ecr:BatchGetImage on resource: {REPOSITORY}");
    let table = [
        (Ask::of(alice()), format!("{user} {on} because no identity-based policy allows the ecr:BatchGetImage action")),
        (
            Ask { identity: Some(DENY), ..Ask::of(alice()) },
            format!("{user} {on} with an explicit deny in an identity-based policy"),
        ),
        (
            Ask { boundary: Some(OTHER), ..Ask::of(alice()) },
            format!("{user} {on} because no permissions boundary allows the ecr:BatchGetImage action"),
        ),
        (
            Ask { scp: Some(OTHER), ..Ask::of(alice()) },
            format!("{user} {on} with an explicit deny in a service control policy"),
        ),
        (
            Ask { session: Some(DENY), ..Ask::of(session()) },
            format!(
                "User: arn:aws:sts::111122223333:assumed-role/ci/b is not authorized to perform: {on} with an explicit deny \
                 in a sessions policy"
            ),
        ),
        (
            Ask { identity: Some(ALL), ..Ask::of(dana()) },
            format!(
                "User: arn:aws:iam::444455556666:user/dana is not authorized to perform: {on} because no resource-based \
                 policy allows the ecr:BatchGetImage action"
            ),
        ),
        (
            Ask { action: "ecr:GetAuthorizationToken", resource: "*", ..Ask::of(alice()) },
            format!(
                "{user} ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the \
                 ecr:GetAuthorizationToken action"
            ),
        ),
        (
            Ask { action: "sts:AssumeRole", resource: ROLE, identity: Some(ALL), ..Ask::of(alice()) },
            format!("{user} sts:AssumeRole on resource: {ROLE}"),
        ),
        (
            Ask { action: "sts:TagSession", resource: ROLE, identity: Some(ALL), ..Ask::of(alice()) },
            format!(
                "{user} sts:TagSession on resource: {ROLE} because no role trust policy allows the sts:TagSession action"
            ),
        ),
        (
            Ask {
                action: "sts:AssumeRoleWithWebIdentity",
                resource: ROLE,
                ..Ask::of(Caller::WebIdentity("accounts.google.com"))
            },
            "Not authorized to perform sts:AssumeRoleWithWebIdentity".to_owned(),
        ),
    ];
    for (ask, expected) in table {
        assert_eq!(ask.answer().2, expected);
    }
}

#[test]
fn the_detail_names_policy_and_statement() {
    let document = Document::parse(Kind::Identity, DENY).unwrap();
    let attached = [Attached { id: "guard", document: &document }];
    let context = Context::new();
    let request = Request {
        caller: alice(),
        action: ACTION,
        resource: REPOSITORY,
        resource_account: id(OWNER),
        context: &context,
    };
    let decide = |action| {
        let policies = Policies { identity: &attached, ..Policies::default() };
        explain::detail(&evaluate(&Request { action, ..request }, &policies))
    };
    assert_eq!(decide(ACTION), "denied by identity policy \"guard\", statement 2 (Never)");
    assert_eq!(decide("ecr:PutImage"), "allowed by identity policy \"guard\", statement 1");
    let nothing = evaluate(&request, &Policies::default());
    assert_eq!(explain::detail(&nothing), "no identity policy allows it");
}
