//! `transship mfa-device`: second factors of users.

use super::Session;
use super::failure::Result;
use super::output::{Rows, time};
use crate::pb::identity as pb;

#[derive(clap::Subcommand, Debug)]
pub(super) enum MfaDevice {
    /// Makes a second factor for a user; its secret is shown once, for an authenticator program.
    Create {
        /// The user.
        user: String,
        /// The device's name in the account.
        name: String,
    },
    /// Has it count, by two codes that it shows one after the other.
    Enable {
        /// The user.
        user: String,
        /// The device.
        name: String,
        /// A code.
        first: String,
        /// The code after it, of now.
        second: String,
    },
    /// Lists a user's second factors.
    List { user: String },
    /// Removes a second factor.
    Delete { user: String, name: String },
}

impl MfaDevice {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let (validate_only, request_id) = (session.global.dry_run, session.request_id());
        let mut identity = session.client.identity();
        match self {
            Self::Create { user, name } => {
                let parent = session.below("users", &user).await?;
                let request = pb::CreateMfaDeviceRequest { parent, device_id: name, validate_only };
                let made = identity.create_mfa_device(request).await?.into_inner();
                let serial = made.device.map(|device| device.serial_number).unwrap_or_default();
                let mut rows = Rows::new(&["SERIAL NUMBER", "SEED", "URI"]);
                rows.push([serial.into(), made.seed.into(), made.uri.into()]);
                rows.print_one(session.global.output);
            }
            Self::Enable { user, name, first, second } => {
                let request = pb::EnableMfaDeviceRequest {
                    name: device(session, &user, &name).await?,
                    authentication_code_1: first,
                    authentication_code_2: second,
                    request_id,
                    validate_only,
                };
                identity.enable_mfa_device(request).await?;
            }
            Self::List { user } => {
                let parent = session.below("users", &user).await?;
                let devices =
                    identity.list_mfa_devices(pb::ListMfaDevicesRequest { parent }).await?.into_inner().devices;
                let mut rows = Rows::new(&["SERIAL NUMBER", "ENABLED", "CREATED"]);
                for device in devices {
                    let created = time(device.create_time.as_ref());
                    rows.push([device.serial_number.into(), device.enabled.into(), created]);
                }
                rows.print(session.global.output);
            }
            Self::Delete { user, name } => {
                let name = device(session, &user, &name).await?;
                identity.delete_mfa_device(pb::DeleteMfaDeviceRequest { name, request_id, validate_only }).await?;
            }
        }
        Ok(())
    }
}

async fn device(session: &Session, user: &str, name: &str) -> Result<String> {
    Ok(format!("{}/mfaDevices/{name}", session.below("users", user).await?))
}
