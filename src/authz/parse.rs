//! From JSON to a policy document: everything that a policy of its kind may say, and the refusal of all else.
//!
//! The strict reading stops at the first fault. The lenient one is for test cases, which may hold documents that no
//! store would accept: a faulty value matches nothing, a faulty statement is dropped, and every fault is reported.

use super::condition::{Condition, Operand, Operator};
use super::context::fold;
use super::federation;
use super::json::{self, Member, Node, Position, quote};
use super::policy::{Document, Effect, Error, Kind, Statement, Warning};
use super::rules::{Rules, check_size, rules};
use std::collections::{BTreeMap, BTreeSet};

mod elements;

/// The longest text of a policy that is looked at, in bytes; the limits of each kind are lower.
pub(super) const TEXT_BYTES_MAX: usize = 131_072;
/// The longest `Sid`, in characters.
const SID_CHARS_MAX: usize = 256;

/// Reads a policy's text strictly.
pub(super) fn text(kind: Kind, text: &str) -> Result<Document, Error> {
    let root = json::read(text, TEXT_BYTES_MAX)?;
    check_size(kind, text)?;
    let mut parser = Parser::new(kind, false);
    let statements = parser.document(&root)?;
    Ok(parser.finish(statements))
}

/// Reads a policy leniently and reports its faults; a document that cannot be read at all has no statements.
pub(super) fn lenient(kind: Kind, root: &Node<'_>) -> (Document, Vec<Error>) {
    let mut parser = Parser::new(kind, true);
    let statements = parser.document(root).unwrap_or_else(|fault| {
        parser.faults.push(fault);
        Vec::new()
    });
    let faults = std::mem::take(&mut parser.faults);
    (parser.finish(statements), faults)
}

struct Parser {
    kind: Kind,
    rules: Rules,
    lenient: bool,
    /// `${…}` is a variable: the document says `2012-10-17`.
    variables: bool,
    sids: BTreeSet<String>,
    /// The statement at hand speaks of actions of ours, so its condition keys count.
    ours: bool,
    /// Folded, with the first place of each.
    keys: BTreeMap<String, Position>,
    warnings: Vec<Warning>,
    faults: Vec<Error>,
}

/// The elements of a statement, each at most once since members are unique.
#[derive(Default)]
struct Parts<'n> {
    sid: Option<&'n Node<'n>>,
    effect: Option<&'n Node<'n>>,
    principal: Option<&'n Node<'n>>,
    not_principal: Option<&'n Node<'n>>,
    action: Option<&'n Node<'n>>,
    not_action: Option<&'n Node<'n>>,
    resource: Option<&'n Node<'n>>,
    not_resource: Option<&'n Node<'n>>,
    condition: Option<&'n Node<'n>>,
}

fn error(at: Position, message: impl Into<String>) -> Error {
    Error { line: at.line, column: at.column, message: message.into() }
}

