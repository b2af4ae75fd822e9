//! `transship lock`.

use super::Session;
use super::failure::Result;
use super::output::{Rows, time};
use crate::pb::registry as pb;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Lock {
    /// Protects a tag, an image or a whole repository from deletion.
    Create {
        repository: String,
        /// A tag, which stays where it points too, or a digest; the repository and every image in it unless given.
        #[arg(default_value = "")]
        reference: String,
        /// Why, for those who meet the lock.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Lists the locks of a repository.
    List { repository: String },
    /// Ends a lock.
    Delete {
        repository: String,
        /// The tag or digest that is locked; the repository's own lock unless given.
        #[arg(default_value = "")]
        reference: String,
    },
}

impl Lock {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut locks = session.client.locks();
        match self {
            Self::Create { repository, reference, reason } => {
                let parent = session.repository(&repository).await?;
                let request = pb::CreateLockRequest { parent, reference, reason, request_id, validate_only };
                let made = locks.create_lock(request).await?.into_inner().lock;
                show(made.into_iter().collect()).print_one(session.global.output);
            }
            Self::List { repository } => list(session, session.repository(&repository).await?).await?,
            Self::Delete { repository, reference } => {
                let parent = session.repository(&repository).await?;
                let request = pb::DeleteLockRequest { parent, reference, request_id, validate_only };
                locks.delete_lock(request).await?;
            }
        }
        Ok(())
    }
}

async fn list(session: &Session, parent: String) -> Result<()> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListLocksRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.locks().list_locks(request).await?.into_inner();
        all.extend(page.locks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            show(all).print(session.global.output);
            return Ok(());
        }
    }
}

fn show(locks: Vec<pb::Lock>) -> Rows {
    let mut rows = Rows::new(&["REFERENCE", "REASON", "CREATOR", "CREATED"]);
    for lock in locks {
        let created = time(lock.create_time.as_ref());
        rows.push([lock.reference.into(), lock.reason.into(), lock.creator.into(), created]);
    }
    rows
}
