//! The elements that say whom, what and on which resources a statement is about.

use super::{Parser, Parts, error};
use crate::authz::action::ActionPattern;
use crate::authz::arn::ArnPattern;
use crate::authz::json::{Member, Node, Position, Value, quote};
use crate::authz::policy::{Actions, Effect, Error, Kind, ResourcePattern, Resources, Warning};
use crate::authz::principal::{Element, Principals};
use crate::authz::rules::{Presence, Rules};

const AWS_PRINCIPALS: &str = "\"*\", a 12-digit account id, or the ARN of an account's root, a user, a role, an \
    assumed-role session or a federated user, without wildcards";

impl Parser {
    pub(super) fn principals(&mut self, at: &Node<'_>, parts: &Parts<'_>, effect: Effect) -> Result<Principals, Error> {
        let Rules { principal, not_principal, .. } = self.rules;
        match (parts.principal, parts.not_principal) {
            (None, None) if principal => Err(error(at.at, "the statement needs the element Principal")),
            (None, None) => Ok(Principals::Unnamed),
            (Some(node), None) if principal => self.elements(node).map(Principals::In),
            (None, Some(node)) if not_principal && effect == Effect::Deny => self.elements(node).map(Principals::NotIn),
            (None, Some(node)) if not_principal => {
                Err(error(node.at, "NotPrincipal goes with Deny only; an Allow names its principals"))
            }
            (Some(_), Some(node)) => Err(error(node.at, "a statement has either Principal or NotPrincipal")),
            (None, Some(node)) if principal && effect == Effect::Deny => {
                self.fault(node.at, "NotPrincipal belongs to resource and key policies only")?;
                self.elements(node).map(Principals::NotIn)
            }
            (None, Some(node)) => Err(error(node.at, "NotPrincipal belongs to resource and key policies only")),
            (Some(node), None) => Err(error(
                node.at,
                "Principal belongs to policies of resources; this one applies to whom it is attached to",
            )),
        }
    }

    fn elements(&mut self, node: &Node<'_>) -> Result<Vec<Element>, Error> {
        if node.text() == Some("*") {
            return Ok(vec![Element::Star]);
        }
        if self.kind == Kind::ResourceControl {
            self.fault(node.at, "the Principal of a resource control policy is \"*\"")?;
        }
        let members = node
            .members()
            .filter(|members| !members.is_empty())
            .ok_or_else(|| error(node.at, "a principal is \"*\" or an object with AWS, Service or Federated"))?;
        let mut elements = Vec::new();
        for Member { at, name, node } in members {
            let (read, accepted): (fn(&str) -> Option<Element>, _) = match name.as_ref() {
                "AWS" => (Element::aws, AWS_PRINCIPALS),
                "Service" => (Element::service, "a service's name such as replication.ecr.amazonaws.com"),
                "Federated" => (Element::federated, "the ARN of an oidc-provider or saml-provider"),
                _ => {
                    let known = "there are AWS, Service, Federated";
                    self.fault(*at, format!("unknown kind of principal {}; {known}", quote(name)))?;
                    continue;
                }
            };
            for string in strings(name, node)? {
                let (text, place) = string?;
                let element = read(text);
                if element.is_none() {
                    self.fault(place, format!("{} is no {name} principal; accepted: {accepted}", quote(text)))?;
                }
                elements.push(element.unwrap_or(Element::Nobody));
            }
        }
        Ok(elements)
    }

    pub(super) fn actions(&mut self, at: &Node<'_>, parts: &Parts<'_>) -> Result<Actions, Error> {
        match (parts.action, parts.not_action) {
            (Some(node), None) => self.action_list("Action", node).map(Actions::In),
            (None, Some(node)) => {
                if self.kind == Kind::Trust {
                    self.fault(node.at, "NotAction does not belong to a trust policy; name the sts actions")?;
                }
                self.action_list("NotAction", node).map(Actions::NotIn)
            }
            (Some(_), Some(node)) => Err(error(node.at, "a statement has either Action or NotAction")),
            (None, None) => Err(error(at.at, "the statement needs the element Action or NotAction")),
        }
    }

