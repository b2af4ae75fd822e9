//! Properties of every decision, over generated policies and requests.

use super::context::Context;
use super::eval::{Attached, Caller, Outcome, Policies, Request, evaluate};
use super::glob::Pattern;
use super::policy::{Document, Kind};
use crate::names::AccountId;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

const ACTIONS: [&str; 3] = ["ecr:BatchGetImage", "ecr:PutImage", "ecr:GetAuthorizationToken"];
const RESOURCES: [&str; 3] = [
    "arn:aws:ecr:us-east-1:111122223333:repository/team/app",
    "arn:aws:ecr:us-east-1:111122223333:repository/blue/app",
    "*",
];

/// The policies of a case as JSON statements, by what they are attached to.
#[derive(Clone, Debug)]
struct World {
    caller: usize,
    action: &'static str,
    resource: &'static str,
    tag: String,
    identity: Vec<Vec<Value>>,
    boundary: Option<Vec<Value>>,
    session: Option<Vec<Vec<Value>>>,
    scp: Vec<Vec<Vec<Value>>>,
    rcp: Vec<Vec<Vec<Value>>>,
    resource_policies: Vec<Vec<Value>>,
}

fn caller(index: usize) -> Caller<'static> {
    let account = |text| AccountId::parse(text).unwrap();
    let (own, foreign) = (account("111122223333"), account("444455556666"));
    match index {
        0 => Caller::User { account: own, arn: "arn:aws:iam::111122223333:user/alice", unique_id: "AIDA1" },
        1 => Caller::RoleSession {
            account: own,
            session_arn: "arn:aws:sts::111122223333:assumed-role/ci/b",
            role_arn: "arn:aws:iam::111122223333:role/ci",
            unique_id: "AROA1",
        },
        2 => Caller::User { account: foreign, arn: "arn:aws:iam::444455556666:user/dana", unique_id: "AIDA2" },
        3 => Caller::FederatedUser { account: own, arn: "arn:aws:sts::111122223333:federated-user/carol", user: None },
        4 => Caller::Root { account: own, arn: "arn:aws:iam::111122223333:root" },
        _ => Caller::Anonymous,
    }
}

fn statement(named: bool) -> impl Strategy<Value = Value> {
    let effects = select(vec!["Allow", "Allow", "Allow", "Allow", "Deny"]);
    let actions = select(vec!["*", "ecr:*", "ecr:Batch*", "ecr:PutImage", "s3:*"]);
    let resources = select(vec![
        "*",
        "arn:aws:ecr:us-east-1:111122223333:repository/team/*",
        "arn:aws:ecr:us-east-1:111122223333:repository/${aws:PrincipalTag/team}/*",
        "arn:aws:ecr:*:444455556666:repository/*",
    ]);
    let principals = select(vec![
        json!("*"),
        json!({"AWS": "111122223333"}),
        json!({"AWS": ["444455556666", "arn:aws:iam::111122223333:user/alice"]}),
        json!({"AWS": "arn:aws:iam::111122223333:role/ci"}),
        json!({"AWS": "arn:aws:sts::111122223333:assumed-role/ci/b"}),
    ]);
    let conditions = select(vec![
        json!({}),
        json!({}),
        json!({"StringEquals": {"aws:PrincipalTag/team": "blue"}}),
        json!({"StringNotEquals": {"aws:PrincipalTag/team": ["blue", "red"]}}),
        json!({"Null": {"aws:PrincipalTag/team": true}}),
    ]);
    (effects, actions, any::<bool>(), resources, principals, conditions).prop_map(
        move |(effect, action, inverted, resource, principal, condition)| {
            let action_element = if inverted { "NotAction" } else { "Action" };
            let mut statement =
                json!({"Effect": effect, action_element: [action], "Resource": [resource], "Condition": condition});
            if named {
                statement["Principal"] = principal;
            }
            statement
        },
    )
}

fn documents(named: bool, most: usize) -> impl Strategy<Value = Vec<Vec<Value>>> {
    prop::collection::vec(prop::collection::vec(statement(named), 1..4), 0..=most)
}

/// Levels of which most allow everything, so that they do not decide every case.
fn levels(named: bool) -> impl Strategy<Value = Vec<Vec<Vec<Value>>>> {
    let full = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
    let full = if named { full } else { json!({"Effect": "Allow", "Action": "*", "Resource": "*"}) };
    let deny = move |mut statement: Value| {
        statement["Effect"] = json!("Deny");
        if named {
            statement["Principal"] = json!("*");
        }
        statement
    };
    let level = prop::option::weighted(0.2, statement(named).prop_map(deny))
        .prop_map(move |deny| vec![std::iter::once(full.clone()).chain(deny).collect()]);
    prop::collection::vec(level, 0..3)
}

