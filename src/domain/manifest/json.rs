//! JSON read so that every other reader sees the same document.
//!
//! Guarantees bounded depth and counts, no member given twice, and no member that a reader indifferent to case
//! (Go's is) would take for one of ours. Values stay raw until they are asked for.

use super::Error;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Arrays and objects inside one another.
pub(super) const MAX_DEPTH: usize = 64;

/// Members of one object that is read here; annotations and custom values are not.
pub(super) const MAX_MEMBERS: usize = 1_000;

/// Checks how deep arrays and objects nest, before any parser sees the text.
pub(super) fn check_depth(text: &str) -> Result<(), Error> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
    }
    Ok(())
}

/// The members of an object, each once; their values unread.
pub(super) struct Members<'a> {
    at: String,
    values: BTreeMap<String, &'a RawValue>,
}

impl<'a> Members<'a> {
    /// Reads the object at `at`, refusing doubles of any member and near doubles of the `known` ones.
    pub(super) fn read(text: &'a str, known: &[&str], at: &str) -> Result<Self, Error> {
        let Pairs(pairs) = read(text, at, "must be a JSON object")?;
        if pairs.len() > MAX_MEMBERS {
            return Err(Error::TooMany { field: name(at), limit: MAX_MEMBERS });
        }
        let mut members = Self { at: at.to_owned(), values: BTreeMap::new() };
        for (member, value) in pairs {
            let lookalike = known.iter().find(|known| **known != member && fold(known) == fold(&member));
            if let Some(known) = lookalike {
                return Err(members.error(&member, &format!("is too like {known}, which some readers take it for")));
            }
            if members.values.contains_key(&member) {
                return Err(members.error(&member, "is there twice"));
            }
            members.values.insert(member, value);
        }
        Ok(members)
    }

    /// Whether a member is there, be it null.
    pub(super) fn has(&self, member: &str) -> bool {
        self.values.contains_key(member)
    }

    /// A member's raw value; null counts as absent.
    pub(super) fn raw(&self, member: &str) -> Option<&'a RawValue> {
        self.values.get(member).copied().filter(|value| value.get() != "null")
    }

    /// A member's value; `rule` says what it must be.
    pub(super) fn get<T: DeserializeOwned>(&self, member: &str, rule: &str) -> Result<Option<T>, Error> {
        self.raw(member).map(|value| read(value.get(), &self.path(member), rule)).transpose()
    }

    /// As [`Members::get`], for a member that must be there.
    pub(super) fn need<T: DeserializeOwned>(&self, member: &str, rule: &str) -> Result<T, Error> {
        self.get(member, rule)?.ok_or_else(|| self.error(member, &format!("is missing: {rule}")))
    }

    /// The raw elements of a member that is an array of at most `limit`; absent is empty.
    pub(super) fn list(&self, member: &str, limit: usize) -> Result<Vec<&'a RawValue>, Error> {
        let Some(value) = self.raw(member) else { return Ok(Vec::new()) };
        let Elements(elements) = read(value.get(), &self.path(member), "must be an array")?;
        if elements.len() > limit {
            return Err(Error::TooMany { field: self.path(member), limit });
        }
        Ok(elements)
    }

    /// Where a member stands in the document.
    pub(super) fn path(&self, member: &str) -> String {
        let member: String = member.chars().take(80).collect();
        if self.at.is_empty() { member } else { format!("{}.{member}", self.at) }
    }

    /// The error that says what is wrong with a member.
    pub(super) fn error(&self, member: &str, problem: &str) -> Error {
        Error::Field { field: self.path(member), problem: problem.to_owned() }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str, at: &str, rule: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Error::Field { field: name(at), problem: rule.to_owned() },
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            Error::NotJson { line: error.line(), column: error.column() }
        }
    })
}

fn name(at: &str) -> String {
    if at.is_empty() { "the manifest".to_owned() } else { at.to_owned() }
}

/// The name as a reader indifferent to case sees it; long s and the Kelvin sign are the two letters beyond ASCII
/// that fold into it.
fn fold(name: &str) -> String {
    let letter = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(letter).collect()
}

/// The members of an object in order; one more than the limit is kept, the rest is read over.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while pairs.len() <= MAX_MEMBERS {
                    let Some(pair) = map.next_entry()? else { return Ok(Pairs(pairs)) };
                    pairs.push(pair);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The elements of an array; one more than any limit here is kept, the rest is read over.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> serde::Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while elements.len() <= super::MAX_LAYERS.max(super::MAX_CHILDREN) {
                    let Some(element) = seq.next_element()? else { return Ok(Elements(elements)) };
                    elements.push(element);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}
