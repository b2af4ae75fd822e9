//! What a policy's author should look at before it is stored: what would be refused, gives too much, or does nothing.
//!
//! It reads one document and knows no other: that a statement is harmless here does not say that the policies together
//! are. A finding is an error if the policy would be refused or is a hole, else a warning.

use super::condition::Condition;
use super::context::{fold, is_among};
use super::json::{self, Node, Position};
use super::parse;
use super::policy::{Actions, Document, Effect, Kind, ResourcePattern, Resources, Statement};
use super::principal::{Element, Principals};
use super::rules::check_size;

#[cfg(test)]
mod tests;

/// Something to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The line of the text, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The rule's name, for programs.
    pub rule: &'static str,
    /// What is the matter, and what would be better.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Severity {
    /// Probably not what the author meant.
    Warning,
    /// Refused when written, or a hole.
    Error,
}

/// Condition keys with more than one value, which are compared by set operators only.
///
/// SPEC: IAM User Guide, "Multivalued context keys"; `ecr:ImageTag` is ours.
const SEVERAL: [&str; 8] = [
    "aws:CalledVia",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceNamesList",
    "aws:ResourceOrgPaths",
    "aws:TagKeys",
    "ecr:ImageTag",
    "kms:EncryptionContextKeys",
    "sts:TransitiveTagKeys",
];

/// Condition keys that say who calls, or from where.
const WHO: [&str; 14] = [
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceName",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceIdentity",
    "aws:SourceIp",
    "aws:SourceOrgID",
    "aws:userid",
    "aws:username",
    "kms:CallerAccount",
    "kms:ViaService",
];

/// Looks a policy's text over. `known_keys` are the condition keys that requests have where it is to be stored.
#[must_use]
pub fn check(kind: Kind, text: &str, known_keys: &[&str]) -> Vec<Finding> {
    let mut lint = Lint { kind, findings: Vec::new() };
    match json::read(text, parse::TEXT_BYTES_MAX) {
        Err(error) => lint.add(Severity::Error, "refused", error.at, error.message),
        Ok(root) => lint.document(&root, text, known_keys),
    }
    lint.findings.sort_by_key(|finding| (finding.line, finding.column));
    lint.findings
}

impl Severity {
    /// The severity in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

struct Lint {
    kind: Kind,
    findings: Vec<Finding>,
}

impl Lint {
    fn add(&mut self, severity: Severity, rule: &'static str, at: Position, message: impl Into<String>) {
        let Position { line, column } = at;
        self.findings.push(Finding { severity, line, column, rule, message: message.into() });
    }

    fn document(&mut self, root: &Node<'_>, text: &str, known_keys: &[&str]) {
        let (document, mut faults) = parse::lenient(self.kind, root);
        faults.extend(check_size(self.kind, text).err());
        let is_whole = faults.is_empty();
        for fault in faults {
            let at = Position { line: fault.line, column: fault.column };
            self.add(Severity::Error, "refused", at, fault.message);
        }
        for warning in document.warnings() {
            let at = Position { line: warning.line, column: warning.column };
            self.add(Severity::Warning, "unknown-action", at, warning.message.clone());
        }
        self.keys(&document, known_keys);
        if root.get("Version").and_then(Node::text) != Some("2012-10-17") {
            self.literal_variables(root);
        }
        for statement in &document.statements {
            let nodes = root.get("Statement").map_or(&[][..], Node::items);
            let place = |element: &str| {
                let node = nodes.iter().find(|node| node.at == statement.at);
                node.and_then(|node| node.get(element)).map_or(statement.at, |node| node.at)
            };
            self.principals(statement, place("Principal"), place("NotPrincipal"));
            self.breadth(statement, &place);
            self.conditions(statement, place("Condition"));
        }
        // What was not understood cannot be compared.
        if is_whole {
            self.dead(&document);
        }
    }

    fn keys(&mut self, document: &Document, known_keys: &[&str]) {
        for (key, at) in &document.keys {
            if !is_among(key, known_keys) {
                let message = format!("no request here has the key {key:?}, so the policy would be refused");
                self.add(Severity::Error, "unknown-key", *at, message);
            }
        }
    }

    fn literal_variables(&mut self, node: &Node<'_>) {
        if node.text().is_some_and(|text| text.contains("${")) {
            let message = "without \"Version\": \"2012-10-17\" a variable is not replaced but compared as it stands";
            self.add(Severity::Warning, "literal-variable", node.at, message);
        }
        match node.members() {
            Some(members) => members.iter().for_each(|member| self.literal_variables(&member.node)),
            None if node.is_array() => node.items().iter().for_each(|item| self.literal_variables(item)),
            None => {}
        }
    }

