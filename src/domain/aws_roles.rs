//! Roles of AWS accounts that the broker takes for accounts of ours. Written in the home region.
//!
//! Such a role is registered for a purpose: what its sessions are cut down to is a policy that the broker always sends, and
//! AWS holds. The external id is made here and always sent, so that no account has the broker take a role that trusts it for
//! another; a role that is let to the broker without it is refused before it is used.
//! SPEC: IAM User Guide, "The confused deputy problem".

use super::App;
use super::directory::{Home, at_home};
use crate::authz::permit::Allowed;
use crate::authz::policy::{self, Document, Kind, compact};
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{AwsRole, Change, Directory, DirectoryEntry, EntryAddress};
use crate::identity::aws_roles::{Asked, AwsCredentials, AwsRoles, Refused};
use crate::names::{AccountId, AwsRoleRef, PageSize, RoleArn, SessionName, Uid};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::aws_roles::{AwsRoleRow, aws_role_subject};
use sha2::Digest as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Roles of AWS that one account has.
const ROLES_MAX: u32 = 100;
/// How long a session of AWS lasts unless it is said; of a chain of roles AWS gives an hour at most.
pub const DURATION_DEFAULT_SECS: i64 = 900;
const DURATION_SECS: std::ops::RangeInclusive<i64> = 900..=3_600;
/// Before the end of a session another is taken.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// Sessions that are kept: some kilobytes each.
const SESSIONS_MAX: usize = 1_024;
/// How long a request waits for another that takes the same session: longer than AWS is asked.
const TURN_TIMEOUT: Duration = Duration::from_secs(15);
/// The name of the sessions in which a role is tried.
const VERIFIER: &str = "transship-verify";

/// Sessions of AWS by what they were asked with, in memory alone; the lock of one is held by who takes it.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Slot>>);

type Slot = Arc<tokio::sync::Mutex<Option<AwsCredentials>>>;

impl Sessions {
    fn slot(&self, key: [u8; 32]) -> Slot {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SESSIONS_MAX && !all.contains_key(&key) {
            // Of those that nobody is taking, the one that ends first goes.
            let first = all.iter().filter_map(|(key, slot)| Some((ends_at(slot)?, *key))).min();
            first.and_then(|(_, first)| all.remove(&first));
        }
        all.entry(key).or_default().clone()
    }
}

/// When what is kept there ends; `None` while somebody takes it.
fn ends_at(slot: &Slot) -> Option<Timestamp> {
    let held = slot.try_lock().ok()?;
    Some(held.as_ref().map_or_else(Timestamp::default, |held| held.expires_at))
}

fn is_fresh(credentials: &AwsCredentials, now: Timestamp) -> bool {
    credentials.expires_at > now.plus(RENEWED_BEFORE)
}

/// What a role of AWS is registered for.
#[derive(Clone, Debug)]
pub struct NewAwsRole {
    /// The role in AWS.
    pub arn: RoleArn,
    /// What its sessions are cut down to.
    pub policy: String,
    /// How long they last, in seconds.
    pub duration_secs: i64,
}

struct PutAwsRole {
    home: Home,
    row: AwsRoleRow,
    now: Timestamp,
}

impl Change for PutAwsRole {
    type Resource = DirectoryEntry;
    /// The external id and when it was registered, and whether what was seen of the role still holds.
    type Out = (String, Timestamp, Option<Timestamp>);

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<Self::Out> {
        at_home(tx, &self.home).await?;
        let AwsRoleRef { account, name } = &self.row.role;
        let known = tx.aws_role(&self.row.role).await?;
        let present = tx.aws_role_list(*account, "", PageSize::clamp(ROLES_MAX)).await?;
        if known.is_none() && present.len() >= ROLES_MAX as usize {
            let text = format!("account {account} has {ROLES_MAX} AWS roles, the most");
            return Err(Error::invalid("aws_role_id", text).with("name", name));
        }
        let row = match known {
            Some(known) => AwsRoleRow {
                verified_at: known.verified_at.filter(|_| known.arn == self.row.arn),
                external_id: known.external_id,
                created_at: known.created_at,
                ..self.row.clone()
            },
            None => self.row.clone(),
        };
        tx.aws_role_put(&row).await?;
        tx.directory_note("aws-role", &aws_role_subject(&row.role), self.now).await?;
        Ok((row.external_id, row.created_at, row.verified_at))
    }

