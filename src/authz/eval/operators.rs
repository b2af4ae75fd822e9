//! Every condition operator, written into a policy and evaluated: alone, with `IfExists`, under both set operators, on
//! a missing key, in an `Allow` and in a `Deny`.
//!
//! SPEC: IAM JSON policy elements, "Condition operators", "Multivalued context keys".

use super::{Attached, Caller, Outcome, Policies, Request, evaluate};
use crate::authz::context::Context;
use crate::authz::policy::{Document, Kind};
use crate::names::AccountId;
use serde_json::json;

/// An operator, whether it is negated, a request's value, and a policy's values that make it true and false.
type Row = (&'static str, bool, &'static str, &'static [&'static str], &'static [&'static str]);

const ROWS: &[Row] = &[
    ("StringEquals", false, "v1.*", &["x", "v1.*"], &["v1.0", "V1.*"]),
    ("StringNotEquals", true, "v1", &["V1", "v2"], &["v2", "v1"]),
    ("StringEqualsIgnoreCase", false, "Ünder", &["üNDER"], &["under"]),
    ("StringNotEqualsIgnoreCase", true, "straße", &["STRASSE"], &["STRAßE"]),
    ("StringLike", false, "team/app", &["t*?p"], &["T*", "team", "team/ap?p"]),
    ("StringNotLike", true, "team/app", &["blue/*"], &["*/app"]),
    ("NumericEquals", false, "10.50", &["10.5"], &["10.500000000000000000001"]),
    ("NumericNotEquals", true, "9007199254740993", &["9007199254740992"], &["9007199254740993.0"]),
    ("NumericLessThan", false, "-2", &["-1.5"], &["-2", "-3"]),
    ("NumericLessThanEquals", false, "5", &["5.0"], &["4.99"]),
    ("NumericGreaterThan", false, "10", &["9"], &["10", "11"]),
    ("NumericGreaterThanEquals", false, "10", &["10"], &["10.01"]),
    ("DateEquals", false, "2026-05-01T12:00:00Z", &["1777636800"], &["2026-05-01"]),
    ("DateNotEquals", true, "1777636800", &["2026"], &["2026-05-01T14:00:00+02:00"]),
    ("DateLessThan", false, "2026-05-01T11:59:59.999Z", &["2026-05-01T12:00Z"], &["2026-05-01T11:59:59.999Z"]),
    ("DateLessThanEquals", false, "2026-05", &["2026-05-01T00:00:00Z"], &["2026-04-30T23:59:59Z"]),
    ("DateGreaterThan", false, "2026-05-01", &["2026"], &["2026-05-01T00:00:00-00:30"]),
    ("DateGreaterThanEquals", false, "1777636800", &["2026-05-01T12:00:00Z"], &["1777636801"]),
    ("Bool", false, "TRUE", &["true"], &["false"]),
    ("BinaryEquals", false, "AAEC", &["AAEC"], &["AAED"]),
    ("IpAddress", false, "2001:db8:0::1", &["10.0.0.0/8", "2001:DB8::/32"], &["0.0.0.0/0", "2001:db8::2"]),
    ("NotIpAddress", true, "203.0.113.7", &["203.0.113.8", "::/0"], &["203.0.112.0/22"]),
    (
        "ArnEquals",
        false,
        "arn:aws:ecr:r:1:repository/a/b",
        &["arn:*:ecr:*:1:repository/*"],
        &["arn:aws:*:repository/*:*:*:*"],
    ),
    ("ArnLike", false, "arn:aws:iam::1:role/p/ci", &["arn:aws:iam::1:role/*/c?"], &["arn:aws:iam::1:role/P/*"]),
    ("ArnNotEquals", true, "arn:aws:iam::1:user/a", &["arn:aws:iam::*:role/*"], &["arn:aws:iam::*:user/*"]),
    ("ArnNotLike", true, "arn:aws:iam::1:user/a", &["arn:aws:iam::12:user/a"], &["arn:aws:iam::?:user/a"]),
];

const KEY: &str = "test:Key/Name";

/// Whether a condition holds, from four policies: an `Allow` and a `Deny` with it, each in both cases of its words.
fn holds(operator: &str, values: &[&str], context: &Context) -> bool {
    let answers = [operator.to_owned(), operator.to_uppercase()].map(|operator| {
        let condition = json!({operator: {KEY.to_uppercase(): values}});
        (decide("Allow", &condition, context), decide("Deny", &condition, context))
    });
    assert_eq!(answers[0], answers[1], "{operator}: its case does not count");
    match answers[0] {
        (Outcome::Allow, Outcome::ExplicitDeny) => true,
        (Outcome::ImplicitDeny, Outcome::Allow) => false,
        other => panic!("{operator} {values:?}: Allow and Deny disagree: {other:?}"),
    }
}

