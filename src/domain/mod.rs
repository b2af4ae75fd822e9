//! The rules of the product: no wire format, no SQL.

pub mod manifest;
