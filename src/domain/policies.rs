//! Policies as tenants write them: checked, bound to the principals they name, kept verbatim.

use crate::authz::policy::{self, Document, Kind};
use crate::error::{Error, Reason, Result};
use crate::names::PrincipalName;
use crate::store::Tx;
use crate::store::registries::StoredPolicy;
use std::collections::BTreeMap;

/// A policy text that parses as its kind.
#[derive(Clone, Debug)]
pub struct Written {
    text: String,
    document: Document,
}

impl Written {
    /// Checks a policy text.
    ///
    /// # Errors
    /// `MALFORMED_POLICY` with line and column.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, policy::Error> {
        Ok(Self { text: text.to_owned(), document: Document::parse(kind, text)? })
    }

    /// The text, as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What looks wrong but is legal.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.document.warnings().iter().map(ToString::to_string).collect()
    }

    /// Binds the users and roles it names to their unique ids, so that one made again under the same name does not
    /// inherit; unknown ones are refused unless `force`, and then match nobody.
    pub(super) async fn bind(&self, tx: &mut Tx<'_>, force: bool) -> Result<StoredPolicy> {
        let mut bindings = BTreeMap::new();
        for arn in self.document.principals() {
            let name = PrincipalName::from_arn(&arn).ok();
            let row = match &name {
                Some(name) => tx.principal(name).await?,
                None => None,
            };
            match row {
                Some(row) => {
                    bindings.insert(arn.to_string(), row.unique_id.to_string());
                }
                None if force || is_service_linked(arn.resource()) => {
                    bindings.insert(arn.to_string(), String::new());
                }
                None => {
                    // SPEC: the text ECR answers, see terraform-provider-aws issue 39064.
                    let text = format!(
                        "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found': {arn}; \
                         make it first, or force"
                    );
                    return Err(Error::new(Reason::MalformedPolicy, text).with("principal", arn));
                }
            }
        }
        bindings.retain(|_, id| !id.is_empty());
        Ok(StoredPolicy { text: self.text.clone(), bindings })
    }
}

/// Service-linked roles belong to the product and are in no directory.
fn is_service_linked(resource: &str) -> bool {
    resource.starts_with("role/aws-service-role/")
}
