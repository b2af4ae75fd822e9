//! Resource names: `accounts/<id>/…`, read and written in one place.

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::names::{
    AccountId, Arn, PageSize, PageToken, PrincipalKind, PrincipalName, Region, RepositoryName, RepositoryRef, RoleName,
    Uid, UserName,
};

/// Why a resource name is not the one a call wants.
fn wanted(text: &str, form: &'static str) -> Error {
    Error::invalid("name", format!("{text:?} is not {form}"))
}

/// `accounts/<id>`.
pub(super) fn account(text: &str) -> Result<AccountId> {
    let form = "accounts/<12 digits>";
    let id = text.strip_prefix("accounts/").ok_or_else(|| wanted(text, form))?;
    AccountId::parse(id).map_err(|_| wanted(text, form))
}

/// `accounts/<id>/<collection>/<rest>`.
fn below<'a>(text: &'a str, collection: &str, form: &'static str) -> Result<(AccountId, &'a str)> {
    let bad = || wanted(text, form);
    let (id, rest) = text.strip_prefix("accounts/").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
    let rest = rest.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).ok_or_else(bad)?;
    Ok((AccountId::parse(id).map_err(|_| bad())?, rest))
}

/// `accounts/<id>/registry`.
pub(super) fn registry(text: &str) -> Result<AccountId> {
    let parent = text.strip_suffix("/registry").ok_or_else(|| wanted(text, "accounts/<12 digits>/registry"))?;
    account(parent)
}

/// `accounts/<id>/repositories/<name>`.
pub(super) fn repository(text: &str, region: &Region) -> Result<RepositoryRef> {
    let (account, name) = below(text, "repositories", "accounts/<12 digits>/repositories/<name>")?;
    Ok(RepositoryRef { account, region: region.clone(), name: RepositoryName::parse(name)? })
}

/// `accounts/<id>/<collection>/<uid>`.
pub(super) fn numbered(text: &str, collection: &'static str) -> Result<(AccountId, Uid)> {
    let form = "accounts/<12 digits>/<collection>/<id>";
    let (account, id) = below(text, collection, form)?;
    Ok((account, Uid::parse(id).map_err(|_| wanted(text, form))?))
}

/// `accounts/<id>/keys/<id>`, as the ARN of a key of this region.
pub(super) fn key(text: &str, region: &Region) -> Result<(AccountId, Arn)> {
    let form = "accounts/<12 digits>/keys/<id>";
    let (account, id) = below(text, "keys", form)?;
    if id.is_empty() || id.len() > 64 || id.contains(['/', ':']) {
        return Err(wanted(text, form));
    }
    Ok((account, Arn::new("kms", region.as_str(), Some(account), &format!("key/{id}"))))
}

/// `accounts/<id>/users/<name>`.
pub(super) fn user(text: &str) -> Result<PrincipalName> {
    let (account, name) = below(text, "users", "accounts/<12 digits>/users/<name>")?;
    let name = UserName::parse(name)?.as_str().into();
    Ok(PrincipalName { account, kind: PrincipalKind::User, name })
}

/// `accounts/<id>/roles/<name>`.
pub(super) fn role(text: &str) -> Result<PrincipalName> {
    let (account, name) = below(text, "roles", "accounts/<12 digits>/roles/<name>")?;
    let name = RoleName::parse(name)?.as_str().into();
    Ok(PrincipalName { account, kind: PrincipalKind::Role, name })
}

/// A user's or a role's name.
pub(super) fn principal(text: &str) -> Result<PrincipalName> {
    if text.contains("/users/") { user(text) } else { role(text) }
}

/// `accounts/<id>/users/<name>/accessKeys/<id>`.
pub(super) fn access_key(text: &str) -> Result<(PrincipalName, &str)> {
    let form = "accounts/<12 digits>/users/<name>/accessKeys/<id>";
    let (owner, id) = text.rsplit_once("/accessKeys/").ok_or_else(|| wanted(text, form))?;
    Ok((user(owner)?, id))
}

/// How a principal is named in answers.
pub(super) fn of_principal(name: &PrincipalName) -> String {
    format!("accounts/{}/{}s/{}", name.account, name.kind.as_str(), name.name)
}

/// How a repository is named in answers.
pub(super) fn of_repository(account: AccountId, name: &RepositoryName) -> String {
    format!("accounts/{account}/repositories/{name}")
}

/// The page asked for: its size, and the key it begins after.
pub(super) fn page(size: i32, token: &str) -> Result<(PageSize, Option<PageToken>)> {
    let size = u32::try_from(size).map_err(|_| Error::invalid("page_size", "0 to 1,000"))?;
    Ok((PageSize::clamp(size), PageToken::decode(token)?))
}

/// The token of the page after this one; empty when this one was not full.
pub(super) fn next_page<T>(rows: &[T], size: PageSize, key: impl FnOnce(&T) -> String) -> String {
    match rows.last() {
        Some(last) if rows.len() >= size.rows() as usize => PageToken::after(&key(last)).encode(),
        Some(_) | None => String::new(),
    }
}

/// A page token that is an id.
pub(super) fn after_uid(token: Option<&PageToken>) -> Result<Option<Uid>> {
    token.map(|token| Ok(Uid::parse(token.key())?)).transpose()
}

/// A moment on the wire.
pub(super) fn time(moment: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(moment.micros().rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: moment.secs(), nanos }
}

/// A moment from the wire.
pub(super) fn moment(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::from_micros(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000)))
}

/// A duration on the wire.
pub(super) fn duration(duration: std::time::Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0) }
}

/// Whole seconds of a duration from the wire.
pub(super) fn seconds(duration: &prost_types::Duration) -> Result<u64> {
    u64::try_from(duration.seconds).map_err(|_| Error::invalid("duration", "not negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whole_or_not_at_all() {
        let region = Region::parse("us-east-1").unwrap();
        let found = repository("accounts/111122223333/repositories/team/app", &region).unwrap();
        assert_eq!((found.account.as_str(), found.name.as_str()), ("111122223333", "team/app"));
        for bad in ["", "accounts/1/repositories/a", "accounts/111122223333/repositories", "111122223333/team/app"] {
            assert!(repository(bad, &region).is_err(), "{bad:?}");
        }
        assert!(account("accounts/111122223333").is_ok());
        assert!(account("accounts/111122223333/x").is_err());
        assert!(registry("accounts/111122223333/registry").is_ok());
        assert!(user("accounts/111122223333/users/a").is_ok());
        assert!(role("accounts/111122223333/users/a").is_err());
        let (owner, id) = access_key("accounts/111122223333/users/a/accessKeys/AKIA1").unwrap();
        assert_eq!((&*owner.name, id), ("a", "AKIA1"));
        assert!(key("accounts/111122223333/keys/../x", &region).is_err());
        assert!(numbered("accounts/111122223333/grants/x", "grants").is_err());
    }
}