    fn principals(&mut self, statement: &Statement, principal: Position, not_principal: Position) {
        match &statement.principals {
            Principals::In(list) if list.contains(&Element::Star) && self.gives(statement) => {
                self.everybody(statement, principal);
            }
            Principals::NotIn(_) => {
                let message = "NotPrincipal with Deny also denies every caller that has a permissions boundary, named or \
                    not; Principal \"*\" with ArnNotEquals on aws:PrincipalArn does not";
                self.add(Severity::Warning, "not-principal", not_principal, message);
            }
            Principals::In(_) | Principals::Unnamed => {}
        }
    }

    fn everybody(&mut self, statement: &Statement, at: Position) {
        let limits = |condition: &Condition| condition.needs_key() && WHO.iter().any(|key| fold(key) == condition.key);
        if statement.conditions.is_empty() {
            let message = "everybody is allowed, the anonymous too; name principals, or add a condition on who calls";
            self.add(Severity::Error, "everybody", at, message);
        } else if !statement.conditions.iter().any(limits) {
            let message = "no condition says who calls, or from where, so everybody else is allowed too";
            self.add(Severity::Warning, "everybody", at, message);
        }
    }

    /// Allows that reach further than what they list.
    fn breadth(&mut self, statement: &Statement, place: &impl Fn(&str) -> Position) {
        if !self.gives(statement) {
            return;
        }
        match &statement.actions {
            Actions::NotIn(_) => {
                let message = "an Allow with NotAction covers all other actions of all services, also those to come";
                self.add(Severity::Error, "not-action", place("NotAction"), message);
            }
            Actions::In(_) if statement.actions.cover_all_of("ecr") && statement.conditions.is_empty() => {
                self.everything(statement, place("Action"));
            }
            Actions::In(_) => {}
        }
        if let Resources::NotIn(_) = statement.resources {
            let message = "an Allow with NotResource covers all other resources, also those to come";
            self.add(Severity::Warning, "not-resource", place("NotResource"), message);
        }
    }

    fn everything(&mut self, statement: &Statement, at: Position) {
        let all = match &statement.resources {
            Resources::Attached => true,
            Resources::In(patterns) => patterns.contains(&ResourcePattern::Any),
            Resources::NotIn(_) => false,
        };
        if all {
            let message =
                "every ecr action on every resource, among them to set policies and so to give this to others";
            self.add(Severity::Warning, "everything", at, message);
        }
    }

    fn conditions(&mut self, statement: &Statement, at: Position) {
        for condition in &statement.conditions {
            let Condition { operator, key, .. } = condition;
            let same = statement.conditions.iter().filter(|other| other.key == *key);
            let never = if SEVERAL.iter().any(|several| fold(several) == *key) && !condition.takes_several() {
                Some(format!("{key} has several values, which {operator} never equals; put ForAnyValue: before it"))
            } else if condition.needs_absence() && same.clone().any(Condition::needs_key) {
                Some(format!("{key} would have to be missing and to have a value at once"))
            } else {
                None
            };
            if let Some(why) = never {
                self.never(statement, at, &why);
            }
            let is_open = condition.is_for_all_values() && self.gives(statement);
            if is_open && !same.clone().any(Condition::needs_key) {
                let message = format!(
                    "{operator} also holds for a request without {key}; add \"Null\": {{\"{key}\": \"false\"}} if that is \
                     not meant"
                );
                self.add(Severity::Warning, "for-all-values", at, message);
            }
        }
    }

    /// A Deny that cannot apply leaves a hole where its author sees a wall.
    fn never(&mut self, statement: &Statement, at: Position, why: &str) {
        match statement.effect {
            Effect::Allow => self.add(Severity::Warning, "never", at, format!("{why}, so nothing is allowed")),
            Effect::Deny => self.add(Severity::Error, "never", at, format!("{why}, so nothing is denied")),
        }
    }

    /// Statements that change nothing beside another one of the document.
    fn dead(&mut self, document: &Document) {
        for (index, statement) in document.statements.iter().enumerate() {
            let others = || document.statements.iter().enumerate().filter(|(other, _)| *other != index);
            let denied = others().find(|(_, other)| {
                statement.effect == Effect::Allow && other.effect == Effect::Deny && other.includes(statement)
            });
            let doubled = others().find(|(place, other)| {
                let is_first = *place < index || !statement.includes(other);
                other.effect == statement.effect && other.includes(statement) && is_first
            });
            if let Some((by, _)) = denied {
                let message = format!("statement {} denies all that this one allows", by + 1);
                self.add(Severity::Warning, "unreachable", statement.at, message);
            } else if let Some((by, _)) = doubled {
                let message = format!("statement {} says all that this one says", by + 1);
                self.add(Severity::Warning, "redundant", statement.at, message);
            }
        }
    }

    /// Whether the statement gives somebody something, and is not merely a bound.
    fn gives(&self, statement: &Statement) -> bool {
        let is_grant = match self.kind {
            Kind::Identity | Kind::Trust | Kind::Resource | Kind::Key => true,
            Kind::Boundary | Kind::Session | Kind::ServiceControl | Kind::ResourceControl => false,
        };
        is_grant && statement.effect == Effect::Allow
    }
}
