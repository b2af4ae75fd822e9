//! Second factors of users: virtual devices that show a code every half minute. Written in the home region.
//!
//! A code is good once in each region, and a minute at most. Who guesses is stopped after some failures, in this process.

use super::App;
use super::directory::{Home, at_home};
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::{Ctx, Principal};
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, DirectoryEntry, EntryAddress, Identified, User};
use crate::identity::totp;
use crate::keys;
use crate::names::{Arn, MfaDeviceRef, PrincipalKind, PrincipalName};
use crate::ops::Op;
use crate::secret::Secret;
use crate::store::Tx;
use crate::store::mfa_devices::{MfaDeviceRow, mfa_device_subject};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a second factor's secret is sealed for.
pub(crate) const MFA_DEVICE: &str = "mfa-device";
/// Second factors of one user.
// SPEC: IAM and STS quotas, "MFA devices assigned to an IAM user".
const DEVICES_MAX: usize = 8;
/// Wrong codes of one device within [`FAILURES_WITHIN`]: one in 30,000 that guesses is let in.
const FAILURES_MAX: u32 = 10;
const FAILURES_WITHIN: Duration = Duration::from_secs(3_600);
/// Devices whose failures are counted.
const COUNTED_MAX: usize = 10_000;

/// A code, and the device that is said to show it.
#[derive(Clone, Debug)]
pub struct MfaCode {
    /// The device's ARN.
    pub serial: String,
    /// The code.
    pub code: Secret<String>,
}

impl MfaCode {
    /// Both, or neither.
    ///
    /// # Errors
    /// When one is given without the other, or the code is not six digits.
    pub fn of(serial: Option<&str>, code: Option<&str>) -> Result<Option<Self>> {
        let (serial, code) = match (serial, code) {
            (None, None) => return Ok(None),
            (Some(serial), Some(code)) => (serial, code),
            (Some(_), None) | (None, Some(_)) => {
                return Err(failed("must provide both MFA serial number and one time pass code."));
            }
        };
        if code.len() != totp::DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::new(Reason::InvalidArgument, "the code of a second factor has 6 digits"));
        }
        Ok(Some(Self { serial: serial.to_owned(), code: Secret::new(code.to_owned()) }))
    }
}

/// A code that was right; it counts once the change commits that uses it.
#[derive(Clone, Debug)]
pub(super) struct UsedCode {
    device: MfaDeviceRef,
    /// Whose the device was.
    unique_id: String,
    step: i64,
}

impl UsedCode {
    /// Uses it.
    pub(super) async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let row = tx.mfa_device(&self.device).await?;
        if row.is_some_and(|row| row.enabled && row.unique_id == self.unique_id)
            && tx.mfa_step_use(&self.device, self.step).await?
        {
            return Ok(());
        }
        Err(failed(INVALID_CODE))
    }
}

/// A second factor with its secret, which is shown once.
#[derive(Debug)]
pub struct NewDevice {
    /// The device.
    pub device: MfaDeviceRef,
    /// The secret as people type it.
    pub seed: Secret<String>,
    /// The secret as a device reads it from a picture.
    pub uri: Secret<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Wrong codes by device.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<MfaDeviceRef, (u32, Timestamp)>>);

impl Attempts {
    fn check(&self, device: &MfaDeviceRef, now: Timestamp) -> Result<()> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = all.get(device).filter(|(_, since)| now.since(*since) < FAILURES_WITHIN);
        if counted.is_some_and(|(failures, _)| *failures >= FAILURES_MAX) {
            let text = format!("too many wrong codes of {} within the hour; try again later", device.arn());
            return Err(Error::new(Reason::Throttled, text));
        }
        Ok(())
    }

    fn fail(&self, device: &MfaDeviceRef, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= COUNTED_MAX && !all.contains_key(device) {
            // Whoever has failed for longest is forgotten: nobody is refused for the failures of others.
            let first = all.iter().min_by_key(|(_, (_, since))| *since).map(|(device, _)| device.clone());
            first.and_then(|first| all.remove(&first));
        }
        let (failures, since) = all.entry(device.clone()).or_insert((0, now));
        if now.since(*since) >= FAILURES_WITHIN {
            (*failures, *since) = (0, now);
        }
        *failures += 1;
    }
}

/// What becomes of a device.
#[derive(Clone, Copy, Debug)]
enum Becomes {
    /// It counts from now on; the codes until this step were shown for it.
    Enabled(i64),
    Gone,
}

