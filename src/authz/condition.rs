//! Condition operators: how the values of a policy are compared with those of a request.
//!
//! Total at run time: whatever the request holds, a condition is true or false. What a policy may say is checked when
//! it is parsed. SPEC: IAM JSON policy elements, "Condition operators" and "Multivalued context keys".

use super::arn::ArnPattern;
use super::context::{Context, Value};
use super::operand::{Decimal, Moment, Network};
use super::template::{Syntax, Template};
use base64::Engine as _;

/// One operator applied to one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    pub(super) operator: Operator,
    /// The condition key, folded.
    pub(super) key: String,
    pub(super) operands: Vec<Operand>,
}

/// An operator with its set prefix and suffix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Operator {
    set: Option<Quantifier>,
    test: Test,
    comparison: Comparison,
    negated: bool,
    if_exists: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

/// The type in which values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Test {
    Text,
    TextIgnoreCase,
    TextLike,
    Numeric,
    Date,
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

/// The request's value stands on the left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A policy's value, compiled for its operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Text(Template),
    TextIgnoreCase(Template),
    Numeric(Decimal),
    Date(Moment),
    Bool(bool),
    Binary(Vec<u8>),
    Ip(Network),
    Arn(ArnPattern),
    /// Of no use to its operator, hence equal to nothing.
    Never,
}

impl Condition {
    /// Whether the request's context satisfies this condition.
    pub(super) fn holds(&self, context: &Context) -> bool {
        let Operator { set, test, negated, if_exists, .. } = self.operator;
        let value = context.folded(&self.key);
        if test == Test::Null {
            return self.operands.contains(&Operand::Bool(value.is_none()));
        }
        match (set, value) {
            (None, None) => if_exists || negated,
            (None, Some(Value::One(text))) => self.satisfied_by(text, context),
            // A multivalued key without a set operator has no single value to compare.
            (None, Some(Value::Many(_))) => false,
            (Some(Quantifier::ForAllValues), None) => true,
            (Some(Quantifier::ForAllValues), Some(value)) => {
                let texts = texts(value);
                texts.iter().all(String::is_empty) || texts.iter().all(|text| self.satisfied_by(text, context))
            }
            (Some(Quantifier::ForAnyValue), None) => if_exists,
            (Some(Quantifier::ForAnyValue), Some(value)) => {
                texts(value).iter().any(|text| self.satisfied_by(text, context))
            }
        }
    }

    /// One of the policy's values for a positive operator, none of them for a negated one.
    fn satisfied_by(&self, text: &str, context: &Context) -> bool {
        let comparison = self.operator.comparison;
        self.operands.iter().any(|operand| operand.equals(comparison, text, context)) != self.operator.negated
    }
}

impl Operator {
    /// Reads an operator's name, in any case; `None` when there is no such operator.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (set, name) = match name.split_once(':') {
            Some(("forallvalues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("foranyvalue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            Some(_) => return None,
            None => (None, name.as_str()),
        };
        let (name, if_exists) = name.strip_suffix("ifexists").map_or((name, false), |rest| (rest, true));
        let (test, comparison, negated) = base(name)?;
        (test != Test::Null || !if_exists).then_some(Self { set, test, comparison, negated, if_exists })
    }

    /// Compiles a policy's value; the error says what the operator accepts.
    pub(super) fn operand(self, text: &str, variables: bool) -> Result<Operand, &'static str> {
        let syntax = Syntax { wildcards: self.test == Test::TextLike, variables };
        match self.test {
            Test::Text | Test::TextLike => Template::parse(text, syntax).map(Operand::Text),
            Test::TextIgnoreCase => Template::parse(text, syntax).map(Operand::TextIgnoreCase),
            Test::Numeric => Decimal::parse(text).map(Operand::Numeric).ok_or("a decimal number such as 3600 or -0.5"),
            Test::Date => Moment::parse(text)
                .map(Operand::Date)
                .ok_or("a date such as 2026-05-01, 2026-05-01T12:00:00Z or seconds since 1970"),
            Test::Bool | Test::Null => truth(text).map(Operand::Bool).ok_or("true or false"),
            Test::Binary => bytes(text).map(Operand::Binary).ok_or("standard base64 with padding"),
            Test::Ip => Network::parse(text)
                .map(Operand::Ip)
                .ok_or("an IPv4 or IPv6 address or network such as 203.0.113.0/24 or 2001:db8::/32"),
            Test::Arn => ArnPattern::condition(text, variables).map(Operand::Arn),
        }
    }
}

