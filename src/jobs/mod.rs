//! Reconcilers: background work without input, woken by a timer, that finds out by itself what is to be done.

mod repair;
mod replicate;
mod scrub;
mod sweep;

pub use repair::repair;
pub use replicate::replicate;
pub use scrub::scrub;
pub use sweep::sweep;
