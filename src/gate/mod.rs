//! The one gate: every operation is authorized, audited and metered here, and nowhere else.
//!
//! - [`Gate::write`] authorizes and changes in one transaction, with the audit row in it.
//! - [`Gate::read`] authorizes on a snapshot and hands it over, so that what is read is what was judged.
//! - [`Gate::stream`] authorizes at open and again on a timer, so that a revocation ends a transfer in flight.
//! - [`Gate::check`] is a cheap pre-check, so that slow work is never done for a stranger.
//!
//! A change is a value that may run again; nothing here or below it waits on a network.

mod audit;
mod grants;
mod judge;
mod resource;

use crate::authz::eval::Outcome;
use crate::authz::permit::Allowed;
use crate::clock::{Clock, Timestamp};
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::names::Tag;
use crate::ops::{Class, Op};
use crate::store::{Apply, Done, Snapshot, Store, Tx, audit::Answer, audit::AuditRow};
pub use audit::Loss;
pub use judge::{CONTEXT_KEYS, Ruling};
