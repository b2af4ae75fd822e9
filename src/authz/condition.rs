//! Condition operators: how the values of a policy are compared with those of a request.
//!
//! Total at run time: whatever the request holds, a condition is true or false. What a policy may say is checked when
//! it is parsed. SPEC: IAM JSON policy elements, "Condition operators" and "Multivalued context keys".

use super::arn::ArnPattern;
use super::context::{Context, Value};
use super::operand::{Decimal, Moment, Network};
use super::template::{Syntax, Template};
use base64::Engine as _;
use std::fmt;

#[cfg(test)]
mod tests;

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
    /// In lower case.
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

    /// Whether it fails for want of the key.
    pub(super) fn needs_key(&self) -> bool {
        let Operator { set, test, negated, if_exists, .. } = self.operator;
        let by_missing = match set {
            Some(Quantifier::ForAllValues) => true,
            Some(Quantifier::ForAnyValue) => if_exists,
            None => if_exists || negated,
        };
        if test == Test::Null { self.operands == [Operand::Bool(false)] } else { !by_missing }
    }

    /// Whether it holds only while the key is missing.
    pub(super) fn needs_absence(&self) -> bool {
        self.operator.test == Test::Null && self.operands == [Operand::Bool(true)]
    }

    /// Whether it looks at all values of a key, and at none if there are none.
    pub(super) fn is_for_all_values(&self) -> bool {
        self.operator.set == Some(Quantifier::ForAllValues)
    }

    /// Whether it can look at a key of several values at all.
    pub(super) fn takes_several(&self) -> bool {
        self.operator.set.is_some() || self.operator.test == Test::Null
    }

    /// The values of which the key must have one, as patterns of text; `None` for a condition of another kind.
    pub(super) fn one_of(&self) -> Option<Vec<&Template>> {
        let strict = self.needs_key() && !self.operator.negated && self.operator.test != Test::Null;
        let texts = self.operands.iter().map(|operand| match operand {
            Operand::Text(template) | Operand::TextIgnoreCase(template) => Some(template),
            Operand::Numeric(_)
            | Operand::Date(_)
            | Operand::Bool(_)
            | Operand::Binary(_)
            | Operand::Ip(_)
            | Operand::Arn(_)
            | Operand::Never => None,
        });
        if strict { texts.collect() } else { None }
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
        let lower = name.to_ascii_lowercase();
        let (set, name) = match lower.split_once(':') {
            Some(("forallvalues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("foranyvalue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            Some(_) => return None,
            None => (None, lower.as_str()),
        };
        let (name, if_exists) = name.strip_suffix("ifexists").map_or((name, false), |rest| (rest, true));
        let row = OPERATORS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
        let (_, test, comparison, negated) = *row;
        (test != Test::Null || !if_exists).then_some(Self { set, test, comparison, negated, if_exists })
    }

    /// Compiles a policy's value; the error says what the operator accepts.
    pub(super) fn operand(self, text: &str, variables: bool) -> Result<Operand, &'static str> {
        let syntax = Syntax { wildcards: self.test == Test::TextLike, variables };
        match self.test {
            Test::Text | Test::TextLike => Template::parse(text, syntax).map(Operand::Text),
            Test::TextIgnoreCase => Template::parse(&lower(text), syntax).map(Operand::TextIgnoreCase),
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

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.set {
            Some(Quantifier::ForAllValues) => "ForAllValues:",
            Some(Quantifier::ForAnyValue) => "ForAnyValue:",
            None => "",
        })?;
        let same =
            |row: &&(&str, Test, Comparison, bool)| (row.1, row.2, row.3) == (self.test, self.comparison, self.negated);
        f.write_str(OPERATORS.iter().find(same).map_or("", |(name, ..)| name))?;
        f.write_str(if self.if_exists { "IfExists" } else { "" })
    }
}

impl Operand {
    /// Whether the request's value compares so with this one; a value of another type does not.
    fn equals(&self, comparison: Comparison, text: &str, context: &Context) -> bool {
        match self {
            Self::Text(template) => template.matches(text, context),
            Self::TextIgnoreCase(template) => template.matches_mapped(&lower(text), context, lower),
            Self::Numeric(limit) => Decimal::parse(text).is_some_and(|value| comparison.holds(&value, limit)),
            Self::Date(limit) => Moment::parse(text).is_some_and(|value| comparison.holds(&value, limit)),
            Self::Bool(wanted) => truth(text) == Some(*wanted),
            // A context holds text: bytes stand there in base64, a text as itself.
            Self::Binary(wanted) => text.as_bytes() == wanted || bytes(text).is_some_and(|value| value == *wanted),
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

/// The table of operators: name, test, comparison, negation. Of two names for one operator the first is said.
const OPERATORS: &[(&str, Test, Comparison, bool)] = {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    &[
        ("StringEquals", Test::Text, Equal, false),
        ("StringNotEquals", Test::Text, Equal, true),
        ("StringEqualsIgnoreCase", Test::TextIgnoreCase, Equal, false),
        ("StringNotEqualsIgnoreCase", Test::TextIgnoreCase, Equal, true),
        ("StringLike", Test::TextLike, Equal, false),
        ("StringNotLike", Test::TextLike, Equal, true),
        ("NumericEquals", Test::Numeric, Equal, false),
        ("NumericNotEquals", Test::Numeric, Equal, true),
        ("NumericLessThan", Test::Numeric, Less, false),
        ("NumericLessThanEquals", Test::Numeric, LessOrEqual, false),
        ("NumericGreaterThan", Test::Numeric, Greater, false),
        ("NumericGreaterThanEquals", Test::Numeric, GreaterOrEqual, false),
        ("DateEquals", Test::Date, Equal, false),
        ("DateNotEquals", Test::Date, Equal, true),
        ("DateLessThan", Test::Date, Less, false),
        ("DateLessThanEquals", Test::Date, LessOrEqual, false),
        ("DateGreaterThan", Test::Date, Greater, false),
        ("DateGreaterThanEquals", Test::Date, GreaterOrEqual, false),
        ("Bool", Test::Bool, Equal, false),
        ("BinaryEquals", Test::Binary, Equal, false),
        ("IpAddress", Test::Ip, Equal, false),
        ("NotIpAddress", Test::Ip, Equal, true),
        ("ArnLike", Test::Arn, Equal, false),
        ("ArnNotLike", Test::Arn, Equal, true),
        ("ArnEquals", Test::Arn, Equal, false),
        ("ArnNotEquals", Test::Arn, Equal, true),
        ("Null", Test::Null, Equal, false),
    ]
};

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
fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}
