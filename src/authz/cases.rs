//! Test cases of policies: a file of requests, the policies that bear on each, and the expected answer.
//!
//! The format is that of `tests/vectors/policy-cases.json`. Documents are read leniently, because a case may ask what
//! becomes of a policy that no store would accept; what was refused is part of the report. A case's context may have any
//! key, known to this server or not. Nothing here knows the policies of a running server.

use super::context::Context;
use super::eval::{Attached, Caller, Outcome, Policies, Request, evaluate};
use super::json::{self, Node, Value};
use super::policy::{Document, Kind};
use super::{explain, parse, principal};
use crate::names::AccountId;

#[cfg(test)]
mod tests;

/// The largest file of cases, in bytes.
const FILE_BYTES_MAX: usize = 16 << 20;

/// Why a file of cases cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// The line of the file, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What was wrong.
    pub message: String,
}

/// What came of a file of cases.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How many cases gave the expected answer.
    pub passed: usize,
    /// The others, in the order of the file.
    pub failures: Vec<Failure>,
    /// What a store would refuse in the cases that passed: a case's name, and what and where.
    pub refusals: Vec<(String, String)>,
}

/// A case with another answer than expected, or one that cannot be judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The case's name.
    pub name: String,
    /// The answer in the file.
    pub expected: String,
    /// The answer given; `None` for a case that lacks what is needed to judge it.
    pub got: Option<Outcome>,
    /// The sentence, its ground, what was missing, and what a store would refuse in the case's documents.
    pub explanation: String,
}

/// Runs all cases of a file.
///
/// # Errors
/// When the file is not JSON or has no cases.
pub fn run(text: &str) -> Result<Report, Error> {
    let root = json::read(text, FILE_BYTES_MAX)?;
    let mut report = Report::default();
    for node in need(&root, "cases")?.items() {
        match Case::read(node) {
            Ok(case) => report.add(&case),
            Err(error) => report.failures.push(unjudged(node, &error)),
        }
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, case: &Case<'_>) {
        match case.judge() {
            Some(failure) => self.failures.push(failure),
            None => {
                self.passed += 1;
                let refusals = case.documents.refusals.iter().map(|refusal| (case.name.to_owned(), refusal.clone()));
                self.refusals.extend(refusals);
            }
        }
    }
}

fn unjudged(node: &Node<'_>, error: &Error) -> Failure {
    let told = |member| node.get(member).and_then(Node::text).unwrap_or("?").to_owned();
    Failure { name: told("name"), expected: told("expect"), got: None, explanation: error.to_string() }
}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Self {
        Self { line: error.at.line, column: error.at.column, message: error.message }
    }
}

struct Case<'n> {
    name: &'n str,
    expected: &'n str,
    caller: Caller<'n>,
    action: &'n str,
    resource: &'n str,
    resource_account: AccountId,
    context: Context,
    documents: Documents,
}

/// The case's documents, each named by its place.
#[derive(Default)]
struct Documents {
    identity: Vec<Named>,
    boundary: Vec<Named>,
    session: Option<Vec<Named>>,
    scp: Vec<Vec<Named>>,
    rcp: Vec<Vec<Named>>,
    resource: Vec<Named>,
    /// What a store would have refused.
    refusals: Vec<String>,
}

struct Named {
    id: String,
    document: Document,
}

impl<'n> Case<'n> {
    fn read(node: &'n Node<'n>) -> Result<Self, Error> {
        let request = need(node, "request")?;
        let action = need_text(request, "action")?;
        Ok(Self {
            name: need_text(node, "name")?,
            expected: need_text(node, "expect")?,
            caller: caller(request)?,
            action,
            resource: need_text(request, "resource")?,
            resource_account: account(request, "resource_account")?,
            context: request.get("context").map_or_else(|| Ok(Context::new()), context)?,
            documents: Documents::read(need(node, "policies")?, resource_kind(action)),
        })
    }

    fn judge(&self) -> Option<Failure> {
        let request = Request {
            caller: self.caller,
            action: self.action,
            resource: self.resource,
            resource_account: self.resource_account,
            context: &self.context,
        };
        let documents = &self.documents;
        let (identity, resource) = (attached(&documents.identity), attached(&documents.resource));
        let session = documents.session.as_deref().map(attached);
        let (scp, rcp) = (attached_levels(&documents.scp), attached_levels(&documents.rcp));
        let boundary = attached(&documents.boundary).first().copied();
        let policies = Policies {
            identity: &identity,
            boundary,
            session: session.as_deref(),
            scp: &scp,
            rcp: &rcp,
            resource: &resource,
        };
        let decision = evaluate(&request, &policies);
        if decision.outcome().as_str() == self.expected {
            return None;
        }
        let mut explanation = vec![explain::sentence(&request, &decision), explain::detail(&decision)];
        explanation.extend(explain::closest(&request, &policies, &decision));
        explanation.extend(documents.refusals.iter().map(|refusal| format!("a store refuses {refusal}")));
        let (name, expected) = (self.name.to_owned(), self.expected.to_owned());
        Some(Failure { name, expected, got: Some(decision.outcome()), explanation: explanation.join("; ") })
    }
}

fn attached(list: &[Named]) -> Vec<Attached<'_>> {
    list.iter().map(|named| Attached { id: &named.id, document: &named.document }).collect()
}

fn attached_levels(levels: &[Vec<Named>]) -> Vec<Vec<Attached<'_>>> {
    levels.iter().map(|level| attached(level)).collect()
}

