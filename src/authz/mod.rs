//! The IAM policy engine: documents, their evaluation, the sentence for a refusal, and the permit.
//!
//! Pure: no I/O, no clock, no store. Everything a decision depends on is an argument of [`eval::evaluate`], and only
//! its answer makes an [`permit::Allowed`]. There is one evaluator and no mode in which it checks less.
//! SPEC: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy reference".

mod action;
mod arn;
pub mod cases;
mod condition;
pub mod context;
pub mod eval;
pub mod explain;
mod federation;
pub mod glob;
mod json;
pub mod lint;
mod operand;
mod parse;
pub mod permit;
pub mod policy;
mod principal;
#[cfg(test)]
mod properties;
mod rules;
mod template;
