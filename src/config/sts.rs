//! `[sts]`: whether identities of AWS are let in, and who says whose they are.

use super::Problems;
use crate::names::Region;
use serde::Deserialize;

/// AWS STS, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sts {
    /// Its endpoint.
    pub endpoint: String,
    /// The region for which callers sign.
    pub region: Region,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub(super) enum StsFile {
    /// Sessions are this server's own; no identity of AWS is let in.
    #[default]
    Embedded,
    /// Identities of AWS may take roles too, and roles of AWS are taken for accounts.
    Aws { endpoint: Option<String>, region: Option<String> },
}

impl Problems {
    pub(super) fn sts(&mut self, file: StsFile, own: &Region) -> Option<Sts> {
        let StsFile::Aws { endpoint, region } = file else { return None };
        self.http("sts.endpoint", endpoint.as_deref());
        let region = region.map_or_else(|| own.clone(), |text| self.region("sts.region", &text));
        let endpoint = endpoint.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
        Some(Sts { endpoint, region })
    }
}