/// The answer where one statement has the condition; a `Deny` stands beside an `Allow` without one.
fn decide(effect: &str, condition: &serde_json::Value, context: &Context) -> Outcome {
    let mut statements = vec![json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition})];
    if effect == "Deny" {
        statements.push(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
    }
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let document = Document::parse(Kind::Identity, &text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let account = AccountId::parse("111122223333").unwrap();
    let caller = Caller::User { account, arn: "arn:aws:iam::111122223333:user/alice", unique_id: "AIDA1" };
    let request = Request { caller, action: "ecr:PutImage", resource: "*", resource_account: account, context };
    let attached = [Attached { id: "p", document: &document }];
    evaluate(&request, &Policies { identity: &attached, ..Policies::default() }).outcome()
}

fn one(value: &str) -> Context {
    let mut context = Context::new();
    context.set(KEY, value);
    context
}

fn many(values: &[&str]) -> Context {
    let mut context = Context::new();
    context.set_many(KEY, values.iter().copied());
    context
}

#[test]
fn alone_it_compares_one_value_and_takes_its_side_without_one() {
    for (operator, negated, value, yes, no) in ROWS {
        assert!(holds(operator, yes, &one(value)), "{operator} {yes:?} on {value}");
        assert!(!holds(operator, no, &one(value)), "{operator} {no:?} on {value}");
        assert_eq!(holds(operator, yes, &Context::new()), *negated, "{operator} without the key");
        assert!(!holds(operator, yes, &many(&[value])), "{operator} on a key of several values");
    }
}

#[test]
fn if_exists_only_excuses_a_missing_key() {
    for (operator, _, value, yes, no) in ROWS {
        let operator = format!("{operator}IfExists");
        assert!(holds(&operator, yes, &one(value)), "{operator} {yes:?} on {value}");
        assert!(!holds(&operator, no, &one(value)), "{operator} {no:?} on {value}");
        assert!(holds(&operator, no, &Context::new()), "{operator} without the key");
        assert!(!holds(&operator, yes, &many(&[value])), "{operator} on a key of several values");
    }
}

#[test]
fn set_operators_ask_each_value_by_itself() {
    for (operator, _, value, yes, no) in ROWS {
        let (any, all) = (format!("ForAnyValue:{operator}"), format!("ForAllValues:{operator}"));
        for context in [one(value), many(&[value]), many(&[value, value])] {
            assert!(holds(&any, yes, &context) && holds(&all, yes, &context), "{operator} {yes:?} on {value}");
            assert!(!holds(&any, no, &context) && !holds(&all, no, &context), "{operator} {no:?} on {value}");
        }
        for context in [Context::new(), many(&[])] {
            assert!(!holds(&any, yes, &context), "{any} of nothing");
            assert!(holds(&all, no, &context), "{all} of nothing");
        }
        assert!(holds(&all, no, &one("")), "{all}: an empty value is nothing");
        assert!(holds(&format!("{any}IfExists"), no, &Context::new()), "{any}IfExists without the key");
        assert!(holds(&format!("{all}IfExists"), no, &Context::new()), "{all}IfExists without the key");
    }
    let two = many(&["env", "owner"]);
    for (operator, values, expected) in [
        ("ForAllValues:StringEquals", &["env"][..], false),
        ("ForAnyValue:StringEquals", &["env"], true),
        ("ForAllValues:StringNotEquals", &["env"], false),
        ("ForAnyValue:StringNotEquals", &["env"], true),
        ("ForAnyValue:StringNotEquals", &["env", "owner"], false),
    ] {
        assert_eq!(holds(operator, values, &two), expected, "{operator} {values:?}");
    }
}

#[test]
fn null_asks_whether_there_is_a_key() {
    for (values, with, without) in [
        (&["true"][..], false, true),
        (&["false"], true, false),
        (&["True"], false, true),
        (&["true", "false"], true, true),
    ] {
        for context in [one("x"), one(""), many(&["x"]), many(&[])] {
            assert_eq!(holds("Null", values, &context), with, "{values:?} with the key");
        }
        assert_eq!(holds("Null", values, &Context::new()), without, "{values:?} without the key");
    }
}

#[test]
fn a_value_of_another_type_equals_nothing() {
    for (operator, negated, _, yes, _) in ROWS {
        if !operator.starts_with("String") && !operator.starts_with("Arn") {
            assert_eq!(holds(operator, yes, &one("neither")), *negated, "{operator}");
        }
    }
    assert!(!holds("ArnLike", &["arn:*:*:*:*:*"], &one("neither")));
}

#[test]
fn numbers_and_booleans_may_stand_without_quotes() {
    for (condition, value) in [
        (json!({"NumericLessThanEquals": {KEY: 3600}}), "3600"),
        (json!({"NumericEquals": {KEY: [1.50, -2]}}), "-2.0"),
        (json!({"StringEquals": {KEY: 1.50}}), "1.5"),
        (json!({"Bool": {KEY: true}}), "true"),
        (json!({"StringEquals": {KEY: false}}), "false"),
        (json!({"Null": {KEY: false}}), "x"),
    ] {
        assert_eq!(decide("Allow", &condition, &one(value)), Outcome::Allow, "{condition} on {value}");
    }
}

#[test]
fn a_block_is_and_over_operators_and_keys_and_or_over_values() {
    let mut context = one("a");
    context.set("test:Other", "b");
    let table = [
        (json!({}), true),
        (json!({"StringEquals": {KEY: ["x", "a"], "test:Other": "b"}}), true),
        (json!({"StringEquals": {KEY: "a", "test:Other": "x"}}), false),
        (json!({"StringEquals": {KEY: "a"}, "StringNotEquals": {"test:Other": ["x", "b"]}}), false),
        (json!({"StringEquals": {KEY: "a"}, "StringEqualsIfExists": {"test:None": "x"}}), true),
        (json!({"StringEquals": {KEY: "x"}, "StringEqualsIfExists": {"test:None": "x"}}), false),
    ];
    for (condition, expected) in table {
        assert_eq!(decide("Allow", &condition, &context) == Outcome::Allow, expected, "{condition}");
    }
}
