//! Names of repositories, and where one is: in which account and region.

use super::{AccountId, Arn, Error, Region, text_name};
use std::sync::Arc;

/// The name of a repository inside a registry.
///
/// SPEC: Amazon ECR `CreateRepository`: 2-256 characters,
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` joined by `/`. A first segment of twelve digits is refused because
/// the path form of an address begins with an account (decision 23).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// Parses a repository name.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const RULE: &str = "2-256 characters, segments of a-z 0-9 separated by . _ __ or hyphens and joined by /, \
                            the first segment not 12 digits";
        let first = text.split('/').next().unwrap_or_default();
        let account_like = AccountId::parse(first).is_ok();
        if (2..=256).contains(&text.len()) && !account_like && text.split('/').all(is_segment) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("repository name", text, RULE))
        }
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(RepositoryName);

fn is_segment(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = bytes.first().copied().is_some_and(alnum) && bytes.last().copied().is_some_and(alnum);
    ends && bytes
        .split(|b| alnum(*b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

/// A pattern over repository names: their characters plus `*` (any run) and `?` (one character), 1 to 256 long.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RepositoryPattern(Arc<str>);

impl RepositoryPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When the text is empty, too long or holds a character that no name and no wildcard has.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*?".contains(&b);
        if text.bytes().all(fits) && (1..=256).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("repository pattern", text, "1-256 characters of a repository's name, with * and ?"))
        }
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(RepositoryPattern);

/// A repository's full address: account, region and name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RepositoryRef {
    /// The account whose registry holds the repository.
    pub account: AccountId,
    /// The registry's region.
    pub region: Region,
    /// The repository's name in that registry.
    pub name: RepositoryName,
}

impl RepositoryRef {
    /// `arn:aws:ecr:<region>:<account>:repository/<name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::new("ecr", self.region.as_str(), Some(self.account), &format!("repository/{}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::RepositoryName;

    #[test]
    fn names_follow_the_registry_grammar() {
        for good in ["ab", "team/app", "a.b/c_d/e__f/g--h", "a1/b2", "team/123456789012"] {
            assert!(RepositoryName::parse(good).is_ok(), "{good:?}");
        }
        let long = "a".repeat(257);
        for bad in
            ["", "a", "/a", "a/", "a//b", "A/b", "a..b", "a___b", "-a", "a-", "a b", "123456789012/app", long.as_str()]
        {
            assert!(RepositoryName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
