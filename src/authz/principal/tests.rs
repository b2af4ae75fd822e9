//! Who is hit by whom, and who is excepted.

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
        ("arn:aws:iam::111122223333:user/alice", &[("user", Hits::DIRECT), ("federated", Hits::USER_OF_FEDERATED)][..]),
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
