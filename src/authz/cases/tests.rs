//! The cases of the vectors, as they are and in every order and case that must not count.

use super::{Documents, json, resource_kind, run};
use serde_json::Value;

const CASES: &str = include_str!("../../../tests/vectors/policy-cases.json");

fn assert_all_pass(cases: &Value, how: &str) {
    let report = run(&cases.to_string()).unwrap();
    assert_eq!(report.failures, [], "{how}; run `transship policy test` on the file for the sentences");
    assert_eq!(report.passed, 105, "{how}");
}

/// Applies a change to the document and everything in it, from the inside out.
fn everywhere(value: &mut Value, change: &impl Fn(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| everywhere(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| everywhere(member, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    change(value);
}

/// Applies a change to the policies of every case, and to lists in its context.
fn changed(change: impl Fn(&mut Value)) -> Value {
    let mut cases: Value = serde_json::from_str(CASES).unwrap();
    for case in cases["cases"].as_array_mut().unwrap() {
        everywhere(&mut case["policies"], &change);
        everywhere(&mut case["request"]["context"], &change);
    }
    cases
}

fn reverse_lists(value: &mut Value) {
    if let Value::Array(items) = value {
        items.reverse();
    }
}

fn reverse_members(value: &mut Value) {
    if let Value::Object(members) = value {
        *members = std::mem::take(members).into_iter().rev().collect();
    }
}

/// What may be one value or a list of one becomes the other.
fn swap_list_and_value(value: &mut Value) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        if ["Statement", "Action", "NotAction", "Resource", "NotResource"].contains(&name.as_str()) {
            match member {
                Value::Array(items) if items.len() == 1 => *member = items.remove(0),
                Value::Array(_) => {}
                _ => *member = Value::Array(vec![member.take()]),
            }
        }
    }
}

fn turn_case(value: &mut Value) {
    let Value::Object(members) = value else { return };
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            ("Action" | "NotAction", actions) => everywhere(actions, &|action| {
                if let Value::String(text) = action {
                    *text = swapped_case(text);
                }
            }),
            ("Condition", Value::Object(operators)) => {
                let turned = std::mem::take(operators).into_iter().map(|(operator, keys)| {
                    let Value::Object(keys) = keys else { panic!("{operator} has no keys") };
                    let keys = keys.into_iter().map(|(key, values)| (swapped_case(&key), values));
                    (swapped_case(&operator), Value::Object(keys.collect()))
                });
                *operators = turned.collect();
            }
            _ => {}
        }
    }
}

fn swapped_case(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}

/// As [`turn_case`], but what a `"*"` is stays what it is, and the request's action is turned too.
fn turned_case() -> Value {
    let mut cases = changed(turn_case);
    for case in cases["cases"].as_array_mut().unwrap() {
        let action = swapped_case(case["request"]["action"].as_str().unwrap());
        case["request"]["action"] = Value::String(action);
    }
    cases
}

#[test]
fn every_case_of_the_vectors_is_answered_as_expected() {
    assert_all_pass(&serde_json::from_str(CASES).unwrap(), "as it is");
}

#[test]
fn neither_order_nor_case_nor_form_counts() {
    assert_all_pass(&changed(reverse_lists), "statements, policies, levels and values in the other order");
    assert_all_pass(&changed(reverse_members), "members in the other order");
    assert_all_pass(&changed(swap_list_and_value), "single values for lists and the reverse");
    assert_all_pass(&turned_case(), "actions, operators and condition keys in the other case");
}

#[test]
fn the_answer_says_which_case_it_is() {
    let mut cases: Value = serde_json::from_str(CASES).unwrap();
    for case in cases["cases"].as_array_mut().unwrap() {
        case["expect"] = Value::String("maybe".into());
    }
    let report = run(&cases.to_string()).unwrap();
    assert_eq!((report.passed, report.failures.len()), (0, 105));
    for failure in &report.failures {
        assert!(failure.got.is_some() && failure.explanation.len() > 40, "{failure:?}");
    }
}

