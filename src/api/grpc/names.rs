//! Resource names: `accounts/<id>/…`, read and written in one place.

use crate::clock::Timestamp;
use crate::domain::keyring::UNMADE;
use crate::error::{Error, Reason, Result};
use crate::names::{
    AccountId, Arn, AwsRoleName, AwsRoleRef, Issuer, MfaDeviceName, MfaDeviceRef, PageSize, PageToken, PolicyName,
    PolicyRef, PrincipalKind, PrincipalName, Region, RepositoryName, RepositoryPattern, RepositoryRef, RoleName, Uid,
    UserName,
};

/// Names the field of the request in what is wrong with it.
pub(super) trait Field<T> {
    /// The field that was parsed.
    fn of(self, field: &'static str) -> Result<T>;

    /// The field that holds the policy.
    fn document(self, field: &'static str) -> Result<T>;

    /// The message in which the field stands that was found wrong.
    fn within(self, message: &'static str) -> Result<T>;
}

impl<T, E: Into<Error>> Field<T> for Result<T, E> {
    fn of(self, field: &'static str) -> Result<T> {
        self.map_err(|error| match error.into() {
            error if error.reason == Reason::InvalidArgument => {
                Error { message: format!("{field}: {}", error.message), ..error }.with("field", field)
            }
            error => error,
        })
    }

    fn document(self, field: &'static str) -> Result<T> {
        self.map_err(|error| match error.into() {
            error if error.reason == Reason::MalformedPolicy => error.with("field", field),
            error => error,
        })
    }

    fn within(self, message: &'static str) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            match error.metadata.get("field").cloned() {
                Some(field) if error.reason == Reason::InvalidArgument && !field.contains('.') => {
                    error.with("field", format!("{message}.{field}"))
                }
                Some(_) | None => error,
            }
        })
    }
}

/// Characters of a malformed text that are told again.
const ECHO_MAX: usize = 80;