    fn fingerprint(&self) -> Vec<u8> {
        let AwsRoleRow { role, arn, policy, duration_secs, .. } = &self.row;
        format!("{role:?}{arn}{policy}{duration_secs}").into_bytes()
    }
}

/// Notes that a role was seen to be let to the broker as it must be.
struct MarkVerified {
    home: Home,
    seen: AwsRoleRow,
    now: Timestamp,
}

impl Change for MarkVerified {
    type Resource = AwsRole;
    type Out = ();

    async fn apply(&self, role: &Allowed<AwsRole>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        if (&role.0.arn, &role.0.external_id) != (&self.seen.arn, &self.seen.external_id) {
            return Err(changed());
        }
        tx.aws_role_put(&AwsRoleRow { verified_at: Some(self.now), ..role.0.clone() }).await?;
        Ok(tx.directory_note("aws-role", &aws_role_subject(&role.0.role), self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.seen.role).into_bytes()
    }
}

struct DeleteAwsRole {
    home: Home,
    now: Timestamp,
}

impl Change for DeleteAwsRole {
    type Resource = AwsRole;
    type Out = ();

    async fn apply(&self, role: &Allowed<AwsRole>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        tx.aws_role_delete(&role.0.role).await?;
        Ok(tx.directory_note("aws-role", &aws_role_subject(&role.0.role), self.now).await?)
    }
}

/// Credentials that are handed over: nothing changes but the audit.
struct HandOver {
    /// What they were taken by.
    seen: AwsRoleRow,
}

impl Change for HandOver {
    type Resource = AwsRole;
    type Out = ();

    async fn apply(&self, role: &Allowed<AwsRole>, _: &mut Tx<'_>) -> Result<()> {
        if role.0 == self.seen { Ok(()) } else { Err(changed()) }
    }
}

impl App {
    /// Has roles of AWS come from there.
    pub fn aws_roles_from(&self, roles: Arc<dyn AwsRoles>) {
        // A second call is a defect of the composition root, and the first stays.
        let _ = self.aws_roles.set(roles);
    }

    /// Registers a role of AWS, or changes what it is registered for. The external id stays what it was, and one of another
    /// role must be verified anew.
    ///
    /// # Errors
    /// When the caller may not, the policy is none that cuts down, or this is not the home region.
    pub async fn put_aws_role(&self, ctx: &Ctx, role: AwsRoleRef, new: NewAwsRole) -> Result<AwsRoleRow> {
        let address = EntryAddress { account: role.account, arn: role.arn() };
        self.gate.check::<DirectoryEntry>(ctx, Op::PutAwsRole, std::slice::from_ref(&address)).await?;
        if !DURATION_SECS.contains(&new.duration_secs) {
            return Err(Error::invalid("duration", "15 minutes to 1 hour"));
        }
        let row = AwsRoleRow {
            role,
            arn: new.arn,
            external_id: external_id(self.clock.uid()),
            policy: checked(&new.policy)?,
            duration_secs: new.duration_secs,
            verified_at: None,
            created_at: ctx.now,
        };
        let change = PutAwsRole { home: self.home(), row: row.clone(), now: ctx.now };
        let (external_id, created_at, verified_at) = self.gate.write(ctx, Op::PutAwsRole, &address, change).await?;
        Ok(AwsRoleRow { external_id, created_at, verified_at, ..row })
    }

    /// A page of an account's roles of AWS after a name.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_aws_roles(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<AwsRoleRow>> {
        let mut view = self.gate.read::<Directory>(ctx, Op::ListAwsRoles, &account).await?;
        Ok(view.parts().1.aws_role_list(account, after, size).await?)
    }