struct CreateDevice {
    home: Home,
    user: PrincipalName,
    device: MfaDeviceRef,
    sealed_secret: Vec<u8>,
    now: Timestamp,
}

impl Change for CreateDevice {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let user = super::directory::existing(tx, &self.user).await?;
        if tx.mfa_device(&self.device).await?.is_some() {
            let text = format!("MFA device {} already exists", self.device.arn());
            return Err(Error::new(Reason::AlreadyExists, text).with("name", &self.device.name));
        }
        if tx.mfa_device_list(&user.unique_id).await?.len() >= DEVICES_MAX {
            return Err(Error::invalid("parent", format!("user {} has {DEVICES_MAX} MFA devices", self.user.name)));
        }
        let row = MfaDeviceRow {
            device: self.device.clone(),
            unique_id: user.unique_id.to_string(),
            sealed_secret: self.sealed_secret.clone(),
            enabled: false,
            created_at: self.now,
        };
        tx.mfa_device_put(&row).await?;
        Ok(tx.directory_note("mfa-device", &mfa_device_subject(&self.device), self.now).await?)
    }
}

/// A change of a device that a user has.
struct ChangeDevice {
    home: Home,
    device: MfaDeviceRef,
    becomes: Becomes,
    now: Timestamp,
}

impl Change for ChangeDevice {
    type Resource = User;
    type Out = ();

