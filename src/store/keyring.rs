//! The rows of the embedded keyring: key material wrapped under the region's root key.

use super::{Apply, Done, Error, Store, Tx, args};
use crate::names::{AccountId, Arn};
use std::sync::Arc;
