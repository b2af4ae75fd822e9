//! Scopes of registry tokens: what a client asks the token service for, and what a challenge tells it to ask.
//!
//! SPEC: Docker registry token scope, `<type>:<name>:<action>,<action>`. Only the type `repository` exists here;
//! scopes of another type and actions unknown grant nothing and are skipped, as the protocol has it.

use super::address::{self, EcrHost, Repository};
use crate::ctx::Scope;
use crate::names::{AccountId, RepositoryName};

/// Scopes in one request.
pub(super) const MAX_SCOPES: usize = 64;

/// Why scopes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A repository's name is malformed.
    #[error(transparent)]
    Repository(#[from] address::Error),
    /// Not of the form `<type>:<name>:<actions>`.
    #[error("scope {text:?} is not valid: write repository:<name>:<pull,push,delete>")]
    Malformed {
        /// The offending text, cut to 80 characters.
        text: String,
    },
    /// Too many scopes.
    #[error("more than {MAX_SCOPES} scopes")]
    TooMany,
}

/// Reads the values of the `scope` parameters, each of them one scope or several separated by spaces.
///
/// # Errors
/// When one is malformed or there are too many.
pub(super) fn parse<'a>(host: Option<&EcrHost>, values: impl Iterator<Item = &'a str>) -> Result<Vec<Scope>, Error> {
    let mut scopes = Vec::new();
    for (at, text) in values.flat_map(|value| value.split(' ')).filter(|text| !text.is_empty()).enumerate() {
        if at == MAX_SCOPES {
            return Err(Error::TooMany);
        }
        scopes.extend(one(host, text)?);
    }
    Ok(scopes)
}

/// The scope a challenge asks for, as a client of this host writes the repository.
#[must_use]
pub(super) fn render(host: Option<&EcrHost>, repository: &Repository, actions: &str) -> String {
    format!("repository:{}:{actions}", repository.address(host))
}

/// The scope that a challenge to a search among an account's repositories asks for.
#[must_use]
pub(super) fn render_all(host: Option<&EcrHost>, account: AccountId, actions: &str) -> String {
    match host {
        Some(_) => format!("repository:*:{actions}"),
        None => format!("repository:{account}/*:{actions}"),
    }
}

fn one(host: Option<&EcrHost>, text: &str) -> Result<Option<Scope>, Error> {
    let malformed = || Error::Malformed { text: text.chars().take(80).collect() };
    let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
    let (name, actions) = rest.rsplit_once(':').ok_or_else(malformed)?;
    if kind != "repository" {
        return Ok(None);
    }
    let (account, repository) = repositories(host, name)?;
    let has = |action| actions.split(',').any(|word| word == action || word == "*");
    Ok(Some(Scope { account, repository, pull: has("pull"), push: has("push"), delete: has("delete") }))
}

/// One repository, or with `*` in the place of its name each of the account.
fn repositories(host: Option<&EcrHost>, address: &str) -> Result<(AccountId, Option<RepositoryName>), address::Error> {
    let account = match host {
        Some(host) if address == "*" => Some(host.account),
        Some(_) => None,
        None => address.strip_suffix("/*").and_then(|account| AccountId::parse(account).ok()),
    };
    if let Some(account) = account {
        return Ok((account, None));
    }
    let Repository { account, name } = Repository::parse(host, address)?;
    Ok((account, Some(name)))
}

#[cfg(test)]
mod tests {
    use super::{EcrHost, Error, MAX_SCOPES, parse, render, render_all};
    use proptest::prelude::*;

    /// Pull, push and delete of the scopes read.
    fn rights(values: &[&str]) -> Result<Vec<(bool, bool, bool)>, Error> {
        Ok(parse(None, values.iter().copied())?.iter().map(|s| (s.pull, s.push, s.delete)).collect())
    }

    #[test]
    fn scopes_name_repositories_and_actions() {
        let app = "repository:111122223333/team/app";
        let cases: [(&[&str], &[(bool, bool, bool)]); 8] = [
            (&[], &[]),
            (&[""], &[]),
            (&[&format!("{app}:pull")], &[(true, false, false)]),
            (&[&format!("{app}:pull,push")], &[(true, true, false)]),
            (&[&format!("{app}:*")], &[(true, true, true)]),
            (&[&format!("{app}:fly")], &[(false, false, false)]),
            (&["registry:catalog:*"], &[]),
            (
                &[&format!("{app}:pull {app}:push"), &format!("{app}:delete")],
                &[(true, false, false), (false, true, false), (false, false, true)],
            ),
        ];
        for (values, expected) in cases {
            assert_eq!(rights(values).as_deref(), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn malformed_scopes_are_refused() {
        assert!(matches!(rights(&["repository"]), Err(Error::Malformed { .. })));
        assert!(matches!(rights(&["repository:pull"]), Err(Error::Malformed { .. })));
        assert!(matches!(rights(&["repository:team/app:pull"]), Err(Error::Repository(_))));
        let many = "registry:catalog:* ".repeat(MAX_SCOPES + 1);
        assert_eq!(rights(&[&many]), Err(Error::TooMany));
    }

    #[test]
    fn a_challenge_asks_for_what_is_read_back() {
        let host = EcrHost::parse("111122223333.dkr.ecr.eu-west-1.example.com");
        for (host, text) in
            [(host.as_ref(), "repository:team/app:pull"), (None, "repository:111122223333/team/app:pull")]
        {
            let scope = parse(host, [text].into_iter()).unwrap().remove(0);
            let repository = super::Repository { account: scope.account, name: scope.repository.unwrap() };
            assert_eq!(render(host, &repository, "pull"), text);
            let all = render_all(host, scope.account, "pull");
            let read = parse(host, [all.as_str()].into_iter()).unwrap().remove(0);
            assert_eq!((read.account, read.repository, read.pull), (scope.account, None, true), "{all}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*", rest in "repository:\\PC*:\\PC*") {
            let _ = parse(None, [text.as_str(), rest.as_str()].into_iter());
        }
    }
}
