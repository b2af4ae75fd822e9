//! Trust in identity providers at which anybody may have an account.
//!
//! Such a provider's name says nothing about the bearer of its token; only the token's subject does. AWS refuses a
//! trust policy for them without a condition on it, and so do we.
//! SPEC: IAM User Guide, "Identity-provider controls for shared OIDC providers".

use super::action::Action;
use super::condition::Condition;
use super::context::fold;
use super::policy::{Effect, Statement};
use super::principal::Element;
use crate::names::AccountId;

/// Whether what every value of a claim begins with, and whether that is all of it, tells whose tokens pass.
type Narrows = fn(&str, bool) -> bool;

/// Issuers that serve many organizations under one name.
const SHARED: [&str; 6] = [
    "accounts.google.com",
    "agent.buildkite.com",
    "app.terraform.io",
    "gitlab.com",
    AWS,
    "token.actions.githubusercontent.com",
];

/// AWS itself, which says who somebody is in whatever account.
const AWS: &str = "sts.amazonaws.com";

/// The claims of which one must be narrowed.
const CLAIMS: &[(&str, Narrows)] = &[("sub", begins_within), ("repository_id", begins_within)];
/// The same of AWS: each must say which account it is.
const AWS_CLAIMS: &[(&str, Narrows)] = &[("sub", names_account), ("account", is_whole), ("userid", names_unique_id)];

/// The shared issuer whose every token a statement of a trust policy would accept.
pub(super) fn open_to(statement: &Statement) -> Option<&'static str> {
    if statement.effect == Effect::Deny || !statement.actions.cover(&Action::new("sts:AssumeRoleWithWebIdentity")) {
        return None;
    }
    // Everybody is the bearers of every issuer too, should the account come to trust one.
    let names = |element: &Element, issuer: &str| *element == Element::Star || is_provider(element, issuer);
    let named = |issuer: &&str| statement.principals.elements().iter().any(|element| names(element, issuer));
    let narrowed = |issuer: &str| {
        let claims = if issuer == AWS { AWS_CLAIMS } else { CLAIMS };
        claims.iter().any(|(claim, narrows)| {
            let key = fold(&format!("{issuer}:{claim}"));
            statement.conditions.iter().any(|condition| condition.key == key && is_narrowed(condition, *narrows))
        })
    };
    SHARED.into_iter().find(|issuer| named(issuer) && !narrowed(issuer))
}

fn is_provider(element: &Element, issuer: &str) -> bool {
    let Element::Provider(name) = element else { return false };
    name == issuer || name.split_once(":oidc-provider/").is_some_and(|(_, of)| of == issuer)
}

/// Whether only tokens pass whose claim is narrowed. A condition that also holds without the claim narrows nothing.
fn is_narrowed(condition: &Condition, narrows: Narrows) -> bool {
    let value_narrows = |start: Option<(&str, bool)>| start.is_some_and(|(start, whole)| narrows(start, whole));
    condition.one_of().is_some_and(|values| values.iter().all(|value| value_narrows(value.literal_start())))
}

/// `repo:acme/*` tells whose tokens pass, `repo:*` does not.
fn begins_within(start: &str, whole: bool) -> bool {
    if whole { !start.is_empty() } else { start.split_once(':').is_some_and(|(_, rest)| !rest.is_empty()) }
}

/// `arn:aws:iam::111122223333:role/*` does, `arn:aws:iam::*:role/ci` does not.
fn names_account(start: &str, _: bool) -> bool {
    let fields: Vec<&str> = start.splitn(6, ':').collect();
    matches!(fields[..], [_, _, _, _, account, _] if AccountId::parse(account).is_ok())
}

/// `AROAEXAMPLE:*` does, `AROA*` does not.
fn names_unique_id(start: &str, whole: bool) -> bool {
    begins_within(start, whole) || start.split_once(':').is_some_and(|(id, _)| !id.is_empty())
}

fn is_whole(start: &str, whole: bool) -> bool {
    whole && !start.is_empty()
}

#[cfg(test)]
mod tests {
    use crate::authz::policy::{Document, Kind};

    const GITHUB: &str = "token.actions.githubusercontent.com";