    /// Removes a role of AWS; sessions that were handed over last until their end.
    ///
    /// # Errors
    /// When the caller may not, there is none, or this is not the home region.
    pub async fn delete_aws_role(&self, ctx: &Ctx, role: &AwsRoleRef) -> Result<()> {
        let change = DeleteAwsRole { home: self.home(), now: ctx.now };
        self.gate.write(ctx, Op::DeleteAwsRole, role, change).await
    }

    /// Sees that a role of AWS is let to this server with its external id, and not without.
    ///
    /// # Errors
    /// When the caller may not, the role is let otherwise, AWS does not answer, or this is not the home region.
    pub async fn verify_aws_role(&self, ctx: &Ctx, role: &AwsRoleRef) -> Result<AwsRoleRow> {
        let row = self.gate.look::<AwsRole>(ctx, Op::VerifyAwsRole, role).await?.allowed().0.clone();
        let seen = self.see(&row).await;
        seen.inspect_err(|error| self.gate.failed::<AwsRole>(ctx, Op::VerifyAwsRole, role, error))?;
        let change = MarkVerified { home: self.home(), seen: row.clone(), now: ctx.now };
        self.gate.write(ctx, Op::VerifyAwsRole, role, change).await?;
        Ok(AwsRoleRow { verified_at: Some(ctx.now), ..row })
    }

    /// Whether a role is refused without an external id and with one of somebody else, and given with its own.
    async fn see(&self, row: &AwsRoleRow) -> Result<()> {
        let (name, aws) = (SessionName::parse(VERIFIER)?, self.aws_roles()?);
        let another = external_id(self.clock.uid());
        for wrong in [None, Some(another.as_str())] {
            match aws.assume(&Asked { external_id: wrong, ..asked(row, &name) }).await {
                Err(Refused::Denied) => {}
                Ok(_) => {
                    let text = format!(
                        "{} is let to this server {} external id, so anybody here could have it taken; have its trust policy \
                         ask for sts:ExternalId {} exactly",
                        row.arn,
                        if wrong.is_none() { "without an" } else { "with any" },
                        row.external_id
                    );
                    return Err(Error::invalid("role_arn", text));
                }
                Err(other) => return Err(silent(row, other)),
            }
        }
        let given = aws.assume(&asked(row, &name)).await.map_err(|refused| match refused {
            Refused::Denied => {
                let text = format!(
                    "{} is not let to this server; have its trust policy name this server, with sts:ExternalId {}",
                    row.arn, row.external_id
                );
                Error::invalid("role_arn", text)
            }
            other => silent(row, other),
        });
        given.map(drop)
    }

    /// Credentials of AWS by a role that the account has, in a session of the caller's own. They are kept until five minutes
    /// before their end, and those who ask at once are given the same.
    ///
    /// # Errors
    /// When the caller may not, the role was not verified, or AWS refuses or does not answer.
    pub async fn aws_credentials(&self, ctx: &Ctx, role: &AwsRoleRef) -> Result<AwsCredentials> {
        let row = self.gate.look::<AwsRole>(ctx, Op::GetAwsCredentials, role).await?.allowed().0.clone();
        if row.verified_at.is_none() {
            let text = format!("AWS role {} was not verified yet; verify it first", role.name);
            return Err(Error::invalid("name", text));
        }
        let taken = self.taken(&row, &ctx.caller.display(), ctx.now).await;
        let credentials =
            taken.inspect_err(|error| self.gate.failed::<AwsRole>(ctx, Op::GetAwsCredentials, role, error))?;
        // Audited before it is handed over, to who may still have it.
        self.gate.write(ctx, Op::GetAwsCredentials, role, HandOver { seen: row }).await?;
        Ok(credentials)
    }

