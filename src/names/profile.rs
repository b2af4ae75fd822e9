//! Whose answers a registry gives where Amazon ECR and the OCI specification differ.

use super::{Error, text_name};

/// How a registry answers where Amazon ECR and the OCI specification differ.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// As the specification says.
    #[default]
    Oci,
    /// As Amazon ECR does.
    Ecr,
}

impl Profile {
    /// Parses `oci` or `ecr`.
    ///
    /// # Errors
    /// When it is another word.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let known = [Self::Oci, Self::Ecr].into_iter().find(|profile| profile.as_str() == text);
        known.ok_or_else(|| Error::new("profile", text, "oci or ecr"))
    }

    /// `oci` or `ecr`, as in the store and the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Ecr => "ecr",
        }
    }
}

text_name!(Profile);

#[cfg(test)]
mod tests {
    use super::Profile;

    #[test]
    fn a_profile_prints_as_it_was_read() {
        for word in ["oci", "ecr"] {
            assert_eq!(Profile::parse(word).unwrap().to_string(), word);
        }
        assert!(Profile::parse("aws").is_err());
    }
}
