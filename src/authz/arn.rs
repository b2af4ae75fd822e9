//! ARN patterns: six fields, each matched on its own, so that a wildcard never swallows a colon between fields.

use super::context::Context;
use super::glob::{Pattern, Segment};
use super::template::{Piece, Syntax, Template, pieces};

/// The pattern of an ARN in a `Resource` element or an ARN condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ArnPattern {
    /// Six fields.
    Fields(Box<[Template; 6]>),
    /// One variable that stands for the whole ARN; possible in conditions only.
    Whole(Template),
}

/// How many fields an ARN has.
const FIELDS: usize = 6;

/// The six fields of an ARN; the last may hold colons.
pub(super) fn fields(text: &str) -> Option<[&str; 6]> {
    let mut parts = text.splitn(FIELDS, ':');
    let mut next = || parts.next();
    let fields = [next()?, next()?, next()?, next()?, next()?, next()?];
    (fields[0] == "arn").then_some(fields)
}

impl ArnPattern {
    /// Reads the pattern of an ARN condition.
    pub(super) fn condition(text: &str, variables: bool) -> Result<Self, &'static str> {
        if !variables || !text.contains('$') {
            return plain(text);
        }
        let all = pieces(text, Syntax { wildcards: true, variables })?;
        if let [Piece::Variable(_)] = all.as_slice() {
            return Ok(Self::Whole(all.into_iter().collect()));
        }
        split(all)
    }

    /// Reads an entry of `Resource` or `NotResource` other than `*`.
    pub(super) fn resource(text: &str, variables: bool) -> Result<Self, &'static str> {
        if !text.starts_with("arn:") {
            return Err("a resource is \"*\" or an ARN arn:<partition>:<service>:<region>:<account>:<resource>");
        }
        let pattern = Self::condition(text, variables)?;
        if pattern.templates()[..5].iter().any(Template::is_open) {
            return Err("a variable may stand only after the fifth colon of a resource's ARN");
        }
        Ok(pattern)
    }

    /// Whether the text is an ARN that fits.
    pub(super) fn matches(&self, text: &str, context: &Context) -> bool {
        fields(text).is_some_and(|parts| self.fits(text, &parts, context))
    }

    /// As [`Self::matches`], of an ARN whose fields are known.
    pub(super) fn fits(&self, text: &str, parts: &[&str; 6], context: &Context) -> bool {
        match self {
            Self::Whole(template) => template.matches(text, context),
            // The last field differs most often.
            Self::Fields(templates) => templates.iter().zip(parts).rev().all(|(t, part)| t.matches(part, context)),
        }
    }

    /// The condition keys that the variables name, folded.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.templates().iter().flat_map(Template::keys)
    }

    /// Whether a variable stands in it.
    pub(super) fn is_open(&self) -> bool {
        self.templates().iter().any(Template::is_open)
    }

    /// Whether every ARN that fits the other fits this one, as far as can be seen without a request.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let (outer, inner) = (self.templates(), other.templates());
        outer.len() == inner.len() && outer.iter().zip(inner).all(|(outer, inner)| outer.includes(inner))
    }

    fn templates(&self) -> &[Template] {
        match self {
            Self::Fields(templates) => templates.as_slice(),
            Self::Whole(template) => std::slice::from_ref(template),
        }
    }
}

/// Splits at the first five colons that stand in the text itself; those inside a variable's name do not count.
fn split(all: Vec<Piece>) -> Result<ArnPattern, &'static str> {
    let mut parts: Vec<Vec<Piece>> = vec![Vec::new()];
    for piece in all {
        match piece {
            Piece::Segment(Segment::Run(run)) => split_run(&run, &mut parts),
            Piece::Segment(Segment::One | Segment::Many) | Piece::Variable(_) => {
                parts.last_mut().into_iter().for_each(|last| last.push(piece.clone()));
            }
        }
    }
    if parts.last().is_none_or(Vec::is_empty) {
        return Err(SIX_FIELDS);
    }
    let mut templates = parts.into_iter().map(Template::from_iter);
    let mut next = || templates.next().ok_or(SIX_FIELDS);
    Ok(ArnPattern::Fields(Box::new([next()?, next()?, next()?, next()?, next()?, next()?])))
}

/// As [`split`], of a text without variables.
fn plain(text: &str) -> Result<ArnPattern, &'static str> {
    let mut parts = text.splitn(FIELDS, ':').map(|part| Template::Fixed(Pattern::new(part)));
    let mut next = || parts.next().ok_or(SIX_FIELDS);
    let fields = [next()?, next()?, next()?, next()?, next()?, next()?];
    if fields[5] == Template::Fixed(Pattern::default()) {
        return Err(SIX_FIELDS);
    }
    Ok(ArnPattern::Fields(Box::new(fields)))
}

const SIX_FIELDS: &str = "an ARN has six fields: arn:<partition>:<service>:<region>:<account>:<resource>";

fn split_run(run: &str, parts: &mut Vec<Vec<Piece>>) {
    let left = FIELDS.saturating_sub(parts.len()) + 1;
    for (index, text) in run.splitn(left, ':').enumerate() {
        if index > 0 {
            parts.push(Vec::new());
        }
        if let Some(last) = parts.last_mut().filter(|_| !text.is_empty()) {
            last.push(Piece::Segment(Segment::Run(text.to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ArnPattern;
    use crate::authz::context::Context;

    fn context() -> Context {
        let mut context = Context::new();
        context
            .set("aws:PrincipalAccount", "111122223333")
            .set("aws:SourceArn", "arn:aws:s3:::b")
            .set("aws:evil", "999999999999:x");
        context
    }

    #[test]
    fn each_field_is_matched_on_its_own() {
        let table = [
            ("arn:aws:ecr:*:4:repository/*", "arn:aws:ecr:us-east-1:4:repository/a/b:c", true),
            ("arn:aws:ecr:*:repository/*", "arn:aws:ecr:us-east-1:4:repository/a", false),
            ("arn:*:*:*:*:*", "arn:aws:ecr:us-east-1:4:x", true),
            ("arn:aws:iam::*:role/x", "arn:aws:iam::4:5:role/x", false),
            ("arn:aws:iam::${aws:PrincipalAccount}:role/x", "arn:aws:iam::111122223333:role/x", true),
            ("arn:aws:iam::${aws:evil}:role/x", "arn:aws:iam::999999999999:x:role/x", false),
            ("${aws:SourceArn}", "arn:aws:s3:::b", true),
            ("arn:aws:s3:::b", "b", false),
        ];
        for (pattern, text, expected) in table {
            let matched = ArnPattern::condition(pattern, true).is_ok_and(|p| p.matches(text, &context()));
            assert_eq!(matched, expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_resource_is_a_whole_arn_with_variables_at_its_end_only() {
        for bad in [
            "",
            "arn:aws:ecr",
            "arn:aws:ecr:*",
            "arn:aws:s3:::",
            "x:aws:s3:::b",
            "arn:aws:ecr:r:${aws:x}:a",
            "${aws:SourceArn}",
        ] {
            assert!(ArnPattern::resource(bad, true).is_err(), "{bad}");
        }
        assert!(ArnPattern::resource("arn:aws:ecr:*:4:repository/${aws:username}/*", true).is_ok());
    }
}