    async fn taken(&self, row: &AwsRoleRow, caller: &str, now: Timestamp) -> Result<AwsCredentials> {
        let asked_with = [row.arn.as_str(), &row.external_id, &row.policy, caller];
        let key = sha2::Sha256::digest(format!("{}\0{}", asked_with.join("\0"), row.duration_secs)).into();
        let slot = self.aws_sessions.slot(key);
        let turn = tokio::time::timeout(TURN_TIMEOUT, slot.lock()).await;
        let mut held = turn.map_err(|_| Error::new(Reason::Unavailable, "AWS STS is being asked; try again"))?;
        if let Some(fresh) = held.as_ref().filter(|held| is_fresh(held, now)) {
            return Ok(fresh.clone());
        }
        let name = session_name(caller)?;
        let taken = self.aws_roles()?.assume(&asked(row, &name)).await.map_err(|refused| silent(row, refused))?;
        *held = Some(taken.clone());
        Ok(taken)
    }

    fn aws_roles(&self) -> Result<&Arc<dyn AwsRoles>> {
        self.aws_roles
            .get()
            .ok_or_else(|| Error::new(Reason::Unsupported, "this server takes no roles of AWS: its [sts] is not aws"))
    }
}

fn external_id(uid: Uid) -> String {
    format!("transship-{uid}")
}

fn changed() -> Error {
    Error::new(Reason::Unavailable, "the role was registered again just now; repeat the call")
}

/// A policy that cuts down, without white space.
fn checked(text: &str) -> Result<String> {
    let text = compact(text);
    let document = Document::parse(Kind::Session, &text)?;
    if document.is_unbounded() {
        let message = "the policy allows everything; name what the role is for".to_owned();
        return Err(policy::Error { line: 1, column: 1, message }.into());
    }
    Ok(text)
}

fn asked<'a>(row: &'a AwsRoleRow, session_name: &'a SessionName) -> Asked<'a> {
    Asked {
        role: &row.arn,
        session_name,
        external_id: Some(&row.external_id),
        policy: &row.policy,
        duration: Duration::from_secs(u64::try_from(row.duration_secs).unwrap_or_default()),
    }
}

/// A session's name out of the caller's ARN, by which AWS's logs tell whose it is: its account and name, and a hash of the ARN
/// for names that are too long.
fn session_name(caller: &str) -> Result<SessionName> {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(*c);
    let parts: Vec<&str> = caller.splitn(6, ':').collect();
    let (account, name) = (parts.get(4).copied().unwrap_or_default(), parts.last().copied().unwrap_or_default());
    let name: String = name.chars().map(|c| if fits(&c) { c } else { '-' }).take(42).collect();
    let hash = hex::encode(&sha2::Sha256::digest(caller)[..4]);
    Ok(SessionName::parse(&format!("{account}-{name}-{hash}"))?)
}

/// Codes of AWS that the same call may not have later.
const PASSING: [&str; 4] = ["InternalFailure", "ServiceUnavailable", "Throttling", "ThrottlingException"];

fn silent(row: &AwsRoleRow, refused: Refused) -> Error {
    let (reason, text) = match &refused {
        Refused::Denied => {
            (Reason::InvalidArgument, format!("AWS does not let this server take {} any more; verify it", row.arn))
        }
        Refused::Code(code) => {
            let passes = PASSING.contains(&code.as_str());
            let reason = if passes { Reason::Unavailable } else { Reason::InvalidArgument };
            (reason, format!("AWS STS answered {code} for {}", row.arn))
        }
        // What is told of the server's network is for its log.
        Refused::Silent(_) => (Reason::Unavailable, "AWS STS does not answer; try again".to_owned()),
    };
    Error::new(reason, text).with("role_arn", &row.arn).because(refused)
}

#[cfg(test)]
mod tests {
    use super::session_name;

    #[test]
    fn a_session_says_whose_it_is() {
        let named = |caller: &str| session_name(caller).unwrap().to_string();
        assert!(named("arn:aws:iam::111122223333:user/ann").starts_with("111122223333-user-ann-"));
        let long = |last| format!("arn:aws:sts::111122223333:assumed-role/{}/{last}", "r".repeat(64));
        assert_eq!(named(&long("a")).len(), 64);
        assert_ne!(named(&long("a")), named(&long("b")));
    }
}
