//! Every rule of the lint, by a statement that it finds and one that it passes.

use super::{Severity, check};
use crate::authz::policy::Kind;
use Kind::{Boundary, Identity, Key, Resource, ServiceControl, Trust};

const KNOWN: [&str; 5] = ["aws:PrincipalArn", "aws:SourceIp", "aws:username", "ecr:ImageTag", "aws:SecureTransport"];

/// Rules and lines of the findings in a document of these statements, each on a line of its own from line 2.
fn found(kind: Kind, statements: &[&str]) -> Vec<(&'static str, Severity, usize)> {
    let text = format!("{{\"Version\": \"2012-10-17\", \"Statement\": [\n{}]}}", statements.join(",\n"));
    check(kind, &text, &KNOWN).into_iter().map(|f| (f.rule, f.severity, f.line)).collect()
}

#[test]
fn a_rule_finds_its_statement_and_passes_its_neighbour() {
    use Severity::{Error, Warning};
    let table = [
        (
            Resource,
            r#"{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}"#,
            vec![("everybody", Error, 2)],
        ),
        (
            Resource,
            r#"{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "ecr:BatchGetImage", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}"#,
            vec![("everybody", Warning, 2)],
        ),
        (
            Resource,
            r#"{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage", "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:*"}}}"#,
            vec![("everybody", Warning, 2)],
        ),
        (
            Resource,
            r#"{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}"#,
            vec![],
        ),
        (Resource, r#"{"Effect": "Deny", "Principal": "*", "Action": "ecr:PutImage"}"#, vec![]),
        (
            Resource,
            r#"{"Effect": "Allow", "NotPrincipal": {"AWS": "111122223333"}, "Action": "ecr:PutImage"}"#,
            vec![("refused", Error, 2)],
        ),
        (
            Resource,
            r#"{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "ecr:PutImage"}"#,
            vec![("not-principal", Warning, 2)],
        ),
        (
            Resource,
            r#"{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "ecr:*"}"#,
            vec![("everything", Warning, 2)],
        ),
        (Identity, r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#, vec![("everything", Warning, 2)]),
        (
            Identity,
            r#"{"Effect": "Allow", "Action": "ecr:*", "Resource": "arn:aws:ecr:*:111122223333:repository/team/*"}"#,
            vec![],
        ),
        (Boundary, r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#, vec![]),
        (Identity, r#"{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}"#, vec![("not-action", Error, 2)]),
        (Identity, r#"{"Effect": "Deny", "NotAction": "ecr:*", "Resource": "*"}"#, vec![]),
        (ServiceControl, r#"{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}"#, vec![]),
        (
            Identity,
            r#"{"Effect": "Allow", "Action": "ecr:PutImage", "NotResource": "arn:aws:ecr:*:111122223333:repository/base/*"}"#,
            vec![("not-resource", Warning, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Allow", "Action": "ecr:BatchGetImag", "Resource": "*"}"#,
            vec![("unknown-action", Warning, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Deny", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}"#,
            vec![("unknown-key", Error, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": {"StringEquals": {"s3:prefix": "x"}}}"#,
            vec![],
        ),
        (
            Identity,
            r#"{"Effect": "Deny", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"StringLike": {"ecr:ImageTag": "v*"}}}"#,
            vec![("never", Error, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Allow", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"StringLike": {"ecr:ImageTag": "v*"}}}"#,
            vec![("never", Warning, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Deny", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"ForAnyValue:StringLike": {"ecr:ImageTag": "v*"}}}"#,
            vec![],
        ),
        (
            Identity,
            r#"{"Effect": "Deny", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"Null": {"aws:username": "true"}, "StringEquals": {"aws:username": "x"}}}"#,
            vec![("never", Error, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Allow", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"ForAllValues:StringLike": {"ecr:ImageTag": "v*"}}}"#,
            vec![("for-all-values", Warning, 2)],
        ),
        (
            Identity,
            r#"{"Effect": "Allow", "Action": "ecr:PutImage", "Resource": "*", "Condition": {"ForAllValues:StringLike": {"ecr:ImageTag": "v*"}, "Null": {"ecr:ImageTag": "false"}}}"#,
            vec![],
        ),
        (
            Trust,
            r#"{"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/gitlab.com"}, "Action": "sts:AssumeRoleWithWebIdentity"}"#,
            vec![("refused", Error, 2)],
        ),
        (
            Key,
            r#"{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}"#,
            vec![("everybody", Error, 2)],
        ),
    ];
    for (kind, statement, expected) in table {
        assert_eq!(found(kind, &[statement]), expected, "{statement}");
    }
}

#[test]
fn a_statement_that_another_makes_idle_is_found() {
    let allow = r#"{"Effect": "Allow", "Action": "ecr:PutImage", "Resource": "arn:aws:ecr:*:*:repository/team/*"}"#;
    let wide = r#"{"Effect": "Allow", "Action": "ecr:Put*", "Resource": "arn:aws:ecr:*:*:repository/t*"}"#;
    let deny = r#"{"Effect": "Deny", "Action": "ecr:*", "Resource": "*"}"#;
    let sometimes = r#"{"Effect": "Deny", "Action": "ecr:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}"#;
    let elsewhere = r#"{"Effect": "Deny", "Action": "ecr:*", "Resource": "arn:aws:ecr:*:*:repository/base/*"}"#;
    let rules =
        |list: &[&str]| found(Identity, list).into_iter().map(|(rule, _, line)| (rule, line)).collect::<Vec<_>>();
    assert_eq!(rules(&[allow, deny]), [("unreachable", 2)]);
    assert_eq!(rules(&[deny, allow]), [("unreachable", 3)]);
    assert_eq!(rules(&[allow, wide]), [("redundant", 2)]);
    assert_eq!(rules(&[allow, allow]), [("redundant", 3)]);
    for harmless in [sometimes, elsewhere] {
        assert_eq!(rules(&[allow, harmless]), []);
    }
}

#[test]
fn all_faults_are_told_with_their_places() {
    let text = "{\"Version\": \"2008-10-17\", \"Statement\": [\n{\"Effect\": \"Allow\", \"Action\": \"ecr\",\n\"Resource\": \
                \"repository/x\"},\n{\"Effect\": \"Allow\", \"Action\": \"ecr:PutImage\", \"Resource\": \
                \"arn:aws:ecr:*:*:repository/${aws:username}\"}]}";
    let told: Vec<_> = check(Identity, text, &KNOWN).iter().map(|f| (f.rule, f.line, f.column)).collect();
    assert_eq!(told, [("refused", 2, 31), ("refused", 3, 13), ("literal-variable", 4, 59)]);
    let broken = check(Identity, "{\"Statement\": [}", &KNOWN);
    assert_eq!((broken.len(), broken[0].rule, broken[0].column), (1, "refused", 16));
    assert_eq!(check(Identity, &format!("{{\"Statement\": {{}}}}{}", " ".repeat(200_000)), &KNOWN).len(), 1);
}
