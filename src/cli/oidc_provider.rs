//! `transship oidc-provider`.

use super::failure::Result;
use super::output::{Rows, time};
use super::{Session, read};
use crate::pb::identity as pb;
use std::path::PathBuf;

#[derive(clap::Subcommand, Debug)]
pub(super) enum OidcProvider {
    /// Trusts an issuer of identity tokens, or replaces what is trusted of it.
    Put {
        /// Its URL, to the byte as its tokens have it in iss.
        issuer: String,
        /// For whom its tokens may be: a value of aud that is accepted.
        #[arg(long, required = true, value_name = "ID")]
        client_id: Vec<String>,
        /// The certificates that vouch for its servers, PEM; those of the server's system unless given.
        #[arg(long, value_name = "FILE")]
        ca_certificate: Option<PathBuf>,
    },
    /// Lists the issuers that the account trusts.
    List,
    /// Trusts an issuer no longer; sessions that were given for its tokens last until their end.
    Delete { issuer: String },
}

impl OidcProvider {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::Put { issuer, client_id, ca_certificate } => {
                let request = pb::PutOidcProviderRequest {
                    parent: session.parent().await?,
                    issuer,
                    client_ids: client_id,
                    ca_certificate: ca_certificate.as_deref().map(read).transpose()?.unwrap_or_default(),
                    request_id,
                    validate_only,
                };
                let provider = identity.put_oidc_provider(request).await?.into_inner().oidc_provider;
                show(session, provider.into_iter().collect());
            }
            Self::List => list(session).await?,
            Self::Delete { issuer } => {
                let id = issuer.strip_prefix("https://").unwrap_or(&issuer);
                let name = session.below("oidcProviders", id).await?;
                identity
                    .delete_oidc_provider(pb::DeleteOidcProviderRequest { name, request_id, validate_only })
                    .await?;
            }
        }
        Ok(())
    }
}

async fn list(session: &Session) -> Result<()> {
    let parent = session.parent().await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListOidcProvidersRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.identity().list_oidc_providers(request).await?.into_inner();
        all.extend(page.oidc_providers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            show(session, all);
            return Ok(());
        }
    }
}

fn show(session: &Session, providers: Vec<pb::OidcProvider>) {
    let mut rows = Rows::new(&["ARN", "CLIENT IDS", "CREATED"]);
    for provider in providers {
        let created = time(provider.create_time.as_ref());
        rows.push([provider.arn.into(), provider.client_ids.join(", ").into(), created]);
    }
    rows.print(session.global.output);
}
