//! The node whose disk holds this store's blobs.

use super::value::args;
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{Region, Uid};

impl Tx<'_> {
    /// The node whose disk holds the blobs, and the region it serves.
    pub async fn node(&mut self) -> Result<Option<(Uid, Region)>, Error> {
        let row = self.opt("SELECT uid, region FROM nodes", args![]).await?;
        row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
    }

    pub(crate) async fn node_insert(&mut self, uid: Uid, region: &Region, at: Timestamp) -> Result<(), Error> {
        self.execute("INSERT INTO nodes (uid, region, created_at) VALUES ($1, $2, $3)", args![uid, region, at]).await?;
        Ok(())
    }
}
