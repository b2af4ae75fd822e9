//! Sums that outlive the rows they are made of.

use super::value::args;
use super::{Error, Tx};
use std::collections::BTreeMap;

impl Tx<'_> {
    /// Adds to a sum.
    pub(crate) async fn counter_add(&mut self, name: &str, count: u64) -> Result<(), Error> {
        if count > 0 {
            self.execute(
                "INSERT INTO counters (name, value) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET value = counters.value + $2",
                args![name, count],
            )
            .await?;
        }
        Ok(())
    }

    /// Sets a sum.
    pub(crate) async fn counter_set(&mut self, name: &str, value: u64) -> Result<(), Error> {
        self.execute(
            "INSERT INTO counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
            args![name, value],
        )
        .await?;
        Ok(())
    }

    /// All sums, by name.
    pub async fn counters(&mut self) -> Result<BTreeMap<String, u64>, Error> {
        let rows = self.all("SELECT name, value FROM counters", args![]).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }
}
