//! Second factors of users, a part of the directory; and the last code of each that was used in this region.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, MfaDeviceName, MfaDeviceRef};

/// A second factor with its secret sealed under the region's root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MfaDeviceRow {
    /// Its account and name.
    pub device: MfaDeviceRef,
    /// The user's unique id.
    pub unique_id: String,
    /// The sealed secret.
    pub sealed_secret: Vec<u8>,
    /// Whether its user has shown that it has it.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

const ONE: &str = "SELECT account, name, unique_id, sealed_secret, enabled, created_at FROM mfa_devices \
                       WHERE account = $1 AND name = $2";

impl Tx<'_> {
    /// A second factor.
    pub async fn mfa_device(&mut self, device: &MfaDeviceRef) -> Result<Option<MfaDeviceRow>, Error> {
        let row = self.opt(ONE, args![device.account, &device.name]).await?;
        row.as_ref().map(device_row).transpose()
    }

    /// The second factors of a user, by name.
    pub async fn mfa_device_list(&mut self, unique_id: &str) -> Result<Vec<MfaDeviceRow>, Error> {
        let rows = self
            .all(
                "SELECT account, name, unique_id, sealed_secret, enabled, created_at FROM mfa_devices \
                 WHERE unique_id = $1 ORDER BY name",
                args![unique_id],
            )
            .await?;
        rows.iter().map(device_row).collect()
    }

    /// Inserts a second factor, or replaces it.
    pub(crate) async fn mfa_device_put(&mut self, row: &MfaDeviceRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO mfa_devices (account, name, unique_id, sealed_secret, enabled, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (account, name) DO UPDATE SET unique_id = $3, sealed_secret = $4, enabled = $5, created_at = $6",
            args![
                row.device.account,
                &row.device.name,
                row.unique_id.as_str(),
                row.sealed_secret.as_slice(),
                row.enabled,
                row.created_at
            ],
        )
        .await?;
        Ok(())
    }

    /// Removes a second factor; false when there was none.
    pub(crate) async fn mfa_device_delete(&mut self, device: &MfaDeviceRef) -> Result<bool, Error> {
        let sql = "DELETE FROM mfa_devices WHERE account = $1 AND name = $2";
        Ok(self.execute(sql, args![device.account, &device.name]).await? > 0)
    }

    /// Uses a code of a time step, which no later use may be of or before; false when it may not be used here any more.
    pub(crate) async fn mfa_step_use(&mut self, device: &MfaDeviceRef, step: i64) -> Result<bool, Error> {
        let used = self
            .execute(
                "INSERT INTO mfa_steps (account, name, step) VALUES ($1, $2, $3) \
                 ON CONFLICT (account, name) DO UPDATE SET step = $3 WHERE mfa_steps.step < $3",
                args![device.account, &device.name, step],
            )
            .await?;
        Ok(used > 0)
    }
}

fn device_row(row: &Row) -> Result<MfaDeviceRow, Error> {
    Ok(MfaDeviceRow {
        device: MfaDeviceRef { account: row.get(0)?, name: row.get(1)? },
        unique_id: row.get(2)?,
        sealed_secret: row.get(3)?,
        enabled: row.get(4)?,
        created_at: row.get(5)?,
    })
}

/// How the directory stream names a second factor: `<account>/<name>`.
pub(crate) fn mfa_device_subject(device: &MfaDeviceRef) -> String {
    format!("{}/{}", device.account, device.name)
}

/// The second factor that the directory stream names.
pub(crate) fn mfa_device_of(subject: &str) -> Option<MfaDeviceRef> {
    let (account, name) = subject.split_once('/')?;
    Some(MfaDeviceRef { account: AccountId::parse(account).ok()?, name: MfaDeviceName::parse(name).ok()? })
}
