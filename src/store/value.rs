//! Values on their way into and out of a statement: five kinds that every engine keeps alike.
//!
//! Booleans are 0 and 1, moments are microseconds, names and digests are text, ids are 16 bytes. A stored value that
//! does not parse is an error that names its column, never a panic.

use super::error::{Error, Kind};
use crate::clock::Timestamp;
use crate::names::{
    AccountId, Arn, AwsRoleName, Digest, Issuer, MediaType, MfaDeviceName, PolicyName, PrincipalKind, Profile,
    Protected, Region, RepositoryName, RoleArn, RoleName, SessionName, Tag, TagMutability, TagPattern, Uid, UserName,
};
use bytes::Bytes;
use std::sync::Arc;

/// One value of a statement's arguments or of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// No value.
    Null,
    /// A number, a moment or a boolean.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Bytes),
    /// A number that no column can hold; a statement refuses it.
    Overflow(u64),
}

/// The arguments of a statement, each through `Value::from`.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$($crate::store::value::Value::from($arg)),*] };
}
pub(super) use args;

/// Why a value is not what its reader expects.
pub(super) type Mismatch = Box<dyn std::error::Error + Send + Sync>;

/// What can be read from a column.
pub(super) trait FromValue<'r>: Sized {
    /// Reads one value.
    fn from_value(value: &'r Value) -> Result<Self, Mismatch>;
}

/// One row of an answer.
#[derive(Debug)]
pub(super) struct Row {
    sql: &'static str,
    values: Vec<Value>,
}

impl Row {
    /// A row of that statement's answer.
    pub(super) fn new(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql, values }
    }

    /// The value in the column with that index, from 0.
    ///
    /// # Errors
    /// `Corrupt` when there is no such column or it holds something else.
    pub(super) fn get<'r, T: FromValue<'r>>(&'r self, column: usize) -> Result<T, Error> {
        let corrupt = || Error::new(self.sql, Kind::Corrupt { column });
        let value = self.values.get(column).ok_or_else(|| corrupt().because("the answer has no such column"))?;
        T::from_value(value).map_err(|mismatch| corrupt().because(mismatch))
    }
}

macro_rules! stored_as_text {
    ($($name:ident),*) => { $(
        impl From<&$name> for Value {
            fn from(name: &$name) -> Self {
                Self::Text(name.to_string())
            }
        }
        impl From<$name> for Value {
            fn from(name: $name) -> Self {
                Self::from(&name)
            }
        }
        impl FromValue<'_> for $name {
            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                Ok(Self::parse(<&str>::from_value(value)?)?)
            }
        }
    )* };
}

stored_as_text!(
    AccountId,
    Arn,
    AwsRoleName,
    Digest,
    Issuer,
    MediaType,
    MfaDeviceName,
    PolicyName,
    Profile,
    Protected,
    Region,
    RepositoryName,
    RoleArn,
    RoleName,
    SessionName,
    Tag,
    TagMutability,
    TagPattern,
    UserName
);

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Overflow(number), Self::Int)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl From<Timestamp> for Value {
    fn from(moment: Timestamp) -> Self {
        Self::Int(moment.micros())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::from(text.as_ref())
    }
}

impl From<PrincipalKind> for Value {
    fn from(kind: PrincipalKind) -> Self {
        Self::from(kind.as_str())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Blob(bytes)
    }
}

impl From<&Bytes> for Value {
    fn from(bytes: &Bytes) -> Self {
        Self::Blob(bytes.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes.into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(Bytes::copy_from_slice(bytes))
    }
}

impl From<&Vec<u8>> for Value {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<Uid> for Value {
    fn from(id: Uid) -> Self {
        Self::from(id.bytes())
    }
}

impl From<&Uid> for Value {
    fn from(id: &Uid) -> Self {
        Self::from(id.bytes())
    }
}

impl<T> From<Option<T>> for Value
where
    Value: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

impl FromValue<'_> for i64 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Int(number) => Ok(*number),
            Value::Null | Value::Text(_) | Value::Blob(_) | Value::Overflow(_) => Err("not a number".into()),
        }
    }
}

