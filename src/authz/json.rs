//! A strict JSON reader that knows where everything stands.
//!
//! It refuses duplicate members, anything after the value, lone surrogates, nesting beyond [`DEPTH_MAX`] and text
//! beyond the caller's limit; numbers keep their literal text. It does not stream and does not write, and copies no text
//! but what has escapes.

use std::borrow::Cow;

/// How deep arrays and objects may nest.
pub(super) const DEPTH_MAX: usize = 64;

/// So many members are compared each with each, which is quicker than to sort them.
const MEMBERS_FEW: usize = 9;

/// For how many members an object has room at first: a statement's.
const MEMBERS_USUAL: usize = 6;

/// A place in the text: line and column from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node<'t> {
    pub(super) at: Position,
    pub(super) value: Value<'t>,
}

/// A JSON value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    Number(&'t str),
    Text(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

/// One member of an object, in the order of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member<'t> {
    pub(super) at: Position,
    pub(super) name: Cow<'t, str>,
    pub(super) node: Node<'t>,
}

/// Why the text is not the JSON we accept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {}, column {}: {message}", at.line, at.column)]
pub(super) struct Error {
    pub(super) at: Position,
    pub(super) message: String,
}

/// JSON without the white space that means nothing; the text is JSON.
#[must_use]
pub fn compact(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let kept = |c: &char| {
        let keep = quoted || !c.is_ascii_whitespace();
        match (*c, escaped) {
            ('"', false) => quoted = !quoted,
            ('\\', false) => escaped = quoted,
            _ => escaped = false,
        }
        keep
    };
    text.chars().filter(kept).collect()
}

/// Reads one JSON value of at most `bytes_max` bytes.
pub(super) fn read(text: &str, bytes_max: usize) -> Result<Node<'_>, Error> {
    let mut reader = Reader { rest: text, at: Position { line: 1, column: 1 } };
    if text.len() > bytes_max {
        return Err(reader.error(format!("the text has {} bytes; at most {bytes_max} are accepted", text.len())));
    }
    let node = reader.node(0)?;
    reader.space();
    match reader.peek() {
        None => Ok(node),
        Some(c) => Err(reader.error(format!("{c:?} after the end of the JSON value"))),
    }
}

impl<'t> Node<'t> {
    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The text of a string, or the literal text of a number or boolean.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Number(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The members of an object.
    pub(super) fn members(&self) -> Option<&[Member<'t>]> {
        match &self.value {
            Value::Object(members) => Some(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Array(_) => None,
        }
    }

    /// The items of an array; any other value is a list of itself.
    pub(super) fn items(&self) -> &[Node<'t>] {
        match &self.value {
            Value::Array(items) => items,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_) => {
                std::slice::from_ref(self)
            }
        }
    }

    /// Whether it is an array.
    pub(super) fn is_array(&self) -> bool {
        matches!(self.value, Value::Array(_))
    }

    /// The member of that name, if this is an object that has one which is not null.
    pub(super) fn get(&self, name: &str) -> Option<&Node<'t>> {
        let member = self.members()?.iter().find(|member| member.name == name)?;
        (member.node.value != Value::Null).then_some(&member.node)
    }

    /// What the value is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
    at: Position,
}

impl<'t> Reader<'t> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error { at: self.at, message: message.into() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    /// Takes the text before the first byte that ends it; there is no line end in it.
    fn run(&mut self, ends: impl Fn(u8) -> bool) -> &'t str {
        let length = self.rest.bytes().position(ends).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.at.column += run.chars().count();
        run
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    /// What stands at this place, for messages.
    fn found(&self) -> String {
        self.peek().map_or_else(|| "the end of the text".to_owned(), |c| format!("{c:?}"))
    }