impl Parser {
    fn new(kind: Kind, lenient: bool) -> Self {
        Self {
            kind,
            rules: rules(kind),
            lenient,
            variables: false,
            sids: BTreeSet::new(),
            ours: false,
            keys: BTreeMap::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn finish(self, statements: Vec<Statement>) -> Document {
        Document { kind: self.kind, statements, keys: self.keys, warnings: self.warnings }
    }

    /// Notes a folded key where it first stands, unless its statement can cover nothing that is served here.
    fn key(&mut self, key: &str, at: Position) {
        if self.ours {
            self.keys.entry(key.to_owned()).or_insert(at);
        }
    }

    /// A fault that the lenient reading survives.
    fn fault(&mut self, at: Position, message: impl Into<String>) -> Result<(), Error> {
        let fault = error(at, message);
        if self.lenient {
            self.faults.push(fault);
            return Ok(());
        }
        Err(fault)
    }

    fn document(&mut self, root: &Node<'_>) -> Result<Vec<Statement>, Error> {
        let members =
            root.members().ok_or_else(|| error(root.at, format!("a policy is a JSON object, not {}", root.what())))?;
        for Member { at, name, node } in members {
            match name.as_ref() {
                "Version" => self.version(node)?,
                "Statement" => {}
                "Id" if self.rules.id => {
                    if node.text().is_none() {
                        self.fault(node.at, format!("Id is a string, not {}", node.what()))?;
                    }
                }
                "Id" => self.fault(*at, "Id belongs to resource, trust and key policies only")?,
                _ => {
                    self.fault(*at, format!("unknown element {}; a policy has Version, Id and Statement", quote(name)))?
                }
            }
        }
        let statement = members.iter().find(|member| member.name == "Statement");
        let node = &statement.ok_or_else(|| error(root.at, "a policy needs the element Statement"))?.node;
        if node.items().is_empty() {
            return Err(error(node.at, "Statement is empty; a policy needs at least one statement"));
        }
        self.statements(node.items())
    }

    fn version(&mut self, node: &Node<'_>) -> Result<(), Error> {
        match node.text() {
            Some("2012-10-17") => self.variables = true,
            Some("2008-10-17") => {}
            _ => self.fault(node.at, "Version is \"2012-10-17\" or \"2008-10-17\"")?,
        }
        Ok(())
    }

    fn statements(&mut self, nodes: &[Node]) -> Result<Vec<Statement>, Error> {
        let mut statements = Vec::with_capacity(nodes.len());
        for node in nodes {
            match self.statement(node) {
                Ok(statement) => statements.push(statement),
                Err(fault) if self.lenient => self.faults.push(fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(statements)
    }

    fn statement(&mut self, node: &Node<'_>) -> Result<Statement, Error> {
        let parts = parts(node)?;
        let effect = effect(node, parts.effect)?;
        let sid = self.sid(parts.sid)?;
        let principals = self.principals(node, &parts, effect)?;
        let actions = self.actions(node, &parts)?;
        self.ours = actions.speak_of_ours();
        let statement = Statement {
            at: node.at,
            sid,
            effect,
            principals,
            actions,
            resources: self.resources(node, &parts, effect)?,
            conditions: parts.condition.map_or_else(|| Ok(Vec::new()), |node| self.conditions(node))?,
        };
        if self.kind == Kind::ResourceControl && effect == Effect::Allow && !statement.allows_everything() {
            self.fault(node.at, "a resource control policy denies; only the one that allows \"*\" on \"*\" may allow")?;
        }
        if self.kind == Kind::Trust
            && let Some(issuer) = federation::open_to(&statement)
        {
            let message = format!(
                "everybody with an account at {issuer} could assume the role; name whose tokens are meant by \
                 StringEquals or StringLike on \"{issuer}:sub\" or \"{issuer}:repository_id\""
            );
            self.fault(node.at, message)?;
        }
        Ok(statement)
    }

    fn sid(&mut self, node: Option<&Node<'_>>) -> Result<Option<String>, Error> {
        let Some(node) = node else { return Ok(None) };
        let sid = node.text().ok_or_else(|| error(node.at, format!("Sid is a string, not {}", node.what())))?;
        if sid.chars().count() > SID_CHARS_MAX || sid.chars().any(char::is_control) {
            self.fault(
                node.at,
                format!("Sid has at most {SID_CHARS_MAX} characters, none of them a control character"),
            )?;
        }
        if self.rules.strict_sid && !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            self.fault(node.at, format!("Sid {} has other characters than A-Z a-z 0-9", quote(sid)))?;
        }
        if sid.is_empty() {
            return Ok(None);
        }
        if !self.sids.insert(sid.to_owned()) && self.rules.strict_sid {
            self.fault(node.at, format!("Sid {} stands twice in the document", quote(sid)))?;
        }
        Ok(Some(sid.to_owned()))
    }

    fn conditions(&mut self, node: &Node<'_>) -> Result<Vec<Condition>, Error> {
        let operators = node
            .members()
            .ok_or_else(|| error(node.at, format!("Condition is an object of operators, not {}", node.what())))?;
        let mut conditions: Vec<Condition> = Vec::new();
        for Member { at, name, node } in operators {
            let operator = Operator::parse(name)
                .ok_or_else(|| error(*at, format!("unknown condition operator {}", quote(name))))?;
            let keys = node
                .members()
                .ok_or_else(|| error(node.at, format!("{name} is an object of condition keys, not {}", node.what())))?;
            for Member { at, name: key, node } in keys {
                self.key(&fold(key), *at);
                let condition = self.condition(operator, name, key, node)?;
                if conditions.iter().any(|c| c.operator == condition.operator && c.key == condition.key) {
                    self.fault(
                        *at,
                        format!("the key {} stands twice under {name}, whose case does not count", quote(key)),
                    )?;
                }
                conditions.push(condition);
            }
        }
        Ok(conditions)
    }

    fn condition(&mut self, operator: Operator, name: &str, key: &str, node: &Node<'_>) -> Result<Condition, Error> {
        if key.trim().is_empty() {
            self.fault(node.at, format!("a condition key of {name} is empty"))?;
        }
        if node.items().is_empty() {
            self.fault(node.at, format!("{name} {} has no values", quote(key)))?;
        }
        let mut operands = Vec::with_capacity(node.items().len());
        for item in node.items() {
            let text = item.scalar().ok_or_else(|| {
                error(item.at, format!("a condition value is a string, number or boolean, not {}", item.what()))
            })?;
            let operand = match operator.operand(text, self.variables) {
                Ok(operand) => operand,
                Err(accepted) => {
                    self.fault(item.at, format!("{} is no value for {name}: {accepted}", quote(text)))?;
                    Operand::Never
                }
            };
            operand.keys().iter().for_each(|key| self.key(key, item.at));
            operands.push(operand);
        }
        Ok(Condition { operator, key: fold(key), operands })
    }
}

fn parts<'n>(node: &'n Node<'n>) -> Result<Parts<'n>, Error> {
    let members =
        node.members().ok_or_else(|| error(node.at, format!("a statement is an object, not {}", node.what())))?;
    let mut parts = Parts::default();
    for Member { at, name, node } in members {
        let slot = match name.as_ref() {
            "Sid" => &mut parts.sid,
            "Effect" => &mut parts.effect,
            "Principal" => &mut parts.principal,
            "NotPrincipal" => &mut parts.not_principal,
            "Action" => &mut parts.action,
            "NotAction" => &mut parts.not_action,
            "Resource" => &mut parts.resource,
            "NotResource" => &mut parts.not_resource,
            "Condition" => &mut parts.condition,
            _ => {
                let known = "Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource, Condition";
                return Err(error(*at, format!("unknown element {}; a statement has {known}", quote(name))));
            }
        };
        *slot = Some(node);
    }
    Ok(parts)
}

fn effect(statement: &Node<'_>, node: Option<&Node<'_>>) -> Result<Effect, Error> {
    let node = node.ok_or_else(|| error(statement.at, "the statement needs the element Effect"))?;
    match node.text() {
        Some("Allow") => Ok(Effect::Allow),
        Some("Deny") => Ok(Effect::Deny),
        _ => Err(error(node.at, "Effect is \"Allow\" or \"Deny\"")),
    }
}
