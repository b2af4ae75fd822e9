//! The condition context of a request: what its condition keys and policy variables stand for.
//!
//! Keys are case-insensitive. A key is single-valued or multivalued by the way it is set, as the key's definition
//! says, whatever the number of values. What belongs into a context is the caller's knowledge; nothing is derived here.

use std::collections::HashMap;

/// Condition keys and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    values: HashMap<String, Value>,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value of a single-valued key.
    One(String),
    /// The values of a multivalued key, possibly none.
    Many(Vec<String>),
}

impl Context {
    /// A context without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with room for the keys that most requests have.
    #[must_use]
    pub fn with_room() -> Self {
        Self { values: HashMap::with_capacity(KEYS) }
    }

    /// Sets a single-valued key, replacing what it had.
    pub fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.values.insert(fold(key), Value::One(value.into()));
        self
    }

    /// Sets a multivalued key, replacing what it had; with no values the key is present and empty.
    pub fn set_many<S: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = S>) -> &mut Self {
        self.values.insert(fold(key), Value::Many(values.into_iter().map(Into::into).collect()));
        self
    }

    /// The value of a key, whatever its case.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.folded(&fold(key))
    }

    /// Takes over another's keys, replacing those that both have.
    pub fn extend(&mut self, other: &Self) -> &mut Self {
        self.values.extend(other.values.iter().map(|(key, value)| (key.clone(), value.clone())));
        self
    }

    /// Whether it has no key but these and those of identity providers; one that ends with a slash stands for all that
    /// begin with it.
    #[must_use]
    pub fn is_within(&self, keys: &[&str]) -> bool {
        self.values.keys().all(|key| is_among(key, keys))
    }

    /// Its keys, in lower case and in their order, with their values.
    #[must_use]
    pub fn listed(&self) -> Vec<(String, Vec<String>)> {
        let values = |value: &Value| match value {
            Value::One(text) => vec![text.clone()],
            Value::Many(texts) => texts.clone(),
        };
        let mut all: Vec<_> = self.values.iter().map(|(key, value)| (key.clone(), values(value))).collect();
        all.sort();
        all
    }

    /// The value of a key that [`fold`] made.
    pub(super) fn folded(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }
}

/// Keys of a usual request: a session's of a role.
const KEYS: usize = 16;

/// Whether a key that [`fold`] made is one of these, of which those that end with a slash stand for all that begin so, or
/// is a claim of an identity provider.
pub(super) fn is_among(key: &str, keys: &[&str]) -> bool {
    let listed = keys.iter().any(|known| {
        let known = fold(known);
        if known.ends_with('/') { key.len() > known.len() && key.starts_with(&known) } else { key == known }
    });
    listed || is_claim(key)
}

/// Whether a key is a claim of a token, `<host>[:<port>][/<path>]:<claim>`. Which claims a token has is its issuer's matter;
/// a host has a dot where the prefixes of all other keys have none.
fn is_claim(key: &str) -> bool {
    let host = key.split([':', '/']).next().unwrap_or_default();
    let claim = key.rsplit_once(':').map_or("", |(_, claim)| claim);
    (host.contains('.') || host == "localhost") && !claim.is_empty()
}

/// A key in the case in which keys are compared.
pub(super) fn fold(key: &str) -> String {
    key.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Context, Value, is_among};

    #[test]
    fn keys_ignore_case_and_keep_their_arity() {
        let mut context = Context::new();
        context.set("aws:PrincipalTag/Team", "blue").set_many("aws:TagKeys", ["env"]);
        assert_eq!(context.get("AWS:principaltag/TEAM"), Some(&Value::One("blue".into())));
        assert_eq!(context.get("aws:tagkeys"), Some(&Value::Many(vec!["env".into()])));
        assert_eq!(context.get("aws:username"), None);
    }

    #[test]
    fn claims_of_identity_providers_are_keys() {
        for key in ["token.actions.githubusercontent.com:sub", "127.0.0.1:5556/dex:aud", "localhost:8443:sub"] {
            assert!(is_among(key, &[]), "{key}");
        }
        for key in ["aws:sub", "sub", "gitlab.com", "gitlab.com:", "ecr:image.tag", "aws:principaltag/a.b:c"] {
            assert!(!is_among(key, &[]), "{key}");
        }
    }
}