    fn node(&mut self, depth: usize) -> Result<Node<'t>, Error> {
        self.space();
        let at = self.at;
        if depth > DEPTH_MAX {
            return Err(self.error(format!("values nest deeper than {DEPTH_MAX}")));
        }
        let value = match self.peek() {
            Some('{') => Value::Object(self.object(depth)?),
            Some('[') => Value::Array(self.array(depth)?),
            Some('"') => Value::Text(self.string()?),
            Some('t') => self.word("true", Value::Bool(true))?,
            Some('f') => self.word("false", Value::Bool(false))?,
            Some('n') => self.word("null", Value::Null)?,
            Some('-' | '0'..='9') => Value::Number(self.number()?),
            _ => return Err(self.error(format!("{} where a JSON value should begin", self.found()))),
        };
        Ok(Node { at, value })
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member<'t>>, Error> {
        self.next();
        let mut members = Vec::with_capacity(MEMBERS_USUAL);
        self.space();
        if self.take('}') {
            return Ok(members);
        }
        loop {
            self.space();
            let at = self.at;
            if self.peek() != Some('"') {
                return Err(self.error(format!("{} where a member's name in double quotes should stand", self.found())));
            }
            let name = self.string()?;
            self.space();
            if !self.take(':') {
                return Err(self.error(format!("{} where ':' should follow a member's name", self.found())));
            }
            let node = self.node(depth + 1)?;
            members.push(Member { at, name, node });
            self.space();
            if self.take('}') {
                return distinct(members);
            }
            if !self.take(',') {
                return Err(self.error(format!("{} where ',' or '}}' should stand", self.found())));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Node<'t>>, Error> {
        self.next();
        let mut items = Vec::new();
        self.space();
        if self.take(']') {
            return Ok(items);
        }
        loop {
            items.push(self.node(depth + 1)?);
            self.space();
            if self.take(']') {
                return Ok(items);
            }
            if !self.take(',') {
                return Err(self.error(format!("{} where ',' or ']' should stand", self.found())));
            }
        }
    }

    fn word(&mut self, word: &str, value: Value<'t>) -> Result<Value<'t>, Error> {
        for wanted in word.chars() {
            if !self.take(wanted) {
                return Err(self.error(format!("{} inside what should be {word}", self.found())));
            }
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<&'t str, Error> {
        let start = self.rest;
        self.take('-');
        if !self.take('0') {
            self.digits()?;
        }
        if self.take('.') {
            self.digits()?;
        }
        if self.take('e') || self.take('E') {
            if !self.take('+') {
                self.take('-');
            }
            self.digits()?;
        }
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Error> {
        if self.run(|b| !b.is_ascii_digit()).is_empty() {
            return Err(self.error(format!("{} where a number needs a digit", self.found())));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Error> {
        self.next();
        let mut text = Cow::Borrowed("");
        loop {
            match self.peek() {
                Some('"') => {
                    self.next();
                    return Ok(text);
                }
                Some('\\') => text.to_mut().push(self.escape()?),
                Some(c) if c >= ' ' => text += self.run(|b| b == b'"' || b == b'\\' || b < b' '),
                _ => return Err(self.error(format!("{} inside a string", self.found()))),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        self.next();
        let at = self.at;
        let c = match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(),
            _ => {
                return Err(Error {
                    at,
                    message: "an unknown escape; JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u".into(),
                });
            }
        };
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let at = self.at;
        let lone = || Error { at, message: "half of a surrogate pair".into() };
        let first = self.hex4()?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first).ok_or_else(lone);
        }
        if first >= 0xDC00 || !self.take('\\') || !self.take('u') {
            return Err(lone());
        }
        let second = self.hex4()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(lone());
        }
        char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or_else(lone)
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| self.error("\\u needs four hexadecimal digits"))?;
            self.next();
            value = value * 16 + digit;
        }
        Ok(value)
    }
}

/// Refuses an object that has a member twice, at the second.
fn distinct(members: Vec<Member<'_>>) -> Result<Vec<Member<'_>>, Error> {
    let second = if members.len() <= MEMBERS_FEW {
        let mut all = members.iter().enumerate();
        all.find(|(n, member)| members[..*n].iter().any(|before| before.name == member.name)).map(|(_, member)| member)
    } else {
        let mut sorted: Vec<&Member<'_>> = members.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.windows(2).find(|pair| pair[0].name == pair[1].name).map(|pair| pair[1])
    };
    match second {
        None => Ok(members),
        Some(Member { at, name, .. }) => {
            let message = format!("the member {} stands twice in one object", quote(name));
            Err(Error { at: *at, message })
        }
    }
}

/// A text in quotes for a message, cut to 80 characters.
pub(super) fn quote(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::{DEPTH_MAX, Position, Value, read};

    fn refused(text: &str) -> (usize, usize, String) {
        let error = read(text, 4_096).unwrap_err();
        (error.at.line, error.at.column, error.message)
    }

    #[test]
    fn white_space_goes_but_for_that_of_texts() {
        let text = "{ \"a b\" :\n[ \"c \\\" d\" , \"\\\\\" , 1 ]\t}";
        assert_eq!(super::compact(text), "{\"a b\":[\"c \\\" d\",\"\\\\\",1]}");
    }

    #[test]
    fn values_keep_their_text_and_place() {
        let node = read("{\n  \"a\": [1.50, true, \"\\u00e9\\ud83d\\ude00\\n\"]}", 4_096).unwrap();
        let list = node.get("a").unwrap();
        assert_eq!(list.at, Position { line: 2, column: 8 });
        assert_eq!(list.items()[0].value, Value::Number("1.50"));
        assert_eq!(list.items()[1].scalar(), Some("true"));
        assert_eq!(list.items()[2].text(), Some("é😀\n"));
    }

    #[test]
    fn a_duplicate_member_is_refused_where_it_stands_even_when_written_with_an_escape() {
        let (line, column, message) = refused("{\"a\":1,\n \"\\u0061\":2}");
        assert_eq!((line, column), (2, 2));
        assert!(message.contains("twice"), "{message}");
    }

    #[test]
    fn a_duplicate_is_found_in_objects_of_every_size() {
        for n in 2..=40 {
            let members: Vec<String> = (0..n).map(|i| format!("\"m{i}\": 1")).collect();
            assert!(read(&format!("{{{}}}", members.join(",")), 4_096).is_ok(), "{n}");
            let twice = format!("{{{}, \"m{}\": 2}}", members.join(","), n / 2);
            assert_eq!(refused(&twice).1, twice.rfind("\"m").unwrap() + 1, "{n}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let bad = [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\" 1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "nul",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"a\nb\"",
            "\"a",
            "1 2",
            "\u{feff}1",
            "NaN",
            "// c\n1",
            "\"\\u12g4\"",
            "tru e",
            "{\"a\":1}}",
        ];
        for text in bad {
            assert!(read(text, 4_096).is_err(), "{text:?}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded_exactly() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(DEPTH_MAX + 1), 4_096).is_ok());
        assert!(read(&nested(DEPTH_MAX + 2), 4_096).is_err());
        assert!(read("[1]", 3).is_ok());
        assert!(read("[1]", 2).is_err());
    }
}
