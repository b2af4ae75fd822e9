//! Amazon resource names, split into their fields and otherwise as written: nothing here says what one stands for.

use super::{AccountId, Error, text_name};
use std::sync::Arc;

/// An Amazon resource name with its six fields; the last may hold colons.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arn {
    text: Arc<str>,
    /// Ends of the first five fields.
    ends: [u16; 5],
}

impl Arn {
    /// Builds `arn:aws:<service>:<region>:<account>:<resource>`.
    #[must_use]
    pub fn new(service: &str, region: &str, account: Option<AccountId>, resource: &str) -> Self {
        let account = account.as_ref().map_or("", AccountId::as_str);
        Self::parse(&format!("arn:aws:{service}:{region}:{account}:{resource}")).expect("six fields by construction")
    }

    /// Parses an ARN of at most 2,048 bytes.
    ///
    /// # Errors
    /// When there are fewer than six fields or the first is not `arn`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::new("ARN", text, "arn:<partition>:<service>:<region>:<account>:<resource>");
        if !text.starts_with("arn:") || text.len() > 2_048 {
            return Err(bad());
        }
        let mut ends = [0; 5];
        let mut colons = text.bytes().enumerate().filter(|(_, b)| *b == b':');
        for end in &mut ends {
            let (at, _) = colons.next().ok_or_else(bad)?;
            *end = u16::try_from(at).map_err(|_| bad())?;
        }
        if text.len() == usize::from(ends[4]) + 1 {
            return Err(bad());
        }
        Ok(Self { text: text.into(), ends })
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The six fields in order: `arn`, partition, service, region, account, resource.
    #[must_use]
    pub fn fields(&self) -> [&str; 6] {
        let e = self.ends.map(usize::from);
        [
            &self.text[..e[0]],
            &self.text[e[0] + 1..e[1]],
            &self.text[e[1] + 1..e[2]],
            &self.text[e[2] + 1..e[3]],
            &self.text[e[3] + 1..e[4]],
            &self.text[e[4] + 1..],
        ]
    }

    /// The service field, e.g. `ecr`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.fields()[2]
    }

    /// The region field, empty for global resources.
    #[must_use]
    pub fn region(&self) -> &str {
        self.fields()[3]
    }

    /// The account field, if it is an account id.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        AccountId::parse(self.fields()[4]).ok()
    }

    /// The resource field.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.fields()[5]
    }
}

text_name!(Arn);

#[cfg(test)]
mod tests {
    use super::Arn;

    #[test]
    fn the_last_field_keeps_its_colons() {
        let arn = Arn::parse("arn:aws:logs:us-east-1:111122223333:log-group:a:b").unwrap();
        assert_eq!(arn.resource(), "log-group:a:b");
        assert_eq!(arn.account().unwrap().as_str(), "111122223333");
    }

    #[test]
    fn too_few_fields_are_refused() {
        for bad in ["", "arn", "arn:aws:s3:::", "x:aws:s3:::a", "arn:aws:s3"] {
            assert!(Arn::parse(bad).is_err(), "{bad:?}");
        }
    }
}