/// Why a resource name is not the one a call wants.
fn wanted(text: &str, form: &'static str) -> Error {
    let text: String = text.chars().take(ECHO_MAX).collect();
    Error::new(Reason::InvalidArgument, format!("{text:?} is not {form}"))
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

/// `accounts/<id>/repositories/<pattern>`.
pub(super) fn pattern(text: &str) -> Result<(AccountId, RepositoryPattern)> {
    let (account, pattern) = below(text, "repositories", "accounts/<12 digits>/repositories/<pattern>")?;
    Ok((account, RepositoryPattern::parse(pattern)?))
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
    if is_user(text) { user(text) } else { role(text) }
}

/// Whether a name that is a user's or a role's is a user's.
pub(super) fn is_user(text: &str) -> bool {
    text.contains("/users/")
}

/// `accounts/<id>/users/<name>/accessKeys/<id>`.
pub(super) fn access_key(text: &str) -> Result<(PrincipalName, &str)> {
    let form = "accounts/<12 digits>/users/<name>/accessKeys/<id>";
    let (owner, id) = text.rsplit_once("/accessKeys/").ok_or_else(|| wanted(text, form))?;
    Ok((user(owner)?, id))
}

/// `accounts/<id>/users/<name>/mfaDevices/<device>`.
pub(super) fn mfa_device(text: &str) -> Result<(PrincipalName, MfaDeviceRef)> {
    let form = "accounts/<12 digits>/users/<name>/mfaDevices/<device>";
    let (owner, name) = text.rsplit_once("/mfaDevices/").ok_or_else(|| wanted(text, form))?;
    let user = user(owner)?;
    let device = MfaDeviceRef { account: user.account, name: MfaDeviceName::parse(name)? };
    Ok((user, device))
}

/// `accounts/<id>/awsRoles/<name>`.
pub(super) fn aws_role(text: &str) -> Result<AwsRoleRef> {
    let (account, name) = below(text, "awsRoles", "accounts/<12 digits>/awsRoles/<name>")?;
    Ok(AwsRoleRef { account, name: AwsRoleName::parse(name)? })
}

/// `accounts/<id>/policies/<name>`.
pub(super) fn policy(text: &str) -> Result<PolicyRef> {
    let (account, name) = below(text, "policies", "accounts/<12 digits>/policies/<name>")?;
    Ok(PolicyRef { account, name: PolicyName::parse(name)? })
}

/// How a managed policy is named in answers.
pub(super) fn of_policy(account: AccountId, name: &PolicyName) -> String {
    format!("accounts/{account}/policies/{name}")
}

/// `accounts/<id>/oidcProviders/<issuer without https://>`.
pub(super) fn oidc_provider(text: &str) -> Result<(AccountId, Issuer)> {
    let (account, id) = below(text, "oidcProviders", "accounts/<12 digits>/oidcProviders/<issuer without https://>")?;
    Ok((account, Issuer::parse(&format!("https://{id}"))?))
}

/// How a principal is named in answers.
pub(super) fn of_principal(name: &PrincipalName) -> String {
    format!("accounts/{}/{}s/{}", name.account, name.kind.as_str(), name.name)
}

/// How a repository is named in answers.
pub(super) fn of_repository(account: AccountId, name: &RepositoryName) -> String {
    format!("accounts/{account}/repositories/{name}")
}

/// How a key is told in answers: not at all, when there would be one and is none.
pub(super) fn of_key(key: &Arn) -> String {
    if key.resource() == UNMADE { String::new() } else { key.to_string() }
}

/// The page asked for: its size, and the key it begins after.
pub(super) fn page(size: i32, token: &str) -> Result<(PageSize, Option<PageToken>)> {
    let size = u32::try_from(size).map_err(|_| Error::invalid("page_size", "0 to 1,000"))?;
    Ok((PageSize::clamp(size), PageToken::decode(token).of("page_token")?))
}

/// The token of the page after this one; empty when this one was not full.
pub(super) fn next_page<T>(rows: &[T], size: PageSize, key: impl FnOnce(&T) -> String) -> String {
    PageToken::of_next(rows, size, key).map_or_else(String::new, |token| token.encode())
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
// SPEC: google.protobuf.Timestamp, the years 0001 to 9999 and never a negative fraction.
pub(super) fn moment(time: &prost_types::Timestamp) -> Result<Timestamp> {
    let fits = (-62_135_596_800..=253_402_300_799).contains(&time.seconds) && NANOS.contains(&time.nanos);
    if !fits {
        let text = "a moment of the years 0001 to 9999, with nanos of 0 to 999,999,999";
        return Err(Error::new(Reason::InvalidArgument, text));
    }
    Ok(Timestamp::from_micros(time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)))
}

const NANOS: std::ops::RangeInclusive<i32> = 0..=999_999_999;

/// A duration on the wire.
pub(super) fn duration(duration: std::time::Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0) }
}

/// Whole seconds of a duration from the wire.
pub(super) fn seconds(duration: &prost_types::Duration) -> Result<u64> {
    let seconds = u64::try_from(duration.seconds).ok().filter(|_| NANOS.contains(&duration.nanos));
    seconds.ok_or_else(|| Error::new(Reason::InvalidArgument, "seconds and nanos that are not negative"))
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

    #[test]
    fn what_is_malformed_is_told_under_its_field_and_cut() {
        let error = account(&"é".repeat(10_000)).of("parent").unwrap_err();
        assert_eq!(error.metadata["field"], "parent");
        assert!(error.message.starts_with("parent: \"é") && error.message.chars().count() < 160, "{error}");
        let error = RepositoryName::parse("A").of("repository_id").unwrap_err();
        assert_eq!(error.metadata["field"], "repository_id");
        let error: Result<()> = Err(Error::invalid("grantee", "an ARN"));
        assert_eq!(error.within("grant").unwrap_err().metadata["field"], "grant.grantee");
    }

    #[test]
    fn moments_outside_of_the_calendar_are_refused() {
        let read = |seconds, nanos| moment(&prost_types::Timestamp { seconds, nanos });
        assert_eq!(read(253_402_300_799, 999_999_999).unwrap().to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(read(-62_135_596_800, 0).unwrap().to_string(), "0001-01-01T00:00:00.000Z");
        for (seconds, nanos) in
            [(253_402_300_800, 0), (-62_135_596_801, 0), (i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)]
        {
            assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }
}
