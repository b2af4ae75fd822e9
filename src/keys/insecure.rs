//! The one door to a raw data key, so that every use of it can be found by this module's name.
//!
//! The product exports no data keys. What opens this door are the tests that hand a blob to an independent program.

use super::envelope::DataKey;

/// The 32 bytes of a data key: whoever has them can open the blob it seals.
#[must_use]
pub fn expose(key: &DataKey) -> &[u8; 32] {
    key.material()
}
