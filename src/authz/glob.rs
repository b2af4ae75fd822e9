//! Wildcard patterns: `*` is any run of characters, `?` exactly one, everything else itself.
//!
//! Matching never recurses and takes at most (pattern + 1) × (text + 1) steps, since patterns are tenant input.
//! A pattern is a list of tokens, so text that was substituted into it stays literal whatever it contains.

/// One element of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// Exactly this character.
    Lit(char),
    /// Any one character.
    One,
    /// Any run of characters, also none.
    Many,
}

/// A compiled pattern over whole texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pattern(Vec<Token>);

impl Token {
    /// What a character of a pattern's text stands for.
    #[must_use]
    pub fn wild(c: char) -> Self {
        match c {
            '*' => Self::Many,
            '?' => Self::One,
            _ => Self::Lit(c),
        }
    }

    fn literal(self) -> Option<char> {
        match self {
            Self::Lit(c) => Some(c),
            Self::One | Self::Many => None,
        }
    }
}

impl Pattern {
    /// Compiles a text in which `*` and `?` are wildcards; every text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        text.chars().map(Token::wild).collect()
    }

    /// Whether the whole text fits, case-sensitively.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_folded(text, |c| c)
    }

    /// Whether the whole text fits when `fold` is applied to the characters of both sides.
    #[must_use]
    pub fn matches_folded(&self, text: &str, fold: impl Fn(char) -> char) -> bool {
        self.scan(text, fold, || ())
    }

    /// What every text that fits begins with, and whether that is all of it.
    pub(super) fn literal_start(&self) -> (String, bool) {
        let start: String = self.0.iter().map_while(|token| token.literal()).collect();
        let is_all = self.0.iter().all(|token| token.literal().is_some());
        (start, is_all)
    }

    /// Whether every text that fits the other fits this one too, as far as the tokens show: a `?` is not seen in a `*`.
    pub(super) fn includes(&self, other: &Self, fold: impl Fn(char) -> char) -> bool {
        let (outer, inner) = (self.0.as_slice(), other.0.as_slice());
        let admits = |token: Token, inner: Token| match (token, inner) {
            (Token::Lit(a), Token::Lit(b)) => fold(a) == fold(b),
            (Token::One, Token::Lit(_) | Token::One) => true,
            (Token::Lit(_) | Token::One | Token::Many, _) => false,
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

    /// The two-pointer match: only the latest `*` is ever widened, because an earlier one could gain nothing.
    fn scan(&self, text: &str, fold: impl Fn(char) -> char, mut step: impl FnMut()) -> bool {
        let tokens = self.0.as_slice();
        let (mut token, mut rest) = (0, text);
        let mut latest_many: Option<(usize, &str)> = None;
        while let Some(c) = rest.chars().next() {
            step();
            match tokens.get(token) {
                Some(Token::Many) => {
                    token += 1;
                    latest_many = Some((token, rest));
                    continue;
                }
                Some(Token::One) => token += 1,
                Some(Token::Lit(wanted)) if fold(*wanted) == fold(c) => token += 1,
                Some(Token::Lit(_)) | None => {
                    let Some((after, from)) = latest_many else { return false };
                    let skipped = from.chars().next().map_or(0, char::len_utf8);
                    (token, rest) = (after, &from[skipped..]);
                    latest_many = Some((after, rest));
                    continue;
                }
            }
            rest = &rest[c.len_utf8()..];
        }
        tokens[token..].iter().all(|t| *t == Token::Many)
    }
}

impl FromIterator<Token> for Pattern {
    fn from_iter<I: IntoIterator<Item = Token>>(tokens: I) -> Self {
        let mut list: Vec<Token> = Vec::new();
        for token in tokens {
            if token != Token::Many || list.last() != Some(&Token::Many) {
                list.push(token);
            }
        }
        Self(list)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Token};
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
        let matched = Pattern::new(pattern).scan(text, |c| c, || count += 1);
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
    fn a_literal_token_is_never_a_wildcard() {
        let literal: Pattern = "a*?".chars().map(Token::Lit).collect();
        assert!(literal.matches("a*?"));
        assert!(!literal.matches("axy"));
    }

    #[test]
    fn a_hostile_pattern_on_ten_kilobytes_stays_within_its_bound() {
        let text = "a".repeat(10_000);
        for pattern in ["a*".repeat(500) + "b", "*a".repeat(500) + "b", "?*".repeat(500) + "b", "*".repeat(5_000) + "b"]
        {
            let (matched, count) = steps(&pattern, &text);
            assert!(!matched);
            assert!(count <= 40_000, "{count} steps for {} tokens", pattern.len());
        }
        let (_, worst) = steps(&format!("*{}b", "a".repeat(1_000)), &text);
        assert!(worst <= 1_002 * 10_001, "{worst}");
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
            assert_eq!(Pattern::new(outer).includes(&Pattern::new(inner), |c| c), expected, "{outer} {inner}");
        }
        assert!(Pattern::new("abc").includes(&Pattern::new("ABC"), |c| c.to_ascii_lowercase()));
    }

    proptest! {
        #[test]
        fn what_includes_a_pattern_matches_its_texts(
            outer in "[ab*?]{0,6}", inner in "[ab*?]{0,6}", text in "[ab]{0,6}"
        ) {
            let (outer, inner) = (Pattern::new(&outer), Pattern::new(&inner));
            prop_assert!(!outer.includes(&inner, |c| c) || !inner.matches(&text) || outer.matches(&text));
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
