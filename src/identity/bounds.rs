//! The bounds of a registry token in its packed form. A bound that cannot be read makes the token none.

use crate::ctx::Bound;
use crate::names::{AccountId, Network, RepositoryPattern, TagPattern};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Packed {
    /// `<account>/<pattern>`.
    #[prost(string, repeated, tag = "1")]
    repositories: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
    #[prost(bool, tag = "3")]
    pull: bool,
    #[prost(bool, tag = "4")]
    push: bool,
    #[prost(bool, tag = "5")]
    delete: bool,
    #[prost(string, repeated, tag = "6")]
    sources: Vec<String>,
}

impl Packed {
    pub(super) fn from_bound(bound: &Bound) -> Self {
        let repositories = bound.repositories.iter().map(|(account, pattern)| format!("{account}/{pattern}"));
        Self {
            repositories: repositories.collect(),
            tags: bound.tags.iter().map(ToString::to_string).collect(),
            pull: bound.pull,
            push: bound.push,
            delete: bound.delete,
            sources: bound.sources.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn bound(&self) -> Option<Bound> {
        let repository = |text: &String| {
            let (account, pattern) = text.split_once('/')?;
            Some((AccountId::parse(account).ok()?, RepositoryPattern::parse(pattern).ok()?))
        };
        Some(Bound {
            repositories: self.repositories.iter().map(repository).collect::<Option<_>>()?,
            tags: self.tags.iter().map(|text| TagPattern::parse(text).ok()).collect::<Option<_>>()?,
            pull: self.pull,
            push: self.push,
            delete: self.delete,
            sources: self.sources.iter().map(|text| Network::parse(text).ok()).collect::<Option<_>>()?,
        })
    }
}
