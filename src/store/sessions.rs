//! Sessions issued in this region, and revocations from everywhere.

use super::directory::Policy;
use super::error::Kind;
use super::value::args;
use super::{Error, Tx, streams};
use crate::clock::Timestamp;
use crate::names::{AccountId, PageSize, PrincipalName, Uid};
use std::sync::Arc;

/// A session that was issued here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: Uid,
    /// The principal's account.
    pub account: AccountId,
    /// The principal's ARN.
    pub principal: String,
    /// The name given at `AssumeRole`.
    pub name: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a revocation cuts off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// One session.
    Session,
    /// Every session of a principal issued before a moment.
    Principal,
    /// What a grant gives to sessions issued before a moment.
    Grant,
}

impl Cut {
    /// The word in the store and on the stream.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Principal => "principal",
            Self::Grant => "grant",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Session, Self::Principal, Self::Grant].into_iter().find(|cut| cut.as_str() == word)
    }
}

/// Tokens that are no longer believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its id, the same in every region.
    pub id: Uid,
    /// What it cuts off.
    pub cut: Cut,
    /// [`session_subject`], a principal's unique id, or [`grant_subject`].
    pub subject: String,
    /// Tokens issued before this are void.
    pub before_at: Timestamp,
    /// May be forgotten after this.
    pub expires_at: Timestamp,
    /// Whether it was made in this region, and so belongs to this region's stream.
    pub local_origin: bool,
}

/// A user or role, as of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The id that survives no re-creation.
    pub unique_id: Arc<str>,
    /// Whether the session under which it calls was cut off.
    pub revoked: bool,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// Whether managed policies are attached to it.
    pub attached: bool,
    /// Whether the organization has control policies, be it elsewhere.
    pub controlled: bool,
}

