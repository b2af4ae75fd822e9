//! Wildcard patterns: `*` is any run of characters, `?` exactly one, everything else itself.
//!
//! Matching never recurses and takes at most (segments + 1) × (characters + 1) steps, since patterns are tenant input.
//! A pattern is a list of segments, so text that was substituted into it stays literal whatever it contains.

/// One element of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    /// Exactly this text.
    Run(String),
    /// Any one character.
    One,
    /// Any run of characters, also none.
    Many,
}

/// A compiled pattern over whole texts: what they begin with, then the first wildcard and what follows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pattern {
    head: String,
    tail: Vec<Segment>,
}

impl Pattern {
    /// Compiles a text in which `*` and `?` are wildcards; every text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (head, rest) = text.split_at(text.find(['*', '?']).unwrap_or(text.len()));
        Self { head: head.to_owned(), ..wild(rest).collect() }
    }

    /// The pattern that only this text fits.
    pub(super) fn literal(text: &str) -> Self {
        Self { head: text.to_owned(), tail: Vec::new() }
    }

    /// Whether the whole text fits, case-sensitively.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.scan(text, || ())
    }

    /// The same pattern with its ASCII letters in lower case.
    pub(super) fn lowered(mut self) -> Self {
        self.head.make_ascii_lowercase();
        for segment in &mut self.tail {
            if let Segment::Run(run) = segment {
                run.make_ascii_lowercase();
            }
        }
        self
    }

    /// What every text that fits begins with, and whether that is all of it.
    pub(super) fn literal_start(&self) -> (&str, bool) {
        (&self.head, self.tail.is_empty())
    }

    /// Whether every text that fits the other fits this one too, as far as the patterns show: a `?` is not seen in a `*`.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let (outer, inner) = (self.tokens(), other.tokens());
        let admits = |outer: Token, inner: Token| match outer {
            Token::Lit(_) => outer == inner,
            Token::One => inner != Token::Many,
            Token::Many => false,
        };
        let (mut at, mut inside) = (0, 0);
        let mut latest_many: Option<(usize, usize)> = None;
        while let Some(token) = inner.get(inside) {
            match (outer.get(at), latest_many) {
                (Some(Token::Many), _) => {
                    at += 1;
                    latest_many = Some((at, inside));
                }
                (Some(outer), _) if admits(*outer, *token) => (at, inside) = (at + 1, inside + 1),
                (_, Some((after, from))) => {
                    (at, inside) = (after, from + 1);
                    latest_many = Some((after, inside));
                }
                (_, None) => return false,
            }
        }
        outer[at..].iter().all(|token| *token == Token::Many)
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.head.chars().map(Token::Lit).collect();
        for segment in &self.tail {
            match segment {
                Segment::Run(run) => tokens.extend(run.chars().map(Token::Lit)),
                Segment::One => tokens.push(Token::One),
                Segment::Many => tokens.push(Token::Many),
            }
        }
        tokens
    }

    /// The two-pointer match: only the latest `*` is ever widened, because an earlier one could gain nothing.
    fn scan(&self, text: &str, mut step: impl FnMut()) -> bool {
        let segments = self.tail.as_slice();
        let Some(after_head) = text.strip_prefix(self.head.as_str()) else { return false };
        let (mut at, mut rest) = (0, after_head);
        let mut latest_many: Option<(usize, &str)> = None;
        loop {
            step();
            let after = match segments.get(at) {
                None if rest.is_empty() => return true,
                None => None,
                Some(Segment::Many) if at + 1 == segments.len() => return true,
                Some(Segment::Many) => {
                    at += 1;
                    latest_many = Some((at, rest));
                    continue;
                }
                Some(Segment::One) => without_first(rest),
                Some(Segment::Run(run)) => rest.strip_prefix(run.as_str()),
            };
            if let Some(after) = after {
                (at, rest) = (at + 1, after);
                continue;
            }
            let Some((after, from)) = latest_many else { return false };
            let Some(wider) = without_first(from) else { return false };
            (at, rest) = (after, wider);
            latest_many = Some((after, rest));
        }
    }
}

impl FromIterator<Segment> for Pattern {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        let mut pattern = Self::default();
        for segment in segments {
            match (pattern.tail.last_mut(), segment) {
                (Some(Segment::Many), Segment::Many) => {}
                (Some(Segment::Run(run)), Segment::Run(more)) => run.push_str(&more),
                (None, Segment::Run(run)) if pattern.head.is_empty() => pattern.head = run,
                (None, Segment::Run(more)) => pattern.head.push_str(&more),
                (_, segment) => pattern.tail.push(segment),
            }
        }
        pattern
    }
}

