//! Texts of a policy in which variables may stand: `${key}`, `${key, 'default'}`, `${*}`, `${?}`, `${$}`.
//!
//! A template becomes a pattern by substitution, and what was substituted is literal in it: a value can neither act
//! as a wildcard nor add a field. A variable without a value and without a default makes the template match nothing.

use super::context::{Context, Value, fold};
use super::glob::{Pattern, Segment, wild};

/// How a text is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(super) wildcards: bool,
    /// `${…}` is a variable: the document says `2012-10-17`.
    pub(super) variables: bool,
}

/// A text with its variables still open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Template {
    /// Without variables, ready to match.
    Fixed(Pattern),
    /// With at least one variable.
    Open(Vec<Piece>),
}

/// An element of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// Stands for itself.
    Segment(Segment),
    /// Stands for the value of a condition key.
    Variable(Variable),
}

/// A variable's key, folded, and the text to use when the key has no single value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Variable {
    key: String,
    default: Option<String>,
}

impl Template {
    /// Reads a text; the error says what is wrong with a variable.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Self, &'static str> {
        if syntax.variables && text.contains('$') {
            return Ok(pieces(text, syntax)?.into_iter().collect());
        }
        Ok(Self::Fixed(if syntax.wildcards { Pattern::new(text) } else { Pattern::literal(text) }))
    }

    /// Whether the whole text fits once variables have their values from the context.
    pub(super) fn matches(&self, text: &str, context: &Context) -> bool {
        self.matches_mapped(text, context, str::to_owned)
    }

    /// As [`Self::matches`], with `map` applied to what stands for variables; the text is compared as it is.
    pub(super) fn matches_mapped(&self, text: &str, context: &Context, map: impl Fn(&str) -> String) -> bool {
        match self {
            Self::Fixed(pattern) => pattern.matches(text),
            Self::Open(pieces) => substitute(pieces, context, map).is_some_and(|pattern| pattern.matches(text)),
        }
    }

    /// The condition keys that the variables name, folded.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let pieces = match self {
            Self::Fixed(_) => &[][..],
            Self::Open(pieces) => pieces,
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Segment(_) => None,
            Piece::Variable(variable) => Some(variable.key.as_str()),
        })
    }

    /// Whether a variable stands in it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// What every text that fits begins with, and whether that is all of it; `None` where a variable stands.
    pub(super) fn literal_start(&self) -> Option<(&str, bool)> {
        match self {
            Self::Fixed(pattern) => Some(pattern.literal_start()),
            Self::Open(_) => None,
        }
    }

    /// Whether every text that fits the other fits this one, as far as can be seen without a request.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(outer), Self::Fixed(inner)) => outer.includes(inner),
            (Self::Fixed(_) | Self::Open(_), Self::Fixed(_) | Self::Open(_)) => self == other,
        }
    }
}

impl FromIterator<Piece> for Template {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        let pieces: Vec<Piece> = pieces.into_iter().collect();
        if pieces.iter().any(|piece| matches!(piece, Piece::Variable(_))) {
            return Self::Open(pieces);
        }
        let segments = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Segment(segment) => Some(segment),
            Piece::Variable(_) => None,
        });
        Self::Fixed(segments.collect())
    }
}

impl Variable {
    /// Only a single-valued key can be substituted.
    fn resolve<'a>(&'a self, context: &'a Context) -> Option<&'a str> {
        match context.folded(&self.key) {
            Some(Value::One(text)) => Some(text),
            Some(Value::Many(_)) | None => self.default.as_deref(),
        }
    }
}

fn substitute(pieces: &[Piece], context: &Context, map: impl Fn(&str) -> String) -> Option<Pattern> {
    let segment = |piece: &Piece| match piece {
        Piece::Segment(segment) => Some(segment.clone()),
        Piece::Variable(variable) => variable.resolve(context).map(|text| Segment::Run(map(text))),
    };
    pieces.iter().map(segment).collect()
}