#[test]
fn a_store_refuses_but_the_one_document_whose_case_says_so() {
    let root = json::read(CASES, super::FILE_BYTES_MAX).unwrap();
    let refusals = root.get("cases").unwrap().items().iter().flat_map(|case| {
        let action = case.get("request").unwrap().get("action").unwrap().text().unwrap();
        Documents::read(case.get("policies").unwrap(), resource_kind(action)).refusals
    });
    let refusals: Vec<String> = refusals.collect();
    let [refusal] = refusals.as_slice() else { panic!("{refusals:#?}") };
    assert!(refusal.contains("assumed-role/ci-deploy/*"), "{refusal}");
    let told = run(CASES).unwrap().refusals;
    assert_eq!(told, [("sess-rp-session-wildcard-not-expanded".to_owned(), refusal.clone())]);
}

/// A case of alice's whose policies are these.
fn case(expect: &str, policies: &str) -> String {
    format!(
        r#"{{"cases": [{{"name": "n", "expect": "{expect}",
        "request": {{"principal": "arn:aws:iam::111122223333:user/a", "principal_account": "111122223333",
            "action": "ecr:PutImage", "resource": "arn:aws:ecr:us-east-1:111122223333:repository/team/app",
            "resource_account": "111122223333", "context": {{"ecr:ImageTag": ["v1"], "my:key": "x"}}}},
        "policies": {policies}}}]}}"#
    )
}

#[test]
fn a_wrong_expectation_is_a_failure_that_explains_itself() {
    let policies = r#"{"identity": [{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "arn:x"}}]}"#;
    let report = run(&case("allow", policies)).unwrap();
    assert_eq!((report.passed, report.failures.len()), (0, 1));
    let explanation = &report.failures[0].explanation;
    assert!(explanation.contains("no identity-based policy allows the ecr:PutImage action"), "{explanation}");
    assert!(explanation.contains("a store refuses identity[0] (line 5, column"), "{explanation}");
}

#[test]
fn a_failure_says_which_statement_came_closest_and_what_it_lacked() {
    let statements = [
        r#"{"Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"}"#,
        r#"{"Effect": "Allow", "Action": "ecr:Put*", "Resource": "arn:aws:ecr:*:*:repository/blue/*"}"#,
        r#"{"Sid": "Tags", "Effect": "Allow", "Action": "ecr:Put*", "Resource": "*",
            "Condition": {"StringEquals": {"my:key": "x"}, "ForAllValues:StringLike": {"ecr:ImageTag": "dev-*"}}}"#,
        r#"{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}"#,
    ];
    let told = |list: &[&str]| {
        let policies = format!(r#"{{"identity": [{{"Statement": [{}]}}]}}"#, list.join(","));
        run(&case("allow", &policies)).unwrap().failures.remove(0).explanation
    };
    assert!(!told(&statements[..1]).contains("closest"), "nothing speaks of the action");
    let by_resource = told(&statements[..2]);
    assert!(
        by_resource.contains("identity[0]\", statement 2: it does not cover the resource arn:aws:ecr:us"),
        "{by_resource}"
    );
    let by_tag = told(&statements[..3]);
    let expected = "statement 3 (Tags): its condition ForAllValues:StringLike on ecr:imagetag does not hold: the request \
                    has the list [\"v1\"]";
    assert!(by_tag.contains(expected), "{by_tag}");
    let by_mfa = told(&statements[3..]);
    assert!(
        by_mfa.contains("Bool on aws:multifactorauthpresent does not hold: the request has no such key"),
        "{by_mfa}"
    );
}

#[test]
fn a_case_that_cannot_be_judged_fails_with_its_place_and_the_others_go_on() {
    for bad in ["", "{}", "[]", r#"{"cases": [{"name": "a", "name": "b"}]}"#] {
        assert!(run(bad).is_err(), "{bad}");
    }
    let good = case("implicit_deny", "{}");
    let report = run(&good.replace("{\"cases\": [", "{\"cases\": [{\"name\": \"half\"}, ")).unwrap();
    assert_eq!((report.passed, report.failures.len()), (1, 1));
    let failure = &report.failures[0];
    assert_eq!((failure.name.as_str(), failure.got), ("half", None));
    assert!(failure.explanation.contains("line 1, column 12: request is missing"), "{}", failure.explanation);
}

#[test]
fn the_examples_of_the_document_hold() {
    let text = include_str!("../../../docs/policies.md");
    let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let reports: Vec<_> = blocks.map(|(block, _)| run(block).unwrap()).collect();
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].passed, reports[0].failures.as_slice()), (4, &[][..]));
    assert_eq!(reports[0].refusals, []);
}