/// The segments of a text in which `*` and `?` are wildcards.
pub(super) fn wild(text: &str) -> impl Iterator<Item = Segment> {
    text.split_inclusive(['*', '?']).flat_map(|part| {
        let (run, wildcard) = match part.as_bytes().last() {
            Some(b'*') => (&part[..part.len() - 1], Some(Segment::Many)),
            Some(b'?') => (&part[..part.len() - 1], Some(Segment::One)),
            _ => (part, None),
        };
        let run = (!run.is_empty()).then(|| Segment::Run(run.to_owned()));
        run.into_iter().chain(wildcard)
    })
}

/// One character of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Lit(char),
    One,
    Many,
}

fn without_first(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Segment};
    use proptest::prelude::*;

    /// The definition, by recursion: right and slow.
    fn defined(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| defined(rest, &text[n..])),
            Some(('?', rest)) => !text.is_empty() && defined(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && defined(rest, &text[1..]),
        }
    }

    fn steps(pattern: &str, text: &str) -> (bool, usize) {
        let mut count = 0;
        let matched = Pattern::new(pattern).scan(text, || count += 1);
        (matched, count)
    }

    #[test]
    fn star_is_any_run_and_question_mark_one_character() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b:c", true),
            ("?", "", false),
            ("?", "é", true),
            ("?", "ab", false),
            ("a*", "a", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-d", false),
            ("*.txt", ".txt.txt", true),
            ("a.c", "abc", false),
            ("team/*", "team-evil/x", false),
            ("**??", "a", false),
            ("**??", "ab", true),
            ("A", "a", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn a_literal_is_never_a_wildcard() {
        let literal: Pattern = [Segment::Run("a*".into()), Segment::Run("?".into())].into_iter().collect();
        assert!(literal.matches("a*?"));
        assert!(!literal.matches("axy"));
    }

    #[test]
    fn a_hostile_pattern_stays_within_its_bound() {
        let text = "a".repeat(1_000);
        for (pattern, most) in [
            ("a*".repeat(500) + "b", 2_600),
            ("*a".repeat(500) + "b", 2_600),
            ("?*".repeat(500) + "b", 2_600),
            ("*".repeat(5_000) + "b", 2_600),
            (format!("*{}b", "a".repeat(500)), 2_600),
            // The worst: after every start all but the end fits.
            (format!("*{}b", "a?".repeat(250)), 400_000),
        ] {
            let (matched, count) = steps(&pattern, &text);
            assert!(!matched);
            assert!(count <= most, "{count} steps for {} characters", pattern.len());
        }
        // What a policy can hold at most against the longest name a repository can have.
        let (_, worst) = steps(&format!("*{}b", "a?".repeat(5_000)), &text[..256]);
        assert!(worst <= 40_000, "{worst}");
    }

    #[test]
    fn a_pattern_includes_what_it_can_be_seen_to_include() {
        let table = [
            ("*", "", true),
            ("*", "a*b?", true),
            ("a*", "ab*", true),
            ("a*", "*", false),
            ("*b", "a*b", true),
            ("*b*", "a?b", true),
            ("a?c", "abc", true),
            ("a?c", "a*c", false),
            ("abc", "ABC", false),
            ("", "a", false),
        ];
        for (outer, inner, expected) in table {
            assert_eq!(Pattern::new(outer).includes(&Pattern::new(inner)), expected, "{outer} {inner}");
        }
    }

    proptest! {
        #[test]
        fn what_includes_a_pattern_matches_its_texts(
            outer in "[ab*?]{0,6}", inner in "[ab*?]{0,6}", text in "[ab]{0,6}"
        ) {
            let (outer, inner) = (Pattern::new(&outer), Pattern::new(&inner));
            prop_assert!(!outer.includes(&inner) || !inner.matches(&text) || outer.matches(&text));
        }

        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab*]{0,10}") {
            let expected = defined(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            let (matched, count) = steps(&pattern, &text);
            prop_assert_eq!(matched, expected);
            prop_assert!(count <= (pattern.chars().count() + 1) * (text.chars().count() + 1));
        }
    }
}
