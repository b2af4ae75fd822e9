//! Policy documents: parsed once, strictly, and matched many times.
//!
//! A document that parses can be evaluated without further checks. It does not keep its author's text, which the store
//! returns verbatim; it keeps no more than evaluation and explanation need.

use super::action::{Action, ActionPattern};
use super::arn::ArnPattern;
use super::condition::Condition;
use super::context::{Context, fold, is_among};
pub use super::json::compact;
use super::json::{self, Position};
use super::principal::{Caller, Element, Hits, Principals};
use crate::error::Reason;
use crate::names::{Arn, PrincipalName};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

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
    /// Folded condition keys of conditions and variables, each with its first place; without those of statements that
    /// speak of other services only.
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

/// A request, taken apart once for all statements.
pub(super) struct Asked<'r> {
    pub(super) caller: Caller<'r>,
    pub(super) action: Action,
    pub(super) resource: &'r str,
    /// Of the resource's ARN, if it is one.
    pub(super) fields: Option<[&'r str; 6]>,
    pub(super) context: &'r Context,
}

/// The first element of a statement that does not fit a request, in the order in which they are looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Miss {
    Action,
    Resource,
    Principal,
    /// By its place among the statement's conditions.
    Condition(usize),
}

/// What a matching statement does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Statement {
    pub(super) at: Position,
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

    /// Whether some condition or variable of it looks at a request's context; if not, the context need not be made.
    #[must_use]
    pub fn reads_context(&self) -> bool {
        !self.keys.is_empty() || self.statements.iter().any(|statement| !statement.conditions.is_empty())
    }

    /// Whether some statement allows, without a condition, every action or all but some on every resource or all but some.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        self.statements.iter().any(Statement::is_unbounded)
    }

    /// Whether some statement allows something.
    #[must_use]
    pub fn allows_something(&self) -> bool {
        self.statements.iter().any(|statement| statement.effect == Effect::Allow)
    }

    /// Refuses a document whose conditions or variables name a key that no request has: a condition that can never
    /// hold would be ignored in silence.
    ///
    /// # Errors
    /// The first such key, with its place.
    pub fn check_keys(&self, supported: &[&str]) -> Result<(), Error> {
        let mut unknown: Vec<_> = self.keys.iter().filter(|(key, _)| !is_among(key, supported)).collect();
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
    /// The ways in which the statement covers the request, or what of it does not fit.
    ///
    /// `bounded`: the caller has a permissions boundary, for which `NotPrincipal` with `Deny` makes no exception.
    /// SPEC: IAM JSON policy elements, `NotPrincipal`, "must not use … if they have a permissions boundary".
    pub(super) fn cover(&self, asked: &Asked<'_>, bounded: bool) -> Result<Hits, Miss> {
        if !self.actions.cover(&asked.action) {
            return Err(Miss::Action);
        }
        if !self.resources.cover(asked) {
            return Err(Miss::Resource);
        }
        let unexcepted = bounded && self.effect == Effect::Deny && matches!(self.principals, Principals::NotIn(_));
        let hits = if unexcepted { Hits::NONE } else { self.principals.cover(&asked.caller).ok_or(Miss::Principal)? };
        let failed = self.conditions.iter().position(|condition| !condition.holds(asked.context));
        failed.map_or(Ok(hits), |index| Err(Miss::Condition(index)))
    }

    fn is_unbounded(&self) -> bool {
        let actions = match &self.actions {
            Actions::In(list) => list.contains(&ActionPattern::Any),
            Actions::NotIn(_) => true,
        };
        let resources = match &self.resources {
            Resources::In(list) => list.contains(&ResourcePattern::Any),
            Resources::Attached | Resources::NotIn(_) => true,
        };
        self.effect == Effect::Allow && self.conditions.is_empty() && actions && resources
    }

    /// Whether it allows every action on every resource, always.
    pub(super) fn allows_everything(&self) -> bool {
        self.effect == Effect::Allow
            && self.conditions.is_empty()
            && self.actions == Actions::In(vec![ActionPattern::Any])
            && self.resources == Resources::In(vec![ResourcePattern::Any])
    }
}

impl Statement {
    /// Whether it applies to every request to which the other applies, as far as can be seen without a request.
    pub(super) fn includes(&self, other: &Self) -> bool {
        self.actions.include(&other.actions)
            && self.resources.include(&other.resources)
            && self.principals.include(&other.principals)
            && self.conditions.iter().all(|condition| other.conditions.contains(condition))
    }
}

impl Actions {
    fn include(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(outer), Self::In(inner)) => inner.iter().all(|i| outer.iter().any(|o| o.includes(i))),
            (Self::In(outer), Self::NotIn(_)) => outer.contains(&ActionPattern::Any),
            (Self::NotIn(_), Self::In(_) | Self::NotIn(_)) => self == other,
        }
    }

    /// Whether a list names every action of a service at once.
    pub(super) fn cover_all_of(&self, service: &str) -> bool {
        let all = ActionPattern::all_of(service);
        matches!(self, Self::In(patterns) if patterns.iter().any(|pattern| pattern.includes(&all)))
    }

    /// Whether some action of a service of ours may be covered.
    pub(super) fn speak_of_ours(&self) -> bool {
        match self {
            Self::In(patterns) => patterns.iter().any(ActionPattern::speaks_of_ours),
            Self::NotIn(_) => true,
        }
    }

    pub(super) fn cover(&self, action: &Action) -> bool {
        let named = |patterns: &[ActionPattern]| patterns.iter().any(|pattern| pattern.matches(action));
        match self {
            Self::In(patterns) => named(patterns),
            Self::NotIn(patterns) => !named(patterns),
        }
    }
}

impl Resources {
    fn include(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Attached, Self::Attached | Self::In(_) | Self::NotIn(_)) => true,
            (Self::In(outer), Self::In(inner)) => inner.iter().all(|i| outer.iter().any(|o| o.includes(i))),
            (Self::In(outer), Self::Attached | Self::NotIn(_)) => outer.contains(&ResourcePattern::Any),
            (Self::NotIn(_), Self::Attached | Self::In(_) | Self::NotIn(_)) => self == other,
        }
    }

    fn cover(&self, asked: &Asked<'_>) -> bool {
        let named = |patterns: &[ResourcePattern]| patterns.iter().any(|pattern| pattern.matches(asked));
        match self {
            Self::Attached => true,
            Self::In(patterns) => named(patterns),
            Self::NotIn(patterns) => !named(patterns),
        }
    }
}

impl ResourcePattern {
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Nothing) => true,
            (Self::Arn(outer), Self::Arn(inner)) => outer.includes(inner),
            (Self::Arn(_), Self::Any) | (Self::Nothing, Self::Any | Self::Arn(_)) => false,
        }
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Arn(pattern) => {
                asked.fields.as_ref().is_some_and(|fields| pattern.fits(asked.resource, fields, asked.context))
            }
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
