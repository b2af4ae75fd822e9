//! Policy documents: parsed once, strictly, and matched many times.
//!
//! A document that parses can be evaluated without further checks. It does not keep its author's text, which the store
//! returns verbatim; it keeps no more than evaluation and explanation need.

use super::action::ActionPattern;
use super::arn::ArnPattern;
use super::condition::Condition;
use super::context::{Context, fold};
use super::json::{self, Position};
use super::principal::{Caller, Element, Hits, Principals};
use crate::error::Reason;
use crate::names::{Arn, PrincipalName};
use std::collections::{BTreeMap, BTreeSet};

/// What a document is attached to, which decides what it may contain and how it counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Kind {
    /// Permissions of a user or role.
    Identity,
    /// The upper bound of a user's or role's permissions.
    Boundary,
    /// Passed when a session was made; can only narrow it.
    Session,
    /// Who may assume a role.
    Trust,
    /// A repository's or registry's policy.
    Resource,
    /// A KMS key's policy.
    Key,
    /// The organization's bound on an account's principals.
    ServiceControl,
    /// The organization's bound on an account's resources.
    ResourceControl,
}

impl Kind {
    /// The kind in words, as it goes before "policy".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Boundary => "boundary",
            Self::Session => "session",
            Self::Trust => "trust",
            Self::Resource => "resource",
            Self::Key => "key",
            Self::ServiceControl => "service control",
            Self::ResourceControl => "resource control",
        }
    }
}

/// Why a text is not a policy of its kind: where, what was wrong, and what is accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// The line of the text, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What was wrong and what is accepted.
    pub message: String,
}

/// Something that was accepted and is probably not what the author meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The line of the text, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is odd.
    pub message: String,
}

/// A parsed policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    pub(super) kind: Kind,
    pub(super) statements: Vec<Statement>,
    /// Folded condition keys of conditions and variables, each with its first place.
    pub(super) keys: BTreeMap<String, Position>,
    pub(super) warnings: Vec<Warning>,
}

/// A user or role that a document names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedPrincipal<'d> {
    /// The ARN as the document has it.
    pub arn: &'d str,
    /// Account, kind and name; `None` for an ARN with a path, of which there is no principal here.
    pub name: Option<PrincipalName>,
}

