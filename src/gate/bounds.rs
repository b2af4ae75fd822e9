//! Compiles the bounds of a registry token to statements that deny, so that the one evaluator holds them.
//!
//! A denial is final whatever else allows, so bounds only take away, those of a token made from a token too. Tags are
//! looked at as a grant looks at them: what is read must be reached by a tag that is covered, what is written must name no
//! other, and what is removed must be both.

use crate::ctx::Bound;
use crate::names::{AccountId, Arn};
use serde_json::{Value, json};

/// Stands beside the bounds of a session without policies of its own, which without it could do nothing.
pub(super) const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

/// What any token is good for: to ask who one is, and to be made into a narrower one.
const ALWAYS: [&str; 2] = ["ecr:GetAuthorizationToken", "sts:GetCallerIdentity"];
const READS: [&str; 5] = [
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchCheckLayerAvailability",
    "ecr:ListImages",
    "ecr:DescribeImages",
];
const WRITES: [&str; 6] = [
    "ecr:CreateRepository",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
    "ecr:BatchCheckLayerAvailability",
];
const DELETE: &str = "ecr:BatchDeleteImage";

/// A bound as a session policy.
pub(super) fn compile(bound: &Bound) -> String {
    let rights = [(bound.pull, &READS[..]), (bound.push, &WRITES), (bound.delete, &[DELETE])];
    let named = rights.into_iter().filter(|(given, _)| *given).flat_map(|(_, actions)| actions.iter().copied());
    let actions: Vec<&str> = ALWAYS.into_iter().chain(named).collect();
    let mut statements = vec![json!({ "Sid": "Actions", "Effect": "Deny", "NotAction": actions, "Resource": "*" })];
    if !bound.repositories.is_empty() {
        let covered = bound.repositories.iter().map(|(account, pattern)| repositories(*account, pattern.as_str()));
        let covered: Vec<String> = covered.collect();
        statements
            .push(json!({ "Sid": "Repositories", "Effect": "Deny", "NotAction": ALWAYS, "NotResource": covered }));
    }
    if !bound.sources.is_empty() {
        let sources: Vec<&str> = bound.sources.iter().map(|network| network.as_str()).collect();
        statements.push(denial("Sources", &["*"], "NotIpAddress", "aws:SourceIp", &sources));
    }
    if !bound.tags.is_empty() {
        let tags: Vec<&str> = bound.tags.iter().map(|pattern| pattern.as_str()).collect();
        let reached: Vec<&str> = READS.into_iter().chain([DELETE]).collect();
        statements.push(denial("TagsRead", &reached, "ForAllValues:StringNotLike", "ecr:ImageTag", &tags));
        let named = ["ecr:PutImage", DELETE];
        statements.push(denial("TagsWritten", &named, "ForAnyValue:StringNotLike", "ecr:ImageTag", &tags));
    }
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn repositories(account: AccountId, pattern: &str) -> String {
    Arn::new("ecr", "*", Some(account), &format!("repository/{pattern}")).to_string()
}

fn denial(sid: &str, actions: &[&str], operator: &str, key: &str, values: &[&str]) -> Value {
    json!({ "Sid": sid, "Effect": "Deny", "Action": actions, "Resource": "*", "Condition": { operator: { key: values } } })
}

#[cfg(test)]
mod tests {
    use super::{EVERYTHING, compile};
    use crate::authz::policy::{Document, Kind};
    use crate::ctx::Bound;
    use crate::names::{AccountId, Network, RepositoryPattern, TagPattern};

    #[test]
    fn every_bound_is_a_policy_that_the_engine_reads() {
        let whole = Bound {
            repositories: vec![(AccountId::from_seed(1), RepositoryPattern::parse("team/*").unwrap())],
            tags: vec![TagPattern::parse("v*").unwrap()],
            pull: true,
            push: true,
            delete: true,
            sources: vec![Network::parse("10.0.0.0/8").unwrap(), Network::parse("::1").unwrap()],
        };
        for bound in [whole, Bound::default()] {
            let text = compile(&bound);
            assert!(Document::parse(Kind::Session, &text).is_ok(), "{text}");
        }
        assert!(Document::parse(Kind::Session, EVERYTHING).is_ok());
    }
}
