//! Work that one node of a region does at a time.

use super::value::args;
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::Uid;

impl Tx<'_> {
    /// Takes or renews a piece of work for a node; false while another node has it.
    pub(crate) async fn lease_take(
        &mut self,
        name: &str,
        owner: Uid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, Error> {
        let taken = self
            .execute(
                "INSERT INTO leases (name, owner, held_until) VALUES ($1, $2, $4) ON CONFLICT (name) DO UPDATE \
                 SET owner = $2, held_until = $4 WHERE leases.owner = $2 OR leases.held_until <= $3",
                args![name, owner, now, until],
            )
            .await?;
        Ok(taken > 0)
    }
}
