//! Reads the scopes that docker asks a token for: `repository:<account>/<name>:pull,push`.
//!
//! A scope only narrows. What this server has no such thing as (resource types, classes, actions) is passed over
//! in silence, as the token specification wants; what cannot be read is refused.
//!
//! SPEC: distribution, "Token Scope Documentation".

use super::error::Error;
use crate::ctx::Scope;
use crate::names::{AccountId, RepositoryName};

/// The most scopes one token may ask for.
pub const SCOPES_MAX: usize = 32;
/// The longest `scope` parameter, in bytes.
pub const SCOPE_BYTES_MAX: usize = 8 * 1024;

/// Reads the `scope` parameters of a token request; each may hold several, separated by spaces.
///
/// An empty result belongs into a token as it is: a login that asked for nothing may touch no repository.
///
/// # Errors
/// `MalformedScope`.
pub fn parse<'a>(parameters: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, Error> {
    let mut scopes: Vec<Scope> = Vec::new();
    let mut read = 0;
    for parameter in parameters {
        if parameter.len() > SCOPE_BYTES_MAX {
            return Err(malformed("longer than 8 KiB"));
        }
        for text in parameter.split(' ').filter(|text| !text.is_empty()) {
            read += 1;
            if read > SCOPES_MAX {
                return Err(malformed("more than 32 scopes"));
            }
            if let Some(scope) = parse_one(text)? {
                add(&mut scopes, scope);
            }
        }
    }
    Ok(scopes)
}

/// One scope; `None` for a resource type that is not `repository`.
fn parse_one(text: &str) -> Result<Option<Scope>, Error> {
    const FORM: &str = "expected <type>:<account>/<repository>:<action>[,<action>]";
    // A resource name may itself hold a colon, before a port.
    let (kind, rest) = text.split_once(':').ok_or(malformed(FORM))?;
    let (name, actions) = rest.rsplit_once(':').ok_or(malformed(FORM))?;
    if name.is_empty() || actions.split(',').any(str::is_empty) {
        return Err(malformed(FORM));
    }
    match kind.split_once('(').map_or(kind, |(kind, _)| kind) {
        "" => return Err(malformed(FORM)),
        "repository" => {}
        _ => return Ok(None),
    }
    let (account, repository) = name.split_once('/').ok_or(malformed(FORM))?;
    let account = AccountId::parse(account).map_err(|_| malformed("the name does not begin with an account"))?;
    let repository = RepositoryName::parse(repository).map_err(|_| malformed("not a repository name"))?;
    let asks = |action| actions.split(',').any(|asked| asked == action);
    Ok(Some(Scope { account, repository, pull: asks("pull"), push: asks("push"), delete: asks("delete") }))
}

/// Several scopes of one repository are one, with the actions of all.
fn add(scopes: &mut Vec<Scope>, scope: Scope) {
    let same = |other: &&mut Scope| other.account == scope.account && other.repository == scope.repository;
    match scopes.iter_mut().find(same) {
        Some(known) => {
            known.pull |= scope.pull;
            known.push |= scope.push;
            known.delete |= scope.delete;
        }
        None => scopes.push(scope),
    }
}

fn malformed(what: &'static str) -> Error {
    Error::MalformedScope { what }
}

#[cfg(test)]
mod tests {
    use super::{SCOPE_BYTES_MAX, SCOPES_MAX, parse};

    fn read(parameters: &[&str]) -> Option<Vec<String>> {
        let scopes = parse(parameters.iter().copied()).ok()?;
        let flag = |on, text| if on { text } else { "" };
        Some(
            scopes
                .iter()
                .map(|s| {
                    let rights = [flag(s.pull, "r"), flag(s.push, "w"), flag(s.delete, "d")].concat();
                    format!("{}/{} {rights}", s.account, s.repository)
                })
                .collect(),
        )
    }

    #[test]
    fn scopes_are_read_as_docker_writes_them() {
        let cases: [(&[&str], &[&str]); 9] = [
            (&[], &[]),
            (&[""], &[]),
            (&["repository:111122223333/team/app:pull"], &["111122223333/team/app r"]),
            (&["repository(plugin):111122223333/app:pull,push,delete"], &["111122223333/app rwd"]),
            (&["repository:111122223333/app:pull,sing,*"], &["111122223333/app r"]),
            (&["repository:111122223333/app:metadata_read"], &["111122223333/app "]),
            (&["registry:catalog:*"], &[]),
            (
                &["repository:111122223333/a1:pull repository:111122223333/b1:push"],
                &["111122223333/a1 r", "111122223333/b1 w"],
            ),
            (&["repository:111122223333/a1:pull", "repository:111122223333/a1:push"], &["111122223333/a1 rw"]),
        ];
        for (parameters, expected) in cases {
            assert_eq!(read(parameters).as_deref(), Some(expected.map_to_owned().as_slice()), "{parameters:?}");
        }
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }
    impl MapToOwned for [&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn malformed_scopes_are_refused() {
        for bad in [
            "repository",
            "repository:111122223333/app",
            "repository:111122223333/app:",
            "repository:111122223333/app:pull,",
            "repository::pull",
            ":111122223333/app:pull",
            "repository:app:pull",
            "repository:team/app:pull",
            "repository:111122223333/App:pull",
            "repository:111122223333/../x:pull",
            "repository:host:5000/111122223333/app:pull",
            "repository:111122223333/app\t:pull",
        ] {
            assert_eq!(read(&[bad]), None, "{bad:?}");
        }
    }

    #[test]
    fn number_and_length_are_bounded() {
        let one = "repository:111122223333/app:pull ";
        assert!(read(&[&one.repeat(SCOPES_MAX)]).is_some());
        assert!(read(&[&one.repeat(SCOPES_MAX + 1)]).is_none());
        assert!(read(&[&" ".repeat(SCOPE_BYTES_MAX)]).is_some());
        assert!(read(&[&" ".repeat(SCOPE_BYTES_MAX + 1)]).is_none());
    }
}
