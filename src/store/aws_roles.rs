//! Roles of AWS accounts that the broker takes for accounts: a part of the directory, and followed with it.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, AwsRoleName, AwsRoleRef, PageSize, RoleArn};

/// A role of AWS that an account has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRoleRow {
    /// Whose it is, and its name there.
    pub role: AwsRoleRef,
    /// The role in AWS.
    pub arn: RoleArn,
    /// What the broker shows when it takes the role; made here, and the same for as long as the name is kept.
    pub external_id: String,
    /// What its sessions are cut down to.
    pub policy: String,
    /// How long they last, in seconds.
    pub duration_secs: i64,
    /// When it was seen that the role is let to the broker with the external id and not without.
    pub verified_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl Tx<'_> {
    /// A role of AWS that an account has.
    pub async fn aws_role(&mut self, role: &AwsRoleRef) -> Result<Option<AwsRoleRow>, Error> {
        let row = self
            .opt(
                "SELECT account, name, role_arn, external_id, policy, duration_secs, verified_at, created_at \
                 FROM aws_roles WHERE account = $1 AND name = $2",
                args![role.account, &role.name],
            )
            .await?;
        row.as_ref().map(aws_role_row).transpose()
    }

    /// An account's roles of AWS after a name.
    pub async fn aws_role_list(
        &mut self,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<AwsRoleRow>, Error> {
        let rows = self
            .all(
                "SELECT account, name, role_arn, external_id, policy, duration_secs, verified_at, created_at \
                 FROM aws_roles WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3",
                args![account, after, size.rows()],
            )
            .await?;
        rows.iter().map(aws_role_row).collect()
    }

    /// Inserts a role of AWS, or replaces all of it.
    pub(crate) async fn aws_role_put(&mut self, row: &AwsRoleRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO aws_roles (account, name, role_arn, external_id, policy, duration_secs, verified_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (account, name) DO UPDATE SET role_arn = $3, \
             external_id = $4, policy = $5, duration_secs = $6, verified_at = $7, created_at = $8",
            args![
                row.role.account,
                &row.role.name,
                &row.arn,
                row.external_id.as_str(),
                row.policy.as_str(),
                row.duration_secs,
                row.verified_at,
                row.created_at
            ],
        )
        .await?;
        Ok(())
    }

    /// Removes a role of AWS; false when there was none.
    pub(crate) async fn aws_role_delete(&mut self, role: &AwsRoleRef) -> Result<bool, Error> {
        let sql = "DELETE FROM aws_roles WHERE account = $1 AND name = $2";
        Ok(self.execute(sql, args![role.account, &role.name]).await? > 0)
    }
}

fn aws_role_row(row: &Row) -> Result<AwsRoleRow, Error> {
    Ok(AwsRoleRow {
        role: AwsRoleRef { account: row.get(0)?, name: row.get(1)? },
        arn: row.get(2)?,
        external_id: row.get(3)?,
        policy: row.get(4)?,
        duration_secs: row.get(5)?,
        verified_at: row.get(6)?,
        created_at: row.get(7)?,
    })
}

/// How the directory stream names it: `<account>/<name>`.
pub(crate) fn aws_role_subject(role: &AwsRoleRef) -> String {
    format!("{}/{}", role.account, role.name)
}

/// The one that the directory stream names.
pub(crate) fn aws_role_of(subject: &str) -> Option<AwsRoleRef> {
    let (account, name) = subject.split_once('/')?;
    Some(AwsRoleRef { account: AccountId::parse(account).ok()?, name: AwsRoleName::parse(name).ok()? })
}
