//! Patterns in `${name#pattern}`: `*` and `?`, and what is escaped.

use super::Malformed;
use regex::Regex;

pub(super) enum Token {
    Any,
    One,
    Literal(char),
}

pub(super) fn tokens(pattern: &str) -> Result<Vec<Token>, Malformed> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            // What ends the substitution is escaped for it, not for the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\')) => Token::Literal(c),
                _ => return Err(Malformed::Syntax("a pattern in `${}` escapes what needs none")),
            },
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

pub(super) fn compiled(tokens: &[Token], is_greedy: bool, is_anchored: bool) -> Result<Regex, Malformed> {
    let mut pattern = if is_anchored { "^" } else { "" }.to_owned();
    for token in tokens {
        match token {
            Token::Any if is_greedy => pattern += ".*",
            Token::Any => pattern += ".*?",
            Token::One => pattern.push('.'),
            Token::Literal(c) => pattern += &regex::escape(c.encode_utf8(&mut [0; 4])),
        }
    }
    Regex::new(&pattern).map_err(|_| Malformed::TooMuch)
}

pub(super) fn without_prefix<'v>(value: &'v str, tokens: &[Token], is_greedy: bool) -> Result<&'v str, Malformed> {
    let found = compiled(tokens, is_greedy, true)?.find(value);
    Ok(found.map_or(value, |found| &value[found.end()..]))
}
