//! Reconcilers: background work without input, woken by a timer, that finds out by itself what is to be done.

mod replicate;
mod sweep;

pub use replicate::replicate;
pub use sweep::sweep;
