//! Operators, one by one and with their prefixes and suffixes.

use super::{Condition, Operator};
use crate::authz::context::{Context, fold};

fn context() -> Context {
    let mut context = Context::new();
    context
        .set("t", "Blue*")
        .set("n", "3600")
        .set("d", "2026-05-01T12:00:00Z")
        .set("b", "True")
        .set("ip", "203.0.113.7")
        .set("arn", "arn:aws:ecr:us-east-1:444455556666:repository/a/b")
        .set("bytes", "AAEC")
        .set("empty", "")
        .set("street", "straße")
        .set_many("many", ["env", "owner"])
        .set_many("one", ["env"])
        .set_many("none", [] as [&str; 0]);
    context
}

fn holds(operator: &str, key: &str, values: &[&str]) -> bool {
    let operator = Operator::parse(operator).unwrap_or_else(|| panic!("{operator}"));
    let operands = values.iter().map(|v| operator.operand(v, true).unwrap()).collect();
    Condition { operator, key: fold(key), operands }.holds(&context())
}

#[test]
fn operators_compare_in_their_own_type() {
    let table: &[(&str, &str, &[&str], bool)] = &[
        ("StringEquals", "t", &["red", "Blue*"], true),
        ("stringequals", "T", &["blue*"], false),
        ("StringEquals", "t", &["B*"], false),
        ("StringNotEquals", "t", &["red", "green"], true),
        ("StringNotEquals", "t", &["red", "Blue*"], false),
        ("StringEqualsIgnoreCase", "t", &["BLUE*"], true),
        ("StringEqualsIgnoreCase", "t", &["BLUEX"], false),
        ("StringEqualsIgnoreCase", "street", &["STRASSE"], false),
        ("StringNotEqualsIgnoreCase", "t", &["BLUE*"], false),
        ("StringLike", "t", &["bl*"], false),
        ("StringLike", "t", &["Bl?e*"], true),
        ("StringLike", "t", &["${t}"], true),
        ("StringNotLike", "t", &["Bl*"], false),
        ("StringEquals", "t", &["${missing}"], false),
        ("StringNotEquals", "t", &["${missing}"], true),
        ("StringEquals", "empty", &[""], true),
        ("NumericEquals", "n", &["3600.0"], true),
        ("NumericNotEquals", "n", &["3600"], false),
        ("NumericLessThan", "n", &["3600"], false),
        ("NumericLessThanEquals", "n", &["3600"], true),
        ("NumericGreaterThan", "n", &["3599.999"], true),
        ("NumericGreaterThanEquals", "n", &["3601"], false),
        ("NumericLessThan", "t", &["3600"], false),
        ("NumericNotEquals", "t", &["3600"], true),
        ("DateEquals", "d", &["1777636800"], true),
        ("DateNotEquals", "d", &["1777636800"], false),
        ("DateLessThan", "d", &["2026-05-01T14:00:01+02:00"], true),
        ("DateGreaterThan", "n", &["1970"], true),
        ("DateGreaterThanEquals", "d", &["2027"], false),
        ("Bool", "b", &["true"], true),
        ("Bool", "b", &["FALSE"], false),
        ("Bool", "t", &["false"], false),
        ("BinaryEquals", "bytes", &["AAEC"], true),
        ("BinaryEquals", "bytes", &["AAED"], false),
        ("IpAddress", "ip", &["10.0.0.0/8", "203.0.113.0/24"], true),
        ("NotIpAddress", "ip", &["203.0.113.0/24"], false),
        ("NotIpAddress", "t", &["203.0.113.0/24"], true),
        ("ArnEquals", "arn", &["arn:aws:ecr:*:444455556666:repository/*"], true),
        ("ArnLike", "arn", &["arn:aws:*:444455556666:repository/a:*"], false),
        ("ArnNotLike", "arn", &["arn:aws:ecr:*:*:repository/a/*"], false),
        ("ArnLike", "t", &["arn:*:*:*:*:*"], false),
    ];
    for (operator, key, values, expected) in table {
        assert_eq!(holds(operator, key, values), *expected, "{operator} {key} {values:?}");
    }
}