impl Operand {
    /// Whether the request's value compares so with this one; a value of another type does not.
    fn equals(&self, comparison: Comparison, text: &str, context: &Context) -> bool {
        match self {
            Self::Text(template) => template.matches(text, context),
            Self::TextIgnoreCase(template) => template.matches_folded(text, context, simple_lower),
            Self::Numeric(limit) => Decimal::parse(text).is_some_and(|value| comparison.holds(&value, limit)),
            Self::Date(limit) => Moment::parse(text).is_some_and(|value| comparison.holds(&value, limit)),
            Self::Bool(wanted) => truth(text) == Some(*wanted),
            Self::Binary(wanted) => bytes(text).is_some_and(|value| value == *wanted),
            Self::Ip(network) => text.parse().is_ok_and(|address| network.contains(address)),
            Self::Arn(pattern) => pattern.matches(text, context),
            Self::Never => false,
        }
    }

    /// The condition keys that the value's variables name, folded.
    pub(super) fn keys(&self) -> Vec<String> {
        match self {
            Self::Text(template) | Self::TextIgnoreCase(template) => template.keys().map(str::to_owned).collect(),
            Self::Arn(pattern) => pattern.keys().map(str::to_owned).collect(),
            Self::Numeric(_) | Self::Date(_) | Self::Bool(_) | Self::Binary(_) | Self::Ip(_) | Self::Never => {
                Vec::new()
            }
        }
    }
}

impl Comparison {
    fn holds<T: Ord>(self, value: &T, limit: &T) -> bool {
        match self {
            Self::Equal => value == limit,
            Self::Less => value < limit,
            Self::LessOrEqual => value <= limit,
            Self::Greater => value > limit,
            Self::GreaterOrEqual => value >= limit,
        }
    }
}

/// The table of operators: name in lower case, test, comparison, negation.
fn base(name: &str) -> Option<(Test, Comparison, bool)> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    Some(match name {
        "stringequals" => (Test::Text, Equal, false),
        "stringnotequals" => (Test::Text, Equal, true),
        "stringequalsignorecase" => (Test::TextIgnoreCase, Equal, false),
        "stringnotequalsignorecase" => (Test::TextIgnoreCase, Equal, true),
        "stringlike" => (Test::TextLike, Equal, false),
        "stringnotlike" => (Test::TextLike, Equal, true),
        "numericequals" => (Test::Numeric, Equal, false),
        "numericnotequals" => (Test::Numeric, Equal, true),
        "numericlessthan" => (Test::Numeric, Less, false),
        "numericlessthanequals" => (Test::Numeric, LessOrEqual, false),
        "numericgreaterthan" => (Test::Numeric, Greater, false),
        "numericgreaterthanequals" => (Test::Numeric, GreaterOrEqual, false),
        "dateequals" => (Test::Date, Equal, false),
        "datenotequals" => (Test::Date, Equal, true),
        "datelessthan" => (Test::Date, Less, false),
        "datelessthanequals" => (Test::Date, LessOrEqual, false),
        "dategreaterthan" => (Test::Date, Greater, false),
        "dategreaterthanequals" => (Test::Date, GreaterOrEqual, false),
        "bool" => (Test::Bool, Equal, false),
        "binaryequals" => (Test::Binary, Equal, false),
        "ipaddress" => (Test::Ip, Equal, false),
        "notipaddress" => (Test::Ip, Equal, true),
        "arnequals" | "arnlike" => (Test::Arn, Equal, false),
        "arnnotequals" | "arnnotlike" => (Test::Arn, Equal, true),
        "null" => (Test::Null, Equal, false),
        _ => return None,
    })
}

fn texts(value: &Value) -> &[String] {
    match value {
        Value::One(text) => std::slice::from_ref(text),
        Value::Many(texts) => texts,
    }
}

fn truth(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Unicode's simple lower-case mapping, one character to one: neither folding nor normalisation.
fn simple_lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
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
}
