//! How a repository is addressed: by host name as in ECR, or by an account at the front of the path (decision 23).

use crate::names::{AccountId, Error as NameError, Region, RepositoryName};
use std::fmt;

/// A registry named by its host: `<12 digits>.dkr.ecr.<region>.<domain>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EcrHost {
    /// The registry's account.
    pub account: AccountId,
    /// The registry's region, which need not be the one that serves the request.
    pub region: Region,
    /// The rest of the name, with the port if there was one.
    pub domain: String,
}

impl EcrHost {
    /// Reads a host of the ECR form, upper or lower case, with or without a port; any other host is `None`.
    #[must_use]
    pub fn parse(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let (account, rest) = host.split_once('.')?;
        let (region, domain) = rest.strip_prefix("dkr.ecr.")?.split_once('.')?;
        let account = AccountId::parse(account).ok()?;
        let region = Region::parse(region).ok()?;
        let plain = domain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
        (plain && !domain.is_empty()).then(|| Self { account, region, domain: domain.to_owned() })
    }
}

impl fmt::Display for EcrHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.dkr.ecr.{}.{}", self.account, self.region, self.domain)
    }
}

/// A repository of an account, in whatever region serves the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repository {
    /// The account whose registry holds it.
    pub account: AccountId,
    /// Its name there.
    pub name: RepositoryName,
}

/// Why a text addresses no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// On a host that names no account, the first segment must.
    #[error(
        "the path must begin with the 12-digit account that owns the repository: \
         <host>/<account>/<repository>, e.g. <host>/111122223333/team/app; {first:?} is no account"
    )]
    NoAccount {
        /// The first segment, cut to 80 characters.
        first: String,
    },
    /// The name itself is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Repository {
    /// Reads an address: on an ECR host the whole of it is the name, elsewhere it is `<account>/<name>`.
    ///
    /// # Errors
    /// When the account or the name is malformed.
    pub fn parse(host: Option<&EcrHost>, address: &str) -> Result<Self, Error> {
        if let Some(host) = host {
            return Ok(Self { account: host.account, name: RepositoryName::parse(address)? });
        }
        let (first, name) = address.split_once('/').unwrap_or((address, ""));
        let account =
            AccountId::parse(first).map_err(|_| Error::NoAccount { first: first.chars().take(80).collect() })?;
        Ok(Self { account, name: RepositoryName::parse(name)? })
    }

    /// The address as a client of this host writes it; the inverse of [`Repository::parse`].
    #[must_use]
    pub fn address(&self, host: Option<&EcrHost>) -> String {
        match host {
            Some(_) => self.name.to_string(),
            None => format!("{}/{}", self.account, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EcrHost, Error, Repository};
    use proptest::prelude::*;

    const HOST: &str = "111122223333.dkr.ecr.eu-west-1.example.com:5000";

    #[test]
    fn only_hosts_of_the_ecr_form_name_a_registry() {
        let host = EcrHost::parse("111122223333.DKR.ecr.eu-west-1.Example.com:5000").unwrap();
        assert_eq!((host.account.as_str(), host.region.as_str()), ("111122223333", "eu-west-1"));
        assert_eq!(host.to_string(), HOST);
        for other in [
            "",
            "localhost:5000",
            "[::1]:5000",
            "11112222333.dkr.ecr.eu-west-1.example.com",
            "111122223333.dkr.ecr.eu-west-1",
            "111122223333.dkr.ecr.eu-west-1.",
            "111122223333.dkr.ecr..example.com",
            "111122223333.ecr.eu-west-1.example.com",
            "x111122223333.dkr.ecr.eu-west-1.example.com",
            "111122223333.dkr.ecr.eu-west-1.example.com/\"",
        ] {
            assert_eq!(EcrHost::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let host = EcrHost::parse(HOST);
        for (host, address) in [(host.as_ref(), "team/app"), (None, "444455556666/team/app")] {
            let repository = Repository::parse(host, address).unwrap();
            assert_eq!(repository.name.as_str(), "team/app");
            assert_eq!(repository.address(host), address);
        }
    }

    #[test]
    fn a_path_without_account_is_told_the_right_form() {
        for bad in ["team/app", "app", "", "1111/app"] {
            let error = Repository::parse(None, bad).unwrap_err();
            assert!(matches!(error, Error::NoAccount { .. }), "{bad:?}");
            assert!(error.to_string().contains("<host>/111122223333/team/app"), "{error}");
        }
        assert!(matches!(Repository::parse(None, "111122223333"), Err(Error::Name(_))));
        assert!(matches!(Repository::parse(EcrHost::parse(HOST).as_ref(), "111122223333/app"), Err(Error::Name(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = EcrHost::parse(&text);
            let _ = Repository::parse(None, &text);
        }
    }
}
