//! What each kind of policy may say, and the words for what it may not.

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
        (Identity, one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"k": []}}}}"#)), "has no values"),
        (Identity, one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"": "x"}}}}"#)), "is empty"),
        (Identity, one(&format!(r#"{ALLOW}, {star}, "Condition": {{"StringEquals": {{"k": [null]}}}}"#)), "not null"),
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
        (Trust, one(r#""Effect": "Deny", "NotPrincipal": "*", "Action": "sts:AssumeRole""#), "NotPrincipal belongs to"),
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
        (ResourceControl, one(&format!(r#"{ALLOW}, {star}, "Principal": "*""#)), "a resource control policy denies"),
        (Session, one(&format!(r#"{ALLOW}, "Resource": "arn:aws:ecr:r:1:repository/Ā""#)), "in a session policy"),
    ];
    for (kind, text, expected) in table {
        let error = Document::parse(kind, &text).expect_err(&text);
        assert!(error.message.contains(expected), "{kind:?} {text}\n  gave: {error}");
    }
}

#[test]
fn a_fault_is_reported_where_it_stands() {
    let text =
        "{\n  \"Statement\": {\n    \"Effect\": \"Allow\", \"Action\": [\"*\", \"ecr\"],\n    \"Resource\": \"*\"}}";
    let error = Document::parse(Identity, text).unwrap_err();
    assert_eq!((error.line, error.column), (3, 40));
    let envelope = crate::error::Error::from(error);
    assert_eq!(envelope.reason, crate::error::Reason::MalformedPolicy);
    assert_eq!(envelope.metadata["line"], "3");
    assert!(envelope.message.starts_with("line 3, column 40: \"ecr\" is no action"), "{envelope}");
}

#[test]
fn unknown_actions_are_accepted_and_pointed_out() {
    let text = one(r#""Effect": "Allow", "Action": ["ecr:BatchGetImag", "ecr:*", "s3:GetObject"], "Resource": "*""#);
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
    assert!(document.reads_context());
    for (text, reads) in [
        (one(&format!(r#"{ALLOW}, "Resource": "*""#)), false),
        (one(&format!(r#"{ALLOW}, "Resource": "arn:aws:ecr:*:*:repository/${{aws:username}}""#)), true),
        (one(&format!(r#"{DENY}, "Resource": "*", "Condition": {{"Null": {{"aws:SourceIp": true}}}}"#)), true),
    ] {
        assert_eq!(Document::parse(Identity, &text).unwrap().reads_context(), reads, "{text}");
    }
    let old = Document::parse(Identity, &text.replace("2012", "2008")).unwrap();
    assert!(!old.mentions("aws:username"), "no variables before 2012-10-17");
}