/// What a matching statement does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) principals: Principals,
    pub(super) actions: Actions,
    pub(super) resources: Resources,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Actions {
    In(Vec<ActionPattern>),
    NotIn(Vec<ActionPattern>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Resources {
    /// The resource that the document is attached to.
    Attached,
    In(Vec<ResourcePattern>),
    NotIn(Vec<ResourcePattern>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ResourcePattern {
    /// `*`, also when the request has no resource.
    Any,
    Arn(ArnPattern),
    /// Refused where policies are written; it matches nothing.
    Nothing,
}

impl Document {
    /// Reads a policy strictly: all that a policy of this kind may not say is refused here.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, Error> {
        super::parse::text(kind, text)
    }

    /// What the document was parsed as.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was accepted and looks wrong, in the order of the text.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether a condition or a variable names the key, in any case; if not, its values need not be loaded.
    #[must_use]
    pub fn mentions(&self, context_key: &str) -> bool {
        self.keys.contains_key(&fold(context_key))
    }

    /// Refuses a document whose conditions or variables name a key that no request has: a condition that can never
    /// hold would be ignored in silence.
    ///
    /// # Errors
    /// The first such key, with its place.
    pub fn check_keys(&self, supported: &[&str]) -> Result<(), Error> {
        let known: BTreeSet<String> = supported.iter().map(|key| fold(key)).collect();
        let mut unknown: Vec<_> = self.keys.iter().filter(|(key, _)| !known.contains(*key)).collect();
        unknown.sort_by_key(|(_, at)| (at.line, at.column));
        match unknown.first() {
            Some((key, at)) => {
                let message = format!("condition key {key:?} is not supported; supported are {}", supported.join(", "));
                Err(Error { line: at.line, column: at.column, message })
            }
            None => Ok(()),
        }
    }

    /// The users and roles that the document names and that have unique ids, each once, in order of their ARNs.
    ///
    /// Accounts, sessions, services, providers and service-linked roles are not among them.
    #[must_use]
    pub fn principals(&self) -> Vec<NamedPrincipal<'_>> {
        let elements = self.statements.iter().flat_map(|statement| statement.principals.elements());
        let arns: BTreeSet<&str> = elements.filter_map(Element::bindable).collect();
        let name = |arn| Arn::parse(arn).ok().and_then(|arn| PrincipalName::from_arn(&arn).ok());
        arns.into_iter().map(|arn| NamedPrincipal { arn, name: name(arn) }).collect()
    }

    /// Ties every user and role of [`Self::principals`] to the unique id that `ids` has for its ARN.
    ///
    /// From now on it matches only the caller with both; one that `ids` lacks matches nobody, whoever bears its ARN
    /// later. A document that was never bound matches by ARN alone.
    pub fn bind(&mut self, ids: &BTreeMap<String, String>) {
        for statement in &mut self.statements {
            statement.principals.bind(ids);
        }
    }
}

impl Statement {
    /// The ways in which the statement covers the request; `None` when it does not apply.
    ///
    /// `bounded`: the caller has a permissions boundary, for which `NotPrincipal` with `Deny` makes no exception.
    /// SPEC: IAM JSON policy elements, `NotPrincipal`, "must not use … if they have a permissions boundary".
    pub(super) fn cover(
        &self,
        caller: &Caller<'_>,
        action: &str,
        resource: &str,
        context: &Context,
        bounded: bool,
    ) -> Option<Hits> {
        if !self.actions.cover(action) || !self.resources.cover(resource, context) {
            return None;
        }
        let unexcepted = bounded && self.effect == Effect::Deny && matches!(self.principals, Principals::NotIn(_));
        let hits = if unexcepted { Hits::NONE } else { self.principals.cover(caller)? };
        self.conditions.iter().all(|condition| condition.holds(context)).then_some(hits)
    }
}

impl Actions {
    fn cover(&self, action: &str) -> bool {
        let named = |patterns: &[ActionPattern]| patterns.iter().any(|pattern| pattern.matches(action));
        match self {
            Self::In(patterns) => named(patterns),
            Self::NotIn(patterns) => !named(patterns),
        }
    }
}

impl Resources {
    fn cover(&self, resource: &str, context: &Context) -> bool {
        let named = |patterns: &[ResourcePattern]| patterns.iter().any(|pattern| pattern.matches(resource, context));
        match self {
            Self::Attached => true,
            Self::In(patterns) => named(patterns),
            Self::NotIn(patterns) => !named(patterns),
        }
    }
}

impl ResourcePattern {
    fn matches(&self, resource: &str, context: &Context) -> bool {
        match self {
            Self::Any => true,
            Self::Arn(pattern) => pattern.matches(resource, context),
            Self::Nothing => false,
        }
    }
}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Self {
        Self { line: error.at.line, column: error.at.column, message: error.message }
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(Reason::MalformedPolicy, error.to_string())
            .with("line", error.line)
            .with("column", error.column)
            .with("problem", error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::{Document, Kind};
    use Kind::{Identity, Key, Resource, ResourceControl, ServiceControl, Session, Trust};

    /// A document of one statement, written without its braces.
    fn one(statement: &str) -> String {
        format!(r#"{{"Version": "2012-10-17", "Statement": [{{{statement}}}]}}"#)
    }

    const ALLOW: &str = r#""Effect": "Allow", "Action": "ecr:PutImage""#;
    const DENY: &str = r#""Effect": "Deny", "Action": "ecr:PutImage""#;

    #[test]
    fn what_the_grammar_has_is_accepted() {
        let good = [
            (Identity, r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#.to_owned()),
            (Identity, format!(r#"{{"Statement": [{{{ALLOW}, "Resource": ["*"], "Sid": "A1"}}, {{"Sid": "", {DENY}, "NotResource": "*"}}], "Version": "2008-10-17"}}"#)),
            (Identity, one(&format!(r#"{ALLOW}, "Resource": "*", "Condition": {{}}"#))),
            (Identity, one(&format!(r#"{ALLOW}, "Resource": "*", "Condition": {{"numericlessthan": {{"aws:multifactorauthage": 3600}}, "Bool": {{"aws:SecureTransport": [true, "false"]}}}}"#))),
            (Identity, one(&format!(r#"{DENY}, "NotResource": "arn:aws:ecr:*:*:repository/${{aws:username}}/*""#))),
            (Session, one(&format!(r#"{ALLOW}, "Resource": "*""#))),
            (Trust, r#"{"Id": "x", "Statement": {"Effect": "Allow", "Principal": {"Federated": "accounts.google.com", "AWS": ["111122223333"]}, "Action": ["sts:AssumeRole", "sts:TagSession"]}}"#.to_owned()),
            (Resource, one(&format!(r#"{ALLOW}, "Principal": "*""#))),
            (Resource, one(&format!(r#"{ALLOW}, "Principal": {{"Service": ["replication.ecr.amazonaws.com"]}}, "Resource": "*", "Sid": "any text: é""#))),
            (Resource, one(&format!(r#"{DENY}, "NotPrincipal": {{"AWS": "arn:aws:iam::111122223333:root"}}"#))),
            (Key, r#"{"Id": "k", "Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}}"#.to_owned()),
            (ResourceControl, r#"{"Statement": [{"Sid": "RCPFullAWSAccess", "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}"#.to_owned()),
            (ServiceControl, one(&format!(r#"{DENY}, "Resource": "*""#))),
        ];
        for (kind, text) in good {
            assert!(Document::parse(kind, &text).is_ok(), "{kind:?} {text}: {:?}", Document::parse(kind, &text));
        }
    }

    #[test]
    fn all_else_is_refused_with_a_reason() {
        let star = r#""Resource": "*""#;
        let table: Vec<(super::Kind, String, &str)> = vec![
            (Identity, "[]".into(), "a policy is a JSON object, not an array"),
            (Identity, "{}".into(), "needs the element Statement"),
            (Identity, r#"{"Statement": []}"#.into(), "at least one statement"),
            (Identity, r#"{"Statement": "x"}"#.into(), "a statement is an object, not a string"),
            (Identity, r#"{"Statment": {}}"#.into(), "unknown element \"Statment\""),
            (Identity, r#"{"Version": "2012-10-18", "Statement": {}}"#.into(), "Version is"),
            (Identity, r#"{"Version": 20121017, "Statement": {}}"#.into(), "Version is"),
            (Identity, r#"{"Id": "x", "Statement": {}}"#.into(), "Id belongs to"),
            (Identity, one(&format!("{ALLOW}, {star}, \"Effect\": \"Deny\"")), "stands twice"),
            (Identity, one(&format!("{ALLOW}, {star}, \"Conditon\": {{}}")), "unknown element \"Conditon\""),
            (Identity, one(&format!(r#""effect": "Allow", "Action": "*", {star}"#)), "unknown element \"effect\""),
            (Identity, one(&format!(r#""Effect": "allow", "Action": "*", {star}"#)), "Effect is"),
            (Identity, one(&format!(r#""Action": "*", {star}"#)), "needs the element Effect"),
            (Identity, one(&format!(r#""Effect": "Allow", {star}"#)), "needs the element Action or NotAction"),
            (Identity, one(&format!(r#"{ALLOW}, "NotAction": "*", {star}"#)), "either Action or NotAction"),
            (Identity, one(&format!(r#""Effect": "Allow", "Action": [], {star}"#)), "Action is empty"),
            (Identity, one(&format!(r#""Effect": "Allow", "Action": [1], {star}"#)), "not a number"),
            (Identity, one(&format!(r#""Effect": "Allow", "Action": "e*:Get", {star}"#)), "is no action"),
            (Identity, one(ALLOW), "needs the element Resource or NotResource"),
            (Identity, one(&format!(r#"{ALLOW}, {star}, "NotResource": "*""#)), "either Resource or NotResource"),
            (Identity, one(&format!(r#"{ALLOW}, "Resource": "arn:aws:ecr""#)), "six fields"),
            (Identity, one(&format!(r#"{ALLOW}, "Resource": "repository/x""#)), "a resource is"),
            (
                Identity,
                one(&format!(r#"{ALLOW}, "Resource": "arn:aws:ecr:r:${{aws:PrincipalAccount}}:repository/x""#)),
                "after the fifth colon",
            ),
            (Identity, one(&format!(r#"{ALLOW}, "Resource": "arn:aws:ecr:r:1:repository/${{x""#)), "no closing brace"),
            (
                Identity,
                one(&format!(r#"{ALLOW}, "NotResource": "arn:aws:ecr:r:1:repository/${{aws:username}}""#)),
                "goes with Deny only",
            ),
            (Identity, one(&format!(r#"{ALLOW}, {star}, "Principal": "*""#)), "Principal belongs to"),
            (Identity, one(&format!(r#"{ALLOW}, {star}, "NotPrincipal": "*""#)), "NotPrincipal belongs to"),
            (Identity, one(&format!(r#"{ALLOW}, {star}, "Sid": "a b""#)), "other characters"),
            (
                Identity,
                format!(r#"{{"Statement": [{{"Sid": "A", {ALLOW}, {star}}}, {{"Sid": "A", {DENY}, {star}}}]}}"#),
                "twice in the document",
            ),
            (Identity, one(&format!(r#"{ALLOW}, {star}, "Condition": []"#)), "an object of operators"),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringMatches": {{}}}}"#)),
                "unknown condition operator",
            ),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": "x"}}"#)),
                "an object of condition keys",
            ),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"k": []}}}}"#)),
                "has no values",
            ),
            (Identity, one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"": "x"}}}}"#)), "is empty"),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"k": [null]}}}}"#)),
                "not null",
            ),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"k": "a", "K": "b"}}}}"#)),
                "twice under",
            ),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"IpAddress": {{"aws:SourceIp": "10.0.0.0/40"}}}}"#)),
                "is no value for IpAddress",
            ),
            (
                Identity,
                one(&format!(r#"{ALLOW}, {star}, "Condition": {{"Bool": {{"k": "${{aws:x}}"}}}}"#)),
                "true or false",
            ),
            (Trust, one(&format!(r#"{ALLOW}, "Principal": "*""#)), "only sts actions"),
            (Trust, one(r#""Effect": "Allow", "Principal": "*", "Action": "*""#), "only sts actions"),
            (
                Trust,
                one(r#""Effect": "Allow", "Principal": "*", "NotAction": "sts:TagSession""#),
                "NotAction does not belong",
            ),
            (
                Trust,
                one(r#""Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Resource": "*""#),
                "no Resource",
            ),
            (
                Trust,
                one(r#""Effect": "Deny", "NotPrincipal": "*", "Action": "sts:AssumeRole""#),
                "NotPrincipal belongs to",
            ),
            (Trust, one(r#""Effect": "Allow", "Action": "sts:AssumeRole""#), "needs the element Principal"),
            (Resource, one(ALLOW), "needs the element Principal"),
            (Resource, one(&format!(r#"{ALLOW}, "Principal": {{}}"#)), "a principal is"),
            (Resource, one(&format!(r#"{ALLOW}, "Principal": "111122223333""#)), "a principal is"),
            (Resource, one(&format!(r#"{ALLOW}, "Principal": {{"AWS": []}}"#)), "AWS is empty"),
            (Resource, one(&format!(r#"{ALLOW}, "Principal": {{"aws": "*"}}"#)), "unknown kind of principal"),
            (
                Resource,
                one(&format!(r#"{ALLOW}, "Principal": {{"AWS": "arn:aws:iam::111122223333:user/*"}}"#)),
                "without wildcards",
            ),
            (Resource, one(&format!(r#"{ALLOW}, "NotPrincipal": "*""#)), "NotPrincipal goes with Deny only"),
            (
                Resource,
                one(&format!(r#"{DENY}, "NotPrincipal": "*", "Principal": "*""#)),
                "either Principal or NotPrincipal",
            ),
            (
                Resource,
                one(r#""Effect": "Allow", "Principal": "*", "Action": "ecr:getauthorizationtoken""#),
                "identity policies only",
            ),
            (Key, one(r#""Effect": "Allow", "Principal": "*", "Action": "kms:*""#), "needs the element Resource"),
            (ResourceControl, one(&format!(r#"{DENY}, {star}, "Principal": {{"AWS": "111122223333"}}"#)), "is \"*\""),
            (
                ResourceControl,
                one(&format!(r#"{ALLOW}, {star}, "Principal": "*""#)),
                "a resource control policy denies",
            ),
            (Session, one(&format!(r#"{ALLOW}, "Resource": "arn:aws:ecr:r:1:repository/Ā""#)), "in a session policy"),
        ];
        for (kind, text, expected) in table {
            let error = Document::parse(kind, &text).expect_err(&text);
            assert!(error.message.contains(expected), "{kind:?} {text}\n  gave: {error}");
        }
    }

    #[test]
    fn a_fault_is_reported_where_it_stands() {
        let text = "{\n  \"Statement\": {\n    \"Effect\": \"Allow\", \"Action\": [\"*\", \"ecr\"],\n    \"Resource\": \"*\"}}";
        let error = Document::parse(Identity, text).unwrap_err();
        assert_eq!((error.line, error.column), (3, 40));
        let envelope = crate::error::Error::from(error);
        assert_eq!(envelope.reason, crate::error::Reason::MalformedPolicy);
        assert_eq!(envelope.metadata["line"], "3");
        assert!(envelope.message.starts_with("line 3, column 40: \"ecr\" is no action"), "{envelope}");
    }

    #[test]
    fn unknown_actions_are_accepted_and_pointed_out() {
        let text =
            one(r#""Effect": "Allow", "Action": ["ecr:BatchGetImag", "ecr:*", "s3:GetObject"], "Resource": "*""#);
        let document = Document::parse(Identity, &text).unwrap();
        let [warning] = document.warnings() else { panic!("{:?}", document.warnings()) };
        assert!(warning.message.contains("\"ecr:BatchGetImag\""), "{warning:?}");
        assert_eq!(warning.line, 1);
    }

    #[test]
    fn a_key_that_no_request_has_is_refused_at_its_place() {
        let text = one(&format!(
            "{ALLOW}, \"Resource\": \"*\",\n\"Condition\": {{\"Bool\": {{\"AWS:SecureTransport\": \"true\", \"x:y\": \"true\"}},\n\
            \"StringEquals\": {{\"aws:username\": \"${{aws:z}}\"}}}}"
        ));
        let document = Document::parse(Identity, &text).unwrap();
        assert!(document.check_keys(&["aws:SecureTransport", "aws:username", "X:Y", "aws:z"]).is_ok());
        let error = document.check_keys(&["aws:SecureTransport", "aws:username", "aws:z"]).unwrap_err();
        assert!(error.message.contains("\"x:y\" is not supported"), "{error}");
        assert_eq!((error.line, error.column), (2, 55));
        let error = document.check_keys(&["aws:SecureTransport", "aws:username", "x:y"]).unwrap_err();
        assert_eq!((error.line, error.column), (3, 34), "{error}");
    }

    #[test]
    fn keys_of_conditions_and_variables_are_mentioned() {
        let text = one(&format!(
            r#"{ALLOW}, "Resource": "arn:aws:ecr:*:*:repository/${{aws:username}}/*",
            "Condition": {{"ForAnyValue:StringLike": {{"ecr:ImageTag": "v*"}}, "StringEquals": {{"aws:ResourceTag/t": "${{aws:PrincipalTag/Team, 'x'}}"}},
            "ArnLike": {{"aws:SourceArn": "arn:aws:ecr:*:${{aws:PrincipalAccount}}:*"}}}}"#
        ));
        let document = Document::parse(Identity, &text).unwrap();
        for key in [
            "aws:UserName",
            "ECR:imagetag",
            "aws:ResourceTag/T",
            "aws:PrincipalTag/team",
            "aws:SourceArn",
            "aws:PrincipalAccount",
        ] {
            assert!(document.mentions(key), "{key}");
        }
        assert!(!document.mentions("aws:SourceIp"));
        let old = Document::parse(Identity, &text.replace("2012", "2008")).unwrap();
        assert!(!old.mentions("aws:username"), "no variables before 2012-10-17");
    }
}
