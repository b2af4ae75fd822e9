//! Policies as tenants write them: checked, bound to the principals they name, kept verbatim.

use crate::authz::policy::{self, Document, Kind};
use crate::error::{Error, Reason, Result};
use crate::gate::CONTEXT_KEYS;
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
    /// `MALFORMED_POLICY` with line and column, also for a condition key that no request has.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, policy::Error> {
        let document = Document::parse(kind, text)?;
        document.check_keys(CONTEXT_KEYS)?;
        Ok(Self { text: text.to_owned(), document })
    }

    /// The text, as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What looks wrong but is legal.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let told = |w: &policy::Warning| format!("line {}, column {}: {}", w.line, w.column, w.message);
        self.document.warnings().iter().map(told).collect()
    }

    /// Binds the users and roles it names to their unique ids, so that one made again under the same name does not
    /// inherit; unknown ones are refused unless `force`, and then match nobody.
    pub(super) async fn bind(&self, tx: &mut Tx<'_>, force: bool) -> Result<StoredPolicy> {
        let mut bindings = BTreeMap::new();
        for named in self.document.principals() {
            let row = match &named.name {
                Some(name) => tx.principal(name).await?,
                None => None,
            };
            match row {
                Some(row) => {
                    bindings.insert(named.arn.to_owned(), row.unique_id.to_string());
                }
                None if force => {}
                None => {
                    // SPEC: the text ECR answers, see terraform-provider-aws issue 39064.
                    let text = format!(
                        "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found': {}; make \
                         it first, or force",
                        named.arn
                    );
                    return Err(Error::new(Reason::MalformedPolicy, text).with("principal", named.arn));
                }
            }
        }
        Ok(StoredPolicy { text: self.text.clone(), bindings })
    }
}
