//! Ten ways to change a stored blob, each refused.