impl Tx<'_> {
    pub(crate) async fn session_insert(&mut self, session: &SessionRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO sessions (id, account, principal, name, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
            args![
                session.id,
                session.account,
                session.principal.as_str(),
                session.name.as_str(),
                session.issued_at,
                session.expires_at
            ],
        )
        .await?;
        Ok(())
    }

    /// A session issued here.
    pub async fn session(&mut self, id: Uid) -> Result<Option<SessionRow>, Error> {
        let row = self
            .opt("SELECT id, account, principal, name, issued_at, expires_at FROM sessions WHERE id = $1", args![id])
            .await?;
        row.as_ref().map(session_row).transpose()
    }

    /// An account's sessions before one, newest first; many may have been issued in one moment.
    pub async fn session_list(
        &mut self,
        account: AccountId,
        (issued_at, id): (Timestamp, Uid),
        size: PageSize,
    ) -> Result<Vec<SessionRow>, Error> {
        let rows = self
            .all(
                "SELECT id, account, principal, name, issued_at, expires_at FROM sessions \
                 WHERE account = $1 AND (issued_at, id) < ($2, $3) ORDER BY issued_at DESC, id DESC LIMIT $4",
                args![account, issued_at, id, size.rows()],
            )
            .await?;
        rows.iter().map(session_row).collect()
    }

    /// Adds a revocation; one made here goes on this region's stream, one from a peer does not.
    pub(crate) async fn revocation_insert(&mut self, revocation: &Revocation, at: Timestamp) -> Result<(), Error> {
        let new = self
            .execute(
                "INSERT INTO revocations (id, kind, subject, before_at, expires_at, local_origin) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
                args![
                    revocation.id,
                    revocation.cut.as_str(),
                    revocation.subject.as_str(),
                    revocation.before_at,
                    revocation.expires_at,
                    revocation.local_origin
                ],
            )
            .await?;
        if new > 0 && revocation.local_origin {
            let note = streams::NewChange { kind: "revocation", subject: revocation.id.to_string(), image: None };
            self.stream_append(streams::REVOCATIONS, 0, at, &note).await?;
        }
        Ok(())
    }

    /// A revocation by id.
    pub async fn revocation(&mut self, id: Uid) -> Result<Option<Revocation>, Error> {
        let row = self
            .opt(
                "SELECT id, kind, subject, before_at, expires_at, local_origin FROM revocations WHERE id = $1",
                args![id],
            )
            .await?;
        row.map(|row| {
            let word: String = row.get(1)?;
            let cut = Cut::from_word(&word).ok_or_else(|| Error::new("revocation", Kind::Corrupt { column: 1 }))?;
            Ok(Revocation {
                id: row.get(0)?,
                cut,
                subject: row.get(2)?,
                before_at: row.get(3)?,
                expires_at: row.get(4)?,
                local_origin: row.get(5)?,
            })
        })
        .transpose()
    }

    /// Whether a grant gives nothing any more to a session issued then.
    pub async fn is_grant_cut(&mut self, account: AccountId, grant: Uid, issued_at: Timestamp) -> Result<bool, Error> {
        let row = self
            .opt(
                "SELECT 1 FROM revocations WHERE subject = $1 AND kind = 'grant' AND before_at > $2 LIMIT 1",
                args![grant_subject(account, grant), issued_at],
            )
            .await?;
        Ok(row.is_some())
    }

    /// A user or role as it stands, with its policies; `session` is the one it calls under, and when that was issued.
    pub async fn standing(
        &mut self,
        name: &PrincipalName,
        session: Option<(Uid, Timestamp)>,
    ) -> Result<Option<Standing>, Error> {
        // No subject is empty, and nothing is issued after the end of time.
        let never = (String::new(), Timestamp::from_micros(i64::MAX));
        let (subject, issued_at) = session.map_or(never, |(id, at)| (session_subject(name.account, id), at));
        let rows = self
            .all(
                "SELECT p.unique_id, (SELECT count(*) FROM revocations r WHERE (r.subject = $4 AND r.kind = 'session') \
                 OR (r.subject = p.unique_id AND r.kind = 'principal' AND r.before_at > $5)), q.name, q.document, \
                 (SELECT count(*) FROM attachments a WHERE a.unique_id = p.unique_id), \
                 (SELECT count(*) FROM (SELECT 1 FROM control_policies LIMIT 1) c) \
                 FROM principals p LEFT JOIN principal_policies q ON q.unique_id = p.unique_id \
                 WHERE p.account = $1 AND p.kind = $2 AND p.name = $3 ORDER BY q.name",
                args![name.account, name.kind, &*name.name, subject, issued_at],
            )
            .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (unique_id, revoked) = (first.get(0)?, first.get::<u64>(1)? > 0);
        let (attached, controlled) = (first.get::<u64>(4)? > 0, first.get::<u64>(5)? > 0);
        let mut policies = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(name) = row.get(2)? {
                policies.push(Policy { name, document: row.get(3)? });
            }
        }
        Ok(Some(Standing { unique_id, revoked, policies, attached, controlled }))
    }

    /// Forgets sessions and revocations that can no longer matter.
    pub(crate) async fn session_sweep(&mut self, now: Timestamp) -> Result<u64, Error> {
        let sessions = self.execute("DELETE FROM sessions WHERE expires_at < $1", args![now]).await?;
        let revocations = self.execute("DELETE FROM revocations WHERE expires_at < $1", args![now]).await?;
        Ok(sessions + revocations)
    }
}

/// How a revocation names a session: with its account, so that no other account can end it.
#[must_use]
pub fn session_subject(account: AccountId, session: Uid) -> String {
    format!("{account}/{session}")
}

/// How a revocation names a grant: with its account, as a session.
#[must_use]
pub fn grant_subject(account: AccountId, grant: Uid) -> String {
    format!("{account}/{grant}")
}

fn session_row(row: &super::value::Row) -> Result<SessionRow, Error> {
    Ok(SessionRow {
        id: row.get(0)?,
        account: row.get(1)?,
        principal: row.get(2)?,
        name: row.get(3)?,
        issued_at: row.get(4)?,
        expires_at: row.get(5)?,
    })
}
