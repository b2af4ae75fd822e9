//! The OCI distribution surface.
//!
//! Paths, ranges, errors and the referrers document are plain functions over text here, tried against any input;
//! nothing in this module decides who may do what.

pub mod address;
pub mod error;
pub mod query;
pub mod range;
pub mod referrers;
pub mod route;
pub mod scope;
