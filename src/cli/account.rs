//! `transship account`.

use super::Session;
use super::failure::Result;
use super::output::{Rows, time};
use crate::pb::identity as pb;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Account {
    /// Makes an account, with a user `admin` and its key.
    Create {
        /// What people will call it.
        name: String,
        /// Its number; chosen by the server unless given.
        #[arg(long)]
        id: Option<String>,
    },
    /// Lists the accounts.
    List,
}

impl Account {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Create { name, id } => create(session, name, id).await,
            Self::List => list(session).await,
        }
    }
}

async fn create(session: &Session, display_name: String, id: Option<String>) -> Result<()> {
    let request = pb::CreateAccountRequest {
        display_name,
        account_id: id.unwrap_or_default(),
        validate_only: session.global.dry_run,
    };
    let made = session.client.identity().create_account(request).await?.into_inner();
    let (account, key) = (made.account.unwrap_or_default(), made.access_key.unwrap_or_default());
    let mut rows = Rows::new(&["NAME", "ID", "ACCESS KEY ID", "SECRET ACCESS KEY"]);
    rows.push([
        account.display_name.into(),
        account.account_id.into(),
        key.access_key_id.into(),
        key.secret_access_key.into(),
    ]);
    rows.print_one(session.global.output);
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let mut rows = Rows::new(&["NAME", "ID", "CREATED"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListAccountsRequest { page_size: 0, page_token };
        let page = session.client.identity().list_accounts(request).await?.into_inner();
        for account in page.accounts {
            let created = time(account.create_time.as_ref());
            rows.push([account.display_name.into(), account.account_id.into(), created]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            rows.print(session.global.output);
            return Ok(());
        }
    }
}
