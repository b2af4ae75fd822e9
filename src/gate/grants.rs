//! Compiles a grant to the resource-policy statements that the engine evaluates.
//!
//! PULL looks at every tag that reaches an object (`ForAnyValue`), so what only another tag reaches stays hidden.
//! PUSH has three: bytes may be uploaded before any tag is known; what is here already may be asked for, and so named by
//! a manifest, only as far as a tag it covers reaches; `PutImage` must name only tags it covers.

use crate::names::{AccountId, RepositoryRef};
use crate::store::grants::{GrantAction, GrantRow};
use crate::store::registries::StoredPolicy;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PULL: &[&str] = &[
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchCheckLayerAvailability",
    "ecr:ListImages",
    "ecr:DescribeImages",
];
const UPLOAD: &[&str] = &["ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload"];

/// A grant as a policy with the unique ids it is bound to; `None` when it has nothing to say about a repository.
pub(super) fn compile(grant: &GrantRow, repository: &RepositoryRef) -> Option<StoredPolicy> {
    let covers = crate::authz::glob::Pattern::new(&grant.repository_pattern).matches(repository.name.as_str());
    if !covers || grant.account != repository.account {
        return None;
    }
    let statements: Vec<Value> = grant.actions.iter().flat_map(|action| statements(grant, *action)).collect();
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let bindings = grant.grantee_id.iter().map(|id| (grant.grantee.clone(), id.clone())).collect();
    Some(StoredPolicy { text: policy.to_string(), bindings })
}

/// Whether another region's registry may have a blob back, as the policy of the repository that holds it.
pub(super) fn replica(account: AccountId, proven: bool) -> StoredPolicy {
    let policy = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": if proven { "Allow" } else { "Deny" },
        "Principal": { "AWS": account.as_str() },
        "Action": "transship:FetchBlob",
    } });
    StoredPolicy { text: policy.to_string(), bindings: BTreeMap::new() }
}

fn statements(grant: &GrantRow, action: GrantAction) -> Vec<Value> {
    match action {
        GrantAction::Pull => vec![statement(grant, PULL, Some("ForAnyValue:StringLike"))],
        GrantAction::Push => vec![
            statement(grant, UPLOAD, None),
            statement(grant, &["ecr:BatchCheckLayerAvailability"], Some("ForAnyValue:StringLike")),
            // An image pushed by digest carries no tag yet and so reaches nobody: the set is empty and passes.
            statement(grant, &["ecr:PutImage"], Some("ForAllValues:StringLike")),
        ],
    }
}

fn statement(grant: &GrantRow, actions: &[&str], tags: Option<&str>) -> Value {
    let mut statement = json!({
        "Effect": "Allow",
        "Principal": { "AWS": grant.grantee },
        "Action": actions,
    });
    if let Some(operator) = tags.filter(|_| grant.tag_pattern.as_str() != "*") {
        statement["Condition"] = json!({ operator: { "ecr:ImageTag": grant.tag_pattern.as_str() } });
    }
    statement
}
