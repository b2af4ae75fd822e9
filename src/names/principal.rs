//! Names of users, roles and sessions, and the principals that they make.

use super::{AccountId, Arn, Error, text_name};
use std::sync::Arc;

macro_rules! iam_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $min:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name.
            ///
            /// # Errors
            /// When it is too short, too long or holds another character.
            pub fn parse(text: &str) -> Result<Self, Error> {
                let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
                if fits && ($min..=$max).contains(&text.len()) {
                    Ok(Self(text.into()))
                } else {
                    Err(Error::new($kind, text, concat!($min, "-", $max, " characters A-Z a-z 0-9 _ + = , . @ -")))
                }
            }

            /// The name's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text_name!($name);
    };
}

iam_name!(
    /// The name of a user inside an account.
    UserName, "user name", 1, 64
);
iam_name!(
    /// The name of a role inside an account.
    RoleName, "role name", 1, 64
);
iam_name!(
    /// The name a caller gives a session of a role.
    ///
    /// SPEC: STS `AssumeRole`, `RoleSessionName`.
    SessionName, "role session name", 2, 64
);

iam_name!(
    /// The name of somebody for whom a user makes credentials.
    ///
    /// SPEC: STS `GetFederationToken`, `Name`.
    FederatedName, "federated user name", 2, 32
);

iam_name!(
    /// The name of a managed policy inside an account, or of a policy of the organization.
    ///
    /// SPEC: IAM `CreatePolicy`, `PolicyName`.
    PolicyName, "policy name", 1, 128
);

iam_name!(
    /// The name of a second factor inside an account.
    ///
    /// SPEC: IAM `CreateVirtualMFADevice`, `VirtualMFADeviceName`; ours are shorter.
    MfaDeviceName, "MFA device name", 1, 128
);

/// A second factor of a user of an account.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct MfaDeviceRef {
    /// The account.
    pub account: AccountId,
    /// The name, without a path.
    pub name: MfaDeviceName,
}

impl MfaDeviceRef {
    /// Reads `arn:aws:iam::<account>:mfa/<name>`, the serial number of a virtual device.
    ///
    /// # Errors
    /// When the ARN names anything else.
    pub fn from_arn(arn: &Arn) -> Result<Self, Error> {
        let bad = || Error::new("MFA serial number", arn.as_str(), "arn:aws:iam::<12 digits>:mfa/<name>");
        let account = arn.account().filter(|_| arn.service() == "iam").ok_or_else(bad)?;
        let name = arn.resource().strip_prefix("mfa/").ok_or_else(bad)?;
        Ok(Self { account, name: MfaDeviceName::parse(name)? })
    }

    /// `arn:aws:iam::<account>:mfa/<name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::new("iam", "", Some(self.account), &format!("mfa/{}", self.name))
    }
}

iam_name!(
    /// The name under which an account has a role of AWS.
    AwsRoleName, "AWS role name", 1, 64
);

/// A role of AWS that the broker takes for an account.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AwsRoleRef {
    /// The account.
    pub account: AccountId,
    /// The name that the account has given it.
    pub name: AwsRoleName,
}

impl AwsRoleRef {
    /// `arn:aws:iam::<account>:aws-role/<name>`, by which policies say who may use it.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::new("iam", "", Some(self.account), &format!("aws-role/{}", self.name))
    }
}

/// A managed policy of an account.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PolicyRef {
    /// The account.
    pub account: AccountId,
    /// The name, without a path.
    pub name: PolicyName,
}

impl PolicyRef {
    /// Reads `arn:aws:iam::<account>:policy/<name>`.
    ///
    /// # Errors
    /// When the ARN names anything else; the policies of AWS itself (`arn:aws:iam::aws:policy/…`) do not exist here.
    pub fn from_arn(arn: &Arn) -> Result<Self, Error> {
        let bad = || Error::new("policy ARN", arn.as_str(), "arn:aws:iam::<12 digits>:policy/<name>");
        let account = arn.account().filter(|_| arn.service() == "iam").ok_or_else(bad)?;
        let name = arn.resource().strip_prefix("policy/").ok_or_else(bad)?;
        Ok(Self { account, name: PolicyName::parse(name)? })
    }

    /// `arn:aws:iam::<account>:policy/<name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::new("iam", "", Some(self.account), &format!("policy/{}", self.name))
    }
}

/// Which kind of long-lived principal a name denotes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum PrincipalKind {
    /// A user with access keys.
    User,
    /// A role to be assumed.
    Role,
}

impl PrincipalKind {
    /// `user` or `role`, as in ARNs and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
        }
    }
}

/// A user or role of an account, by name; paths are not supported yet and refused.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PrincipalName {
    /// The account that owns the principal.
    pub account: AccountId,
    /// User or role.
    pub kind: PrincipalKind,
    /// The name without path.
    pub name: Arc<str>,
}

impl PrincipalName {
    /// Reads `arn:aws:iam::<account>:user/<name>` or `…:role/<name>`.
    ///
    /// # Errors
    /// When the ARN names anything else.
    pub fn from_arn(arn: &Arn) -> Result<Self, Error> {
        let bad = || Error::new("principal", arn.as_str(), "arn:aws:iam::<account>:user/<name> or …:role/<name>");
        let account = arn.account().filter(|_| arn.service() == "iam").ok_or_else(bad)?;
        let (kind, name) = arn.resource().split_once('/').ok_or_else(bad)?;
        let (kind, name) = match kind {
            "user" => (PrincipalKind::User, UserName::parse(name)?.0),
            "role" => (PrincipalKind::Role, RoleName::parse(name)?.0),
            _ => return Err(bad()),
        };
        Ok(Self { account, kind, name })
    }

    /// `<kind>/<name>`, by which the principals of an account are listed.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.name)
    }

    /// `arn:aws:iam::<account>:<kind>/<name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::new("iam", "", Some(self.account), &self.key())
    }
}

/// A role that this server may become elsewhere, by its ARN. Unlike our own roles it may have a path and stand in another
/// partition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RoleArn(Arn);

impl RoleArn {
    /// Reads `arn:<partition>:iam::<account>:role/<path and name>`.
    ///
    /// # Errors
    /// When it is no ARN, or names anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let arn = Arn::parse(text)?;
        let name = arn.resource().strip_prefix("role/").and_then(|path| path.rsplit('/').next());
        let fits = arn.service() == "iam" && arn.region().is_empty() && arn.account().is_some();
        if fits && name.is_some_and(|name| RoleName::parse(name).is_ok()) {
            Ok(Self(arn))
        } else {
            Err(Error::new("role ARN", text, "arn:<partition>:iam::<12 digits>:role/<name>"))
        }
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl std::fmt::Display for RoleArn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::RoleArn;

    #[test]
    fn a_role_arn_names_a_role_and_nothing_else() {
        for good in ["arn:aws:iam::111122223333:role/kms", "arn:aws-cn:iam::111122223333:role/service/registry/kms"] {
            assert_eq!(RoleArn::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "kms",
            "arn:aws:iam::111122223333:user/kms",
            "arn:aws:sts::111122223333:assumed-role/kms/s",
            "arn:aws:iam:us-east-1:111122223333:role/kms",
            "arn:aws:iam::1111:role/kms",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/k ms",
        ] {
            assert!(RoleArn::parse(bad).is_err(), "{bad:?}");
        }
    }
}