    async fn apply(&self, user: &Allowed<User>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let row = tx.mfa_device(&self.device).await?.filter(|row| *row.unique_id == *user.0.unique_id);
        let row = row.ok_or_else(|| missing(&user.0.name, &self.device))?;
        match self.becomes {
            Becomes::Enabled(step) => {
                tx.mfa_step_use(&self.device, step).await?;
                tx.mfa_device_put(&MfaDeviceRow { enabled: true, ..row }).await?;
            }
            Becomes::Gone => {
                tx.mfa_device_delete(&self.device).await?;
            }
        }
        Ok(tx.directory_note("mfa-device", &mfa_device_subject(&self.device), self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        // Which codes were shown is no part of what is asked.
        format!("{:?}{}", self.device, matches!(self.becomes, Becomes::Gone)).into_bytes()
    }
}

impl App {
    /// Makes a second factor for a user; it counts once it is enabled.
    ///
    /// # Errors
    /// When the caller may not, there is no such user, the name is taken, or this is not the home region.
    pub async fn create_mfa_device(&self, ctx: &Ctx, user: PrincipalName, device: MfaDeviceRef) -> Result<NewDevice> {
        check_user(&user)?;
        let address = EntryAddress { account: device.account, arn: device.arn() };
        self.gate.check::<DirectoryEntry>(ctx, Op::CreateMfaDevice, std::slice::from_ref(&address)).await?;
        // Whose it is to be is another question than what it is called.
        self.gate.check::<User>(ctx, Op::EnableMfaDevice, std::slice::from_ref(&user)).await?;
        let random: Secret<[u8; totp::SECRET_BYTES]> = keys::random()?;
        let secret = Secret::new(random.expose().to_vec());
        let subject = mfa_device_subject(&device);
        let sealed_secret = self.root.seal(MFA_DEVICE, subject.as_bytes(), secret.expose())?;
        let made = NewDevice {
            seed: totp::seed(&secret),
            uri: totp::uri(&device, &user.name, &secret),
            device: device.clone(),
            created_at: ctx.now,
        };
        let change = CreateDevice { home: self.home(), user, device, sealed_secret, now: ctx.now };
        self.gate.write(ctx, Op::CreateMfaDevice, &address, change).await?;
        Ok(made)
    }

    /// Has a second factor count, of whose codes two that follow each other are shown.
    ///
    /// # Errors
    /// When the caller may not, the user has no such device, the codes are wrong, or this is not the home region.
    pub async fn enable_mfa_device(
        &self,
        ctx: &Ctx,
        user: PrincipalName,
        device: MfaDeviceRef,
        (first, second): (&str, &str),
    ) -> Result<()> {
        check_user(&user)?;
        let mut view = self.gate.look::<User>(ctx, Op::EnableMfaDevice, &user).await?;
        let (found, mut tx) = view.parts();
        let unique_id = found.0.unique_id.clone();
        let row = tx.mfa_device(&device).await?.filter(|row| *row.unique_id == *unique_id);
        drop(view);
        let row = row.ok_or_else(|| missing(&user, &device))?;
        if row.enabled {
            let text = format!("MFA device {} is enabled already", device.arn());
            return Err(Error::new(Reason::AlreadyExists, text).with("name", &device.name));
        }
        // SPEC: IAM API, `EnableMFADevice`, `InvalidAuthenticationCode`.
        let step = totp::follow(&self.secret_of(&row)?, first, second, ctx.now).ok_or_else(|| {
            let text = "the codes are not two of this device that follow each other, the second of now";
            Error::invalid("authentication_code_2", text)
        })?;
        let change = ChangeDevice { home: self.home(), device, becomes: Becomes::Enabled(step), now: ctx.now };
        self.gate.write(ctx, Op::EnableMfaDevice, &user, change).await
    }

    /// The second factors of a user.
    ///
    /// # Errors
    /// When the caller may not, or there is no such user.
    pub async fn list_mfa_devices(&self, ctx: &Ctx, user: &PrincipalName) -> Result<Vec<MfaDeviceRow>> {
        check_user(user)?;
        let mut view = self.gate.read::<User>(ctx, Op::ListMfaDevices, user).await?;
        let (found, mut tx) = view.parts();
        let unique_id = found.0.unique_id.clone();
        Ok(tx.mfa_device_list(&unique_id).await?)
    }

    /// Removes a second factor; sessions that were taken with it stay.
    ///
    /// # Errors
    /// When the caller may not, the user has no such device, or this is not the home region.
    pub async fn delete_mfa_device(&self, ctx: &Ctx, user: PrincipalName, device: MfaDeviceRef) -> Result<()> {
        check_user(&user)?;
        let change = ChangeDevice { home: self.home(), device, becomes: Becomes::Gone, now: ctx.now };
        self.gate.write(ctx, Op::DeleteMfaDevice, &user, change).await
    }

    /// Checks a code that a user shows with a request; audits that it was refused.
    ///
    /// # Errors
    /// When the device is not the caller's, is not enabled, or shows another code.
    pub(super) async fn shown_code(
        &self,
        ctx: &Ctx,
        op: Op,
        caller: &Principal,
        shown: Option<&MfaCode>,
    ) -> Result<Option<UsedCode>> {
        let Some(shown) = shown else { return Ok(None) };
        let used = self.step_of(ctx, caller, shown).await;
        used.map(Some).inspect_err(|error| self.gate.failed::<Identified>(ctx, op, &ctx.caller, error))
    }

    async fn step_of(&self, ctx: &Ctx, caller: &Principal, MfaCode { serial, code }: &MfaCode) -> Result<UsedCode> {
        let unknown = || {
            failed(
                "unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.",
            )
        };
        let device = Arn::parse(serial).and_then(|arn| MfaDeviceRef::from_arn(&arn)).map_err(|_| unknown())?;
        if caller.name.kind != PrincipalKind::User || caller.is_federated() {
            return Err(unknown());
        }
        let row = self.store.snapshot().await?.tx().mfa_device(&device).await?;
        let row = row.filter(|row| row.enabled && *row.unique_id == *caller.unique_id).ok_or_else(unknown)?;
        self.mfa_attempts.check(&device, ctx.now)?;
        let step = totp::step_of(&self.secret_of(&row)?, code.expose(), ctx.now);
        if step.is_none() {
            self.mfa_attempts.fail(&device, ctx.now);
        }
        let step = step.ok_or_else(|| failed(INVALID_CODE))?;
        Ok(UsedCode { device, unique_id: row.unique_id, step })
    }

    fn secret_of(&self, row: &MfaDeviceRow) -> Result<Secret<Vec<u8>>> {
        let subject = mfa_device_subject(&row.device);
        Ok(self.root.open(MFA_DEVICE, subject.as_bytes(), &row.sealed_secret)?)
    }
}

// OBSERVED: AWS's own sentences, which people search for.
const INVALID_CODE: &str = "with invalid MFA one time pass code.";

fn failed(why: &str) -> Error {
    let comma = if why.starts_with("with") { "" } else { "," };
    Error::new(Reason::AccessDenied, format!("MultiFactorAuthentication failed{comma} {why}"))
}

/// Refuses what is no user, before anything is looked up.
fn check_user(name: &PrincipalName) -> Result<()> {
    match name.kind {
        PrincipalKind::User => Ok(()),
        PrincipalKind::Role => Err(Error::invalid("name", "must be a user's: roles have no second factor")),
    }
}

fn missing(user: &PrincipalName, device: &MfaDeviceRef) -> Error {
    let text = format!("user {} has no MFA device {}", user.name, device.name);
    Error::new(Reason::NotFound, text).with("name", &device.name)
}