#[test]
fn a_missing_key_is_false_for_positive_and_true_for_negated_and_optional_operators() {
    let table = [
        ("StringEquals", "x", false),
        ("StringNotEquals", "x", true),
        ("StringNotLike", "x", true),
        ("NotIpAddress", "10.0.0.0/8", true),
        ("ArnNotEquals", "arn:aws:iam::1:role/x", true),
        ("NumericNotEquals", "1", true),
        ("NumericLessThan", "1", false),
        ("Bool", "false", false),
        ("BoolIfExists", "false", true),
        ("StringEqualsIfExists", "x", true),
        ("StringNotEqualsIfExists", "x", true),
        ("ForAllValues:StringEquals", "x", true),
        ("ForAnyValue:StringEquals", "x", false),
        ("ForAnyValue:StringNotEquals", "x", false),
        ("ForAnyValue:StringEqualsIfExists", "x", true),
        ("Null", "true", true),
        ("Null", "false", false),
    ];
    for (operator, value, expected) in table {
        assert_eq!(holds(operator, "missing", &[value]), expected, "{operator}");
    }
    assert!(holds("Null", "t", &["false"]));
    assert!(!holds("Null", "t", &["true"]));
    assert!(!holds("StringEqualsIfExists", "t", &["red"]));
}

#[test]
fn set_operators_look_at_each_value_and_others_refuse_several() {
    let table: &[(&str, &str, &[&str], bool)] = &[
        ("ForAllValues:StringEquals", "many", &["env", "team"], false),
        ("ForAllValues:StringEquals", "many", &["env", "owner", "team"], true),
        ("ForAllValues:StringNotEquals", "many", &["root"], true),
        ("ForAllValues:StringNotEquals", "many", &["env"], false),
        ("ForAnyValue:StringEquals", "many", &["owner"], true),
        ("ForAnyValue:StringEquals", "many", &["team"], false),
        ("ForAnyValue:StringNotEquals", "many", &["env"], true),
        ("ForAnyValue:StringNotEquals", "one", &["env"], false),
        ("forallvalues:stringlike", "many", &["*n*"], true),
        ("ForAllValues:StringEquals", "none", &["env"], true),
        ("ForAllValues:StringEquals", "empty", &["env"], true),
        ("ForAnyValue:StringEquals", "none", &["env"], false),
        ("ForAnyValue:StringEqualsIfExists", "none", &["env"], false),
        ("ForAllValues:StringEquals", "t", &["red"], false),
        ("ForAnyValue:StringEquals", "t", &["Blue*"], true),
        ("StringEquals", "one", &["env"], false),
        ("StringNotEquals", "one", &["x"], false),
        ("StringEqualsIfExists", "many", &["env"], false),
    ];
    for (operator, key, values, expected) in table {
        assert_eq!(holds(operator, key, values), *expected, "{operator} {key} {values:?}");
    }
}

#[test]
fn unknown_operators_and_values_of_another_type_are_refused() {
    for bad in [
        "StringMatches",
        "NullIfExists",
        "ForSomeValues:StringEquals",
        "ForAllValues:",
        "",
        "BoolNot",
        "StringEqualsIfExistsIfExists",
    ] {
        assert!(Operator::parse(bad).is_none(), "{bad}");
    }
    let table = [
        ("NumericEquals", "1e3"),
        ("NumericEquals", "${aws:x}"),
        ("DateEquals", "soon"),
        ("Bool", "yes"),
        ("Bool", "${aws:x}"),
        ("Null", "${aws:x}"),
        ("BinaryEquals", "?"),
        ("IpAddress", "10.0.0.0/40"),
        ("IpAddress", "10.*"),
        ("ArnLike", "repository/*"),
        ("ArnLike", "*"),
        ("StringLike", "${"),
    ];
    for (operator, value) in table {
        assert!(Operator::parse(operator).unwrap().operand(value, true).is_err(), "{operator} {value}");
    }
}