    fn action_list(&mut self, element: &str, node: &Node<'_>) -> Result<Vec<ActionPattern>, Error> {
        let mut patterns = Vec::with_capacity(node.items().len());
        for string in strings(element, node)? {
            let (text, at) = string?;
            let Some(pattern) = ActionPattern::parse(text) else {
                let accepted = "\"*\" or service:Name, with * and ? in the name";
                self.fault(at, format!("{} is no action; accepted: {accepted}", quote(text)))?;
                patterns.push(ActionPattern::Nothing);
                continue;
            };
            if self.kind == Kind::Trust && !pattern.is_of("sts") {
                self.fault(at, format!("{} in a trust policy; only sts actions are accepted", quote(text)))?;
            }
            if self.kind == Kind::Resource && text.eq_ignore_ascii_case("ecr:GetAuthorizationToken") {
                self.fault(at, "ecr:GetAuthorizationToken is granted by identity policies only, not by a resource's")?;
            }
            if pattern.is_unknown() {
                let message = format!("{} covers no operation known here", quote(text));
                self.warnings.push(Warning { line: at.line, column: at.column, message });
            }
            patterns.push(pattern);
        }
        Ok(patterns)
    }

    pub(super) fn resources(&mut self, at: &Node<'_>, parts: &Parts<'_>, effect: Effect) -> Result<Resources, Error> {
        match (parts.resource, parts.not_resource) {
            (None, None) => {
                if self.rules.resource == Presence::Required {
                    self.fault(at.at, "the statement needs the element Resource or NotResource")?;
                }
                // Only what is attached to a resource can leave it out and still mean one.
                Ok(if self.rules.principal { Resources::Attached } else { Resources::In(Vec::new()) })
            }
            (Some(node), _) | (None, Some(node)) if self.rules.resource == Presence::Forbidden => {
                self.fault(node.at, "a trust policy has no Resource: it is about its role")?;
                Ok(Resources::Attached)
            }
            (Some(node), None) => self.resource_list("Resource", node).map(Resources::In),
            (None, Some(node)) => {
                let patterns = self.resource_list("NotResource", node)?;
                let open = |p: &ResourcePattern| matches!(p, ResourcePattern::Arn(arn) if arn.is_open());
                // Without its value the entry would exclude nothing, and the Allow would cover what it meant to spare.
                if effect == Effect::Allow && patterns.iter().any(open) {
                    return Err(error(node.at, "NotResource with a variable goes with Deny only"));
                }
                Ok(Resources::NotIn(patterns))
            }
            (Some(_), Some(node)) => Err(error(node.at, "a statement has either Resource or NotResource")),
        }
    }

    fn resource_list(&mut self, element: &str, node: &Node<'_>) -> Result<Vec<ResourcePattern>, Error> {
        let mut patterns = Vec::with_capacity(node.items().len());
        for string in strings(element, node)? {
            let (text, at) = string?;
            let pattern = match ArnPattern::resource(text, self.variables) {
                _ if text == "*" => ResourcePattern::Any,
                Ok(pattern) => {
                    pattern.keys().for_each(|key| self.key(key, at));
                    ResourcePattern::Arn(pattern)
                }
                Err(accepted) => {
                    self.fault(at, format!("{} is not accepted as {element}: {accepted}", quote(text)))?;
                    ResourcePattern::Nothing
                }
            };
            patterns.push(pattern);
        }
        Ok(patterns)
    }
}

/// The strings of one, or of an array of one or more, each with its place.
fn strings<'n>(
    element: &str,
    node: &'n Node<'_>,
) -> Result<impl Iterator<Item = Result<(&'n str, Position), Error>>, Error> {
    if node.value == Value::Array(Vec::new()) {
        return Err(error(node.at, format!("{element} is empty; at least one string is needed")));
    }
    Ok(node.items().iter().map(move |item| {
        let wrong = || error(item.at, format!("{element} is a string or an array of strings, not {}", item.what()));
        item.text().map(|text| (text, item.at)).ok_or_else(wrong)
    }))
}