impl FromValue<'_> for u32 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Ok(Self::try_from(i64::from_value(value)?)?)
    }
}

impl FromValue<'_> for u64 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Ok(Self::try_from(i64::from_value(value)?)?)
    }
}

impl FromValue<'_> for bool {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match i64::from_value(value)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("neither 0 nor 1".into()),
        }
    }
}

impl FromValue<'_> for Timestamp {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        i64::from_value(value).map(Self::from_micros)
    }
}

impl<'r> FromValue<'r> for &'r str {
    fn from_value(value: &'r Value) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => Ok(text),
            Value::Null | Value::Int(_) | Value::Blob(_) | Value::Overflow(_) => Err("not text".into()),
        }
    }
}

impl FromValue<'_> for String {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl FromValue<'_> for Arc<str> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        <&str>::from_value(value).map(Self::from)
    }
}

impl FromValue<'_> for PrincipalKind {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = <&str>::from_value(value)?;
        let kind = [Self::User, Self::Role].into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| "neither user nor role".into())
    }
}

impl FromValue<'_> for Bytes {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Blob(bytes) => Ok(bytes.clone()),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Overflow(_) => Err("not bytes".into()),
        }
    }
}

impl<'r> FromValue<'r> for &'r [u8] {
    fn from_value(value: &'r Value) -> Result<Self, Mismatch> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Overflow(_) => Err("not bytes".into()),
        }
    }
}

impl FromValue<'_> for Vec<u8> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        <&[u8]>::from_value(value).map(<[u8]>::to_vec)
    }
}

impl<const N: usize> FromValue<'_> for [u8; N] {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Ok(Self::try_from(<&[u8]>::from_value(value)?)?)
    }
}

impl FromValue<'_> for Uid {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        <[u8; 16]>::from_value(value).map(Self::from_bytes)
    }
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Option<T> {
    fn from_value(value: &'r Value) -> Result<Self, Mismatch> {
        if *value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, Value};
    use crate::names::{AccountId, Digest, PrincipalKind, Uid};
    use crate::store::error::Kind;

    fn corrupt<'r, T: super::FromValue<'r>>(row: &'r Row, column: usize) -> bool {
        row.get::<T>(column).is_err_and(|error| error.kind == Kind::Corrupt { column })
    }

    #[test]
    fn a_value_that_does_not_parse_names_its_column_and_statement() {
        let row = Row::new("SELECT id FROM thing", vec![Value::Null, Value::from("12345")]);
        let error = row.get::<AccountId>(1).unwrap_err();
        assert_eq!(error.to_string(), "store: SELECT id FROM thing: column 1 does not hold what it should");
    }

    #[test]
    fn no_reader_accepts_what_it_did_not_write() {
        let values = [Value::Null, Value::Int(-1), Value::from("text"), Value::from(&[1u8, 2]), Value::Int(2)];
        let row = Row::new("SELECT", values.to_vec());
        assert!(corrupt::<i64>(&row, 0) && corrupt::<&str>(&row, 0) && corrupt::<Uid>(&row, 0));
        assert!(corrupt::<u32>(&row, 1) && corrupt::<u64>(&row, 1) && corrupt::<bool>(&row, 1));
        assert!(corrupt::<Digest>(&row, 2) && corrupt::<PrincipalKind>(&row, 2) && corrupt::<Vec<u8>>(&row, 2));
        assert!(corrupt::<Uid>(&row, 3) && corrupt::<[u8; 3]>(&row, 3) && corrupt::<String>(&row, 3));
        assert!(corrupt::<bool>(&row, 4) && corrupt::<i64>(&row, 5));
        assert_eq!(row.get::<Option<i64>>(0).unwrap(), None);
        assert!(corrupt::<Option<bool>>(&row, 4));
    }

    #[test]
    fn a_number_past_the_largest_column_value_is_kept_apart() {
        assert_eq!(Value::from(9_223_372_036_854_775_807_u64), Value::Int(i64::MAX));
        assert_eq!(Value::from(9_223_372_036_854_775_808_u64), Value::Overflow(9_223_372_036_854_775_808));
    }
}