/// Reads a text into pieces; the error says what is wrong with a variable.
pub(super) fn pieces(text: &str, syntax: Syntax) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let plain = if syntax.variables { rest.find("${").unwrap_or(rest.len()) } else { rest.len() };
        let (before, inside) = rest.split_at(plain);
        if syntax.wildcards {
            pieces.extend(wild(before).map(Piece::Segment));
        } else if !before.is_empty() {
            pieces.push(literal(before));
        }
        rest = inside;
        if let Some(inside) = inside.strip_prefix("${") {
            let (piece, after) = variable(inside)?;
            pieces.push(piece);
            rest = after;
        }
    }
    Ok(pieces)
}

fn literal(text: &str) -> Piece {
    Piece::Segment(Segment::Run(text.to_owned()))
}

/// Reads a variable after its `${`, and returns what follows its `}`.
fn variable(inside: &str) -> Result<(Piece, &str), &'static str> {
    let end = inside.find([',', '}']).ok_or("a variable has no closing brace; a literal \"${\" is written ${$}{")?;
    let (key, rest) = inside.split_at(end);
    if let ("*" | "?" | "$", Some(after)) = (key, rest.strip_prefix('}')) {
        return Ok((literal(key), after));
    }
    if key.is_empty() || key.contains(['*', '?', '$', '{', '\'']) || key.trim() != key {
        return Err("a variable is ${key} or ${key, 'default'}, or one of ${*} ${?} ${$}");
    }
    let (default, after) = match rest.strip_prefix('}') {
        Some(after) => (None, after),
        None => {
            let quoted = rest.strip_prefix(", '").ok_or("a variable's default is written ${key, 'default'}")?;
            let (default, after) =
                quoted.split_once("'}").ok_or("a variable's default has no closing quote and brace")?;
            (Some(default.to_owned()), after)
        }
    };
    Ok((Piece::Variable(Variable { key: fold(key), default }), after))
}

#[cfg(test)]
mod tests {
    use super::{Syntax, Template};
    use crate::authz::context::Context;

    const FULL: Syntax = Syntax { wildcards: true, variables: true };

    fn context() -> Context {
        let mut context = Context::new();
        context.set("aws:username", "al*ce").set("aws:PrincipalTag/cost center", "9").set_many("aws:TagKeys", ["env"]);
        context
    }

    #[test]
    fn variables_are_replaced_and_their_text_is_literal() {
        let table = [
            ("${aws:username}/*", "al*ce/app", true),
            ("${AWS:UserName}/*", "al*ce/app", true),
            ("${aws:username}", "alice", false),
            ("x${aws:PrincipalTag/cost center}", "x9", true),
            ("a${?}c", "abc", false),
            ("a${?}c", "a?c", true),
            ("a${*}", "a*", true),
            ("a${*}", "ab", false),
            ("${$}{x}", "${x}", true),
            ("$x$", "$x$", true),
            ("${aws:missing}", "", false),
            ("${aws:missing}*", "${aws:missing}", false),
            ("${aws:TagKeys}", "env", false),
            ("${aws:missing, 'no*ne'}", "no*ne", true),
            ("${aws:missing, 'no*ne'}", "noone", false),
            ("${aws:TagKeys, 'none'}", "none", true),
            ("${aws:username, 'none'}", "none", false),
            ("${aws:missing, ''}-", "-", true),
        ];
        for (text, value, expected) in table {
            let template = Template::parse(text, FULL).unwrap();
            assert_eq!(template.matches(value, &context()), expected, "{text} on {value}");
        }
    }

    #[test]
    fn without_variables_the_text_stands_for_itself() {
        let template = Template::parse("${aws:username}/*", Syntax { wildcards: true, variables: false }).unwrap();
        assert!(template.matches("${aws:username}/app", &context()));
        assert!(!template.matches("al*ce/app", &context()));
    }

    #[test]
    fn malformed_variables_are_refused() {
        for bad in [
            "${",
            "${}",
            "${a",
            "${a,'b'}",
            "${a, b}",
            "${a, 'b}",
            "${ a}",
            "${a b }",
            "${**}",
            "${a${b}}",
            "${*, 'a'}",
        ] {
            assert!(Template::parse(bad, FULL).is_err(), "{bad}");
        }
    }
}