impl Documents {
    fn read(policies: &Node<'_>, resource_kind: Kind) -> Self {
        let mut all = Self::default();
        all.identity = all.list(Kind::Identity, "identity", policies);
        all.boundary = all.list(Kind::Boundary, "boundary", policies);
        all.session = policies.get("session").is_some().then(|| all.list(Kind::Session, "session", policies));
        all.scp = all.levels(Kind::ServiceControl, "scp", policies);
        all.rcp = all.levels(Kind::ResourceControl, "rcp", policies);
        all.resource = all.list(resource_kind, "resource", policies);
        all
    }

    fn list(&mut self, kind: Kind, place: &str, policies: &Node<'_>) -> Vec<Named> {
        let nodes = policies.get(place).map_or(&[][..], Node::items);
        nodes.iter().enumerate().map(|(n, node)| self.document(kind, format!("{place}[{n}]"), node)).collect()
    }

    fn levels(&mut self, kind: Kind, place: &str, policies: &Node<'_>) -> Vec<Vec<Named>> {
        let levels = policies.get(place).map_or(&[][..], Node::items);
        let mut read = Vec::with_capacity(levels.len());
        for (m, level) in levels.iter().enumerate() {
            let nodes = level.items().iter().enumerate();
            read.push(nodes.map(|(n, node)| self.document(kind, format!("{place}[{m}][{n}]"), node)).collect());
        }
        read
    }

    fn document(&mut self, kind: Kind, id: String, node: &Node<'_>) -> Named {
        let (document, faults) = parse::lenient(kind, node);
        self.refusals.extend(faults.iter().map(|fault| format!("{id} ({fault})")));
        Named { id, document }
    }
}

/// What a case's `resource` policy is: the actions on roles and keys bring trust and key policies.
fn resource_kind(action: &str) -> Kind {
    let (service, name) = action.split_once(':').unwrap_or((action, ""));
    let name = name.to_ascii_lowercase();
    if service.eq_ignore_ascii_case("kms") {
        Kind::Key
    } else if service.eq_ignore_ascii_case("sts")
        && (name.starts_with("assumerole") || name == "tagsession" || name == "setsourceidentity")
    {
        Kind::Trust
    } else {
        Kind::Resource
    }
}

/// Reads `principal`, and for a session the ARN of its role or maker.
fn caller<'n>(request: &'n Node<'n>) -> Result<Caller<'n>, Error> {
    let principal = need_text(request, "principal")?;
    let Some([_, _, service, _, _, name]) = super::arn::fields(principal) else {
        return Ok(match principal {
            "anonymous" => Caller::Anonymous,
            name if principal::is_built_in_provider(name) => Caller::WebIdentity(name),
            name => Caller::Service(name),
        });
    };
    let kind = name.split('/').next().unwrap_or(name);
    if service == "iam" && matches!(kind, "oidc-provider" | "saml-provider") {
        return Ok(Caller::WebIdentity(principal));
    }
    let account = account(request, "principal_account")?;
    match (service, kind) {
        ("iam", "user") => Ok(Caller::User { account, arn: principal, unique_id: "" }),
        ("iam", "root") => Ok(Caller::Root { account, arn: principal }),
        ("sts", "federated-user") => {
            let user = request.get("principal_user_arn").and_then(Node::text).map(|arn| (arn, ""));
            Ok(Caller::FederatedUser { account, arn: principal, user })
        }
        ("sts", "assumed-role") => {
            let role_arn = need_text(request, "principal_role_arn")?;
            if principal::is_service_linked(role_arn) {
                return Ok(Caller::ServiceLinkedRole { account, arn: role_arn, session_arn: Some(principal) });
            }
            Ok(Caller::RoleSession { account, session_arn: principal, role_arn, unique_id: "" })
        }
        _ => Err(wrong(
            request,
            "principal is a user, role session, federated user, root, provider, service or \"anonymous\"",
        )),
    }
}

/// A list is a multivalued key, any other value a single-valued one; `null` is no key.
fn context(node: &Node<'_>) -> Result<Context, Error> {
    let mut context = Context::new();
    for member in node.members().ok_or_else(|| wrong(node, "context is an object"))? {
        let text = |item: &Node<'_>| item.scalar().map(str::to_owned);
        match &member.node.value {
            Value::Null => {}
            Value::Array(items) => {
                let texts: Option<Vec<String>> = items.iter().map(text).collect();
                let texts = texts.ok_or_else(|| wrong(&member.node, "the values of a key are strings"))?;
                context.set_many(&member.name, texts);
            }
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_) => {
                let text =
                    text(&member.node).ok_or_else(|| wrong(&member.node, "a key's value is a string or a list"))?;
                context.set(&member.name, text);
            }
        }
    }
    Ok(context)
}

fn wrong(node: &Node<'_>, message: impl Into<String>) -> Error {
    Error { line: node.at.line, column: node.at.column, message: message.into() }
}

fn need<'n>(node: &'n Node<'n>, name: &str) -> Result<&'n Node<'n>, Error> {
    node.get(name).ok_or_else(|| wrong(node, format!("{name} is missing")))
}

fn need_text<'n>(node: &'n Node<'n>, name: &str) -> Result<&'n str, Error> {
    let node = need(node, name)?;
    node.text().ok_or_else(|| wrong(node, format!("{name} is a string")))
}

fn account(node: &Node<'_>, name: &str) -> Result<AccountId, Error> {
    let text = need_text(node, name)?;
    AccountId::parse(text).map_err(|error| wrong(node, format!("{name}: {error}")))
}