    fn trust(provider: &str, action: &str, condition: &str) -> Result<Document, String> {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": {{"Federated": "{provider}"}},
                "Action": "{action}", "Condition": {condition}}}}}"#
        );
        Document::parse(Kind::Trust, &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_shared_issuer_needs_a_condition_that_narrows_its_subject() {
        let provider = format!("arn:aws:iam::111122223333:oidc-provider/{GITHUB}");
        let table = [
            (r#"{"StringEquals": {"GITHUB:sub": "repo:acme/app:ref:refs/heads/main"}}"#, true),
            (r#"{"StringLike": {"GITHUB:SUB": ["repo:acme/*", "repo:acme-labs/app:*"]}}"#, true),
            (r#"{"ForAnyValue:StringLike": {"GITHUB:sub": "repo:acme/*"}}"#, true),
            (r#"{"StringEqualsIgnoreCase": {"GITHUB:repository_id": "1296269"}}"#, true),
            ("{}", false),
            (r#"{"StringEquals": {"GITHUB:aud": "sts.amazonaws.com"}}"#, false),
            (r#"{"StringLike": {"GITHUB:sub": "*"}}"#, false),
            (r#"{"StringLike": {"GITHUB:sub": "repo:*"}}"#, false),
            (r#"{"StringLike": {"GITHUB:sub": ["repo:acme/*", "*:ref:refs/heads/main"]}}"#, false),
            (r#"{"StringLike": {"GITHUB:sub": "${aws:username}"}}"#, false),
            (r#"{"StringEqualsIfExists": {"GITHUB:sub": "repo:acme/app"}}"#, false),
            (r#"{"ForAllValues:StringEquals": {"GITHUB:sub": "repo:acme/app"}}"#, false),
            (r#"{"StringNotLike": {"GITHUB:sub": "repo:evil/*"}}"#, false),
            (r#"{"Null": {"GITHUB:sub": "false"}}"#, false),
        ];
        for (condition, accepted) in table {
            let answer = trust(&provider, "sts:AssumeRoleWithWebIdentity", &condition.replace("GITHUB", GITHUB));
            assert_eq!(answer.is_ok(), accepted, "{condition}: {answer:?}");
        }
        let refusal = trust(&provider, "sts:*", "{}").unwrap_err();
        assert!(refusal.contains("token.actions.githubusercontent.com:sub"), "{refusal}");
    }

    #[test]
    fn a_condition_on_identities_of_aws_says_which_account_they_are_of() {
        let provider = "arn:aws:iam::111122223333:oidc-provider/sts.amazonaws.com";
        let table = [
            (r#"{"StringEquals": {"AWS:sub": "arn:aws:iam::210987654321:role/ci"}}"#, true),
            (r#"{"StringLike": {"AWS:sub": "arn:aws:iam::210987654321:*"}}"#, true),
            (r#"{"StringEquals": {"AWS:account": "210987654321"}}"#, true),
            (r#"{"StringLike": {"AWS:userid": "AROAEXAMPLE:*"}}"#, true),
            (r#"{"StringEquals": {"AWS:userid": "AIDAEXAMPLE"}}"#, true),
            (r#"{"StringLike": {"AWS:sub": "arn:aws:iam::*:role/ci"}}"#, false),
            (r#"{"StringLike": {"AWS:sub": "arn:aws:iam::21098765432*"}}"#, false),
            (r#"{"StringLike": {"AWS:sub": ["arn:aws:iam::210987654321:*", "arn:aws:iam::*"]}}"#, false),
            (r#"{"StringLike": {"AWS:account": "2109*"}}"#, false),
            (r#"{"StringLike": {"AWS:userid": "AROA*"}}"#, false),
            (r#"{"StringEquals": {"AWS:repository_id": "1296269"}}"#, false),
            (r#"{"StringEquals": {"AWS:aud": "sts.amazonaws.com"}}"#, false),
        ];
        for (condition, accepted) in table {
            let answer =
                trust(provider, "sts:AssumeRoleWithWebIdentity", &condition.replace("AWS", "sts.amazonaws.com"));
            assert_eq!(answer.is_ok(), accepted, "{condition}: {answer:?}");
        }
    }

    #[test]
    fn everybody_is_the_bearers_of_every_shared_issuer() {
        let trust = |action: &str| {
            let text = format!(
                r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": "*", "Action": "{action}"}}}}"#
            );
            Document::parse(Kind::Trust, &text).is_ok()
        };
        assert!(trust("sts:AssumeRole"));
        assert!(!trust("sts:AssumeRole*") && !trust("sts:*"));
    }

    #[test]
    fn others_need_none() {
        let own = "arn:aws:iam::111122223333:oidc-provider/gitlab.example.com";
        assert!(trust(own, "sts:AssumeRoleWithWebIdentity", "{}").is_ok());
        let enterprise = format!("arn:aws:iam::111122223333:oidc-provider/{GITHUB}/acme");
        assert!(trust(&enterprise, "sts:AssumeRoleWithWebIdentity", "{}").is_ok());
        assert!(trust("accounts.google.com", "sts:TagSession", "{}").is_ok());
        assert!(trust("accounts.google.com", "sts:AssumeRoleWithWebIdentity", "{}").is_err());
    }
}