fn world() -> impl Strategy<Value = World> {
    let request = (0..6_usize, select(ACTIONS.to_vec()), select(RESOURCES.to_vec()), "(blue|red|team|\\*|)");
    let lists = (
        documents(false, 2),
        prop::option::weighted(0.3, prop::collection::vec(statement(false), 1..4)),
        prop::option::weighted(0.3, documents(false, 2)),
        levels(false),
        levels(true),
        documents(true, 2),
    );
    (request, lists).prop_map(
        |((caller, action, resource, tag), (identity, boundary, session, scp, rcp, resource_policies))| World {
            caller,
            action,
            resource,
            tag,
            identity,
            boundary,
            session,
            scp,
            rcp,
            resource_policies,
        },
    )
}

fn document(kind: Kind, statements: &[Value]) -> Document {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    Document::parse(kind, &text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn attach(documents: &[Document]) -> Vec<Attached<'_>> {
    documents.iter().map(|document| Attached { id: "p", document }).collect()
}

fn decide(world: &World) -> Outcome {
    let list = |kind, list: &[Vec<Value>]| list.iter().map(|s| document(kind, s)).collect::<Vec<_>>();
    let identity = list(Kind::Identity, &world.identity);
    let boundary: Vec<_> = world.boundary.iter().map(|s| document(Kind::Boundary, s)).collect();
    let session = world.session.as_ref().map(|s| list(Kind::Session, s));
    let scp: Vec<_> = world.scp.iter().map(|l| list(Kind::ServiceControl, l)).collect();
    let rcp: Vec<_> = world.rcp.iter().map(|l| list(Kind::ResourceControl, l)).collect();
    let resource = list(Kind::Resource, &world.resource_policies);
    let session = session.as_deref().map(attach);
    let policies = Policies {
        identity: &attach(&identity),
        boundary: attach(&boundary).first().copied(),
        session: session.as_deref(),
        scp: &scp.iter().map(|l| attach(l)).collect::<Vec<_>>(),
        rcp: &rcp.iter().map(|l| attach(l)).collect::<Vec<_>>(),
        resource: &attach(&resource),
    };
    let mut context = Context::new();
    if !world.tag.is_empty() {
        context.set("aws:PrincipalTag/team", world.tag.as_str());
    }
    let request = Request {
        caller: caller(world.caller),
        action: world.action,
        resource: world.resource,
        resource_account: AccountId::parse("111122223333").unwrap(),
        context: &context,
    };
    evaluate(&request, &policies).outcome()
}

/// Whether some document of the world looks at the context.
fn reads_context(world: &World) -> bool {
    let flat = |lists: &[Vec<Vec<Value>>]| lists.concat();
    let session = world.session.clone().unwrap_or_default();
    let lists = [
        (Kind::Identity, world.identity.clone()),
        (Kind::Boundary, world.boundary.iter().cloned().collect()),
        (Kind::Session, session),
        (Kind::ServiceControl, flat(&world.scp)),
        (Kind::ResourceControl, flat(&world.rcp)),
        (Kind::Resource, world.resource_policies.clone()),
    ];
    lists.iter().any(|(kind, list)| list.iter().any(|statements| document(*kind, statements).reads_context()))
}

/// The same world with everything whose order or case does not count turned round.
fn turned(world: &World) -> World {
    let mut turned = world.clone();
    let lists = [&mut turned.identity, &mut turned.resource_policies];
    for list in lists.into_iter().chain(&mut turned.session).chain(&mut turned.scp).chain(&mut turned.rcp) {
        list.reverse();
        for statements in list.iter_mut() {
            turn(statements);
        }
    }
    turned.boundary.iter_mut().for_each(|statements| turn(statements));
    turned
}

fn turn(statements: &mut [Value]) {
    statements.reverse();
    for statement in statements {
        for element in ["Action", "NotAction"] {
            if let Some(Value::Array(actions)) = statement.get_mut(element) {
                actions.push(json!("LAMBDA:none"));
                actions.reverse();
                actions.iter_mut().for_each(|a| *a = json!(a.as_str().unwrap().to_ascii_uppercase()));
            }
        }
        if let Some(Value::Array(principals)) = statement.get_mut("Principal").and_then(|p| p.get_mut("AWS")) {
            principals.reverse();
        }
    }
}

#[test]
fn the_generated_worlds_are_not_all_alike() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sample = |_| decide(&world().new_tree(&mut runner).unwrap().current());
    let outcomes: Vec<Outcome> = (0..1_000).map(sample).collect();
    for outcome in [Outcome::Allow, Outcome::ExplicitDeny, Outcome::ImplicitDeny] {
        let count = outcomes.iter().filter(|o| **o == outcome).count();
        assert!(count >= 100, "{count} of 1,000 worlds give {outcome:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_further_deny_never_allows(world in world(), deny in statement(true), place in 0..4_usize) {
        let before = decide(&world);
        let mut after = world;
        let mut deny = deny;
        deny["Effect"] = json!("Deny");
        if place != 0 {
            deny.as_object_mut().unwrap().remove("Principal");
        }
        match place {
            0 => after.resource_policies.push(vec![deny]),
            1 => after.identity.push(vec![deny]),
            2 => after.boundary.get_or_insert_default().push(deny),
            _ => after.session.get_or_insert_default().push(vec![deny]),
        }
        // A session policy is what a federated user needs at all, but one that only denies gives nothing.
        prop_assert!(before == Outcome::Allow || decide(&after) != Outcome::Allow);
        prop_assert!(before != Outcome::ExplicitDeny || decide(&after) == Outcome::ExplicitDeny);
    }

    #[test]
    fn a_further_identity_allow_never_takes_away(world in world(), allow in statement(false)) {
        let before = decide(&world);
        let mut after = world;
        let mut allow = allow;
        allow["Effect"] = json!("Allow");
        after.identity.push(vec![allow]);
        prop_assert!(before != Outcome::Allow || decide(&after) == Outcome::Allow);
        prop_assert!(before == Outcome::ExplicitDeny || decide(&after) != Outcome::ExplicitDeny);
    }

    #[test]
    fn without_its_session_policy_a_session_can_do_no_less_unless_federated(world in world()) {
        prop_assume!(!matches!(caller(world.caller), Caller::FederatedUser { .. }));
        let mut after = world.clone();
        after.session = None;
        prop_assert!(decide(&world) != Outcome::Allow || decide(&after) == Outcome::Allow);
    }

    #[test]
    fn a_boundary_or_a_level_of_the_organization_never_gives(
        world in world(), bound in prop::collection::vec(statement(false), 1..4)
    ) {
        let before = decide(&world);
        let mut bounded = world.clone();
        if bounded.boundary.is_none() {
            bounded.boundary = Some(bound.clone());
        }
        let mut governed = world;
        governed.scp.push(vec![bound]);
        prop_assert!(before == Outcome::Allow || decide(&bounded) != Outcome::Allow);
        prop_assert!(before == Outcome::Allow || decide(&governed) != Outcome::Allow);
    }

    #[test]
    fn a_context_that_no_document_reads_decides_nothing(world in world()) {
        let without = World { tag: String::new(), ..world.clone() };
        prop_assert!(reads_context(&world) || decide(&world) == decide(&without));
    }

    #[test]
    fn order_and_case_do_not_count(world in world()) {
        let mut request = turned(&world);
        prop_assert_eq!(decide(&world), decide(&request));
        request.action = match world.action {
            "ecr:BatchGetImage" => "ECR:batchgetimage",
            "ecr:PutImage" => "Ecr:PUTIMAGE",
            _ => "eCR:getauthorizationtoken",
        };
        prop_assert_eq!(decide(&world), decide(&request));
    }

    #[test]
    fn the_value_of_a_variable_is_never_a_pattern(value in "[a*?${}:/]{1,8}", name in "[a*?${}:/]{1,8}") {
        let arn = |name: &str| format!("arn:aws:ecr:us-east-1:111122223333:repository/{name}");
        let statement = |element: Value| document(Kind::Identity, &[element]);
        let by_resource = statement(json!({"Effect": "Allow", "Action": "*", "Resource": arn("${aws:username}")}));
        let like = json!({"StringLike": {"ecr:name": "${aws:username}"}});
        let by_condition = statement(json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": like}));
        let mut context = Context::new();
        context.set("aws:username", value.as_str()).set("ecr:name", name.as_str());
        for policy in [by_resource, by_condition] {
            let resource = arn(&name);
            let resource_account = AccountId::parse("111122223333").unwrap();
            let request = Request { caller: caller(0), action: "ecr:PutImage", resource: &resource, resource_account, context: &context };
            let attached = [Attached { id: "p", document: &policy }];
            let allowed = evaluate(&request, &Policies { identity: &attached, ..Policies::default() }).is_allowed();
            prop_assert_eq!(allowed, value == name);
        }
    }

    #[test]
    fn no_text_makes_the_parser_or_a_pattern_panic(text in "\\PC{0,64}", json in "[\\[\\]{}\",:a0-9\\\\u ]{0,64}") {
        for kind in [Kind::Identity, Kind::Resource, Kind::Trust] {
            prop_assert!(Document::parse(kind, &text).is_err());
            prop_assert!(Document::parse(kind, &json).is_err());
        }
        let _ = Pattern::new(&text).matches(&json);
    }
}
