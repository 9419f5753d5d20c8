//! `.dockerignore`, exactly as Docker reads it (github.com/moby/patternmatcher, its quirks included).

use thiserror::Error;

use super::{DOCKERFILE, path::parents};

/// What stays out of a context. The last pattern that matches a path, or a directory above it, decides.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{pattern}' in line {line} of .dockerignore is not a pattern; correct it")]
pub struct BadPattern {
    pub line: usize,
    pub pattern: String,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// `!pattern`: takes back in what an earlier one left out.
    exception: bool,
    /// The text up to the first wildcard; the whole of it when `literal`.
    prefix: String,
    literal: bool,
    tokens: Vec<Token>,
}

/// One step of the automaton that a pattern is. A path is walked once with the set of possible states,
/// so no pattern takes more than path length x pattern length.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Segment,
    /// `**` at the end
    Rest,
    /// `**/`: nothing, or anything that ends with a slash. Always followed by `Deep`.
    Descend,
    Deep,
    /// As in Docker, a negated class also takes a slash.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignore {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut patterns = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let parsed = if pattern.is_empty() {
                None
            } else {
                Pattern::parse(exception, &clean(pattern))
            };
            patterns.push(parsed.ok_or_else(|| BadPattern {
                line: number + 1,
                pattern: line.to_owned(),
            })?);
        }
        Ok(Self { patterns })
    }

    /// `path`: relative, normal, with slashes. The Dockerfile always stays in: the engine reads it there.
    pub fn ignores(&self, path: &str) -> bool {
        if path == DOCKERFILE {
            return false;
        }
        let mut ignored = false;
        for pattern in &self.patterns {
            // the others could not change the answer
            if pattern.exception == ignored && (pattern.matches(path) || parents(path).any(|p| pattern.matches(p))) {
                ignored = !pattern.exception;
            }
        }
        ignored
    }

    /// Whether something below this ignored directory may still be taken back in.
    pub fn may_keep_below(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        self.patterns.iter().filter(|pattern| pattern.exception).any(|pattern| {
            if pattern.literal {
                pattern.prefix.starts_with(&below)
            } else {
                pattern.prefix.starts_with(&below) || below.starts_with(&pattern.prefix)
            }
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl Pattern {
    /// `None`: not a pattern.
    fn parse(exception: bool, text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    match chars.peek() {
                        None => tokens.push(Token::Rest),
                        Some(_) => tokens.extend([Token::Descend, Token::Deep]),
                    }
                }
                '*' => tokens.push(Token::Segment),
                '?' => tokens.push(Token::One),
                '[' => tokens.push(class(&mut chars)?),
                '\\' => tokens.push(Token::Literal(chars.next()?)),
                c => tokens.push(Token::Literal(c)),
            }
        }
        let plain = |tokens: &[Token]| tokens.iter().all(|token| matches!(token, Token::Literal(_)));
        let literal = plain(&tokens);
        // `**name` with nothing else special means "ends with name", not "is called name"
        let suffix = text
            .strip_prefix("**")
            .filter(|rest| !rest.starts_with('/') && !rest.contains('\\'));
        if suffix.is_some() && tokens.len() > 2 && plain(&tokens[2..]) {
            tokens.splice(..2, [Token::Rest]);
        }
        let prefix = tokens.iter().map_while(|token| match token {
            Token::Literal(c) => Some(*c),
            _ => None,
        });
        Some(Self {
            exception,
            prefix: prefix.collect(),
            literal,
            tokens,
        })
    }

    fn matches(&self, path: &str) -> bool {
        if self.literal {
            return self.prefix == path;
        }
        let end = self.tokens.len();
        let mut now = vec![false; end + 1];
        self.enter(&mut now, 0);
        for c in path.chars() {
            let mut next = vec![false; end + 1];
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
                let (stays, goes_on) = match token {
                    Token::Literal(literal) => (false, *literal == c),
                    Token::One => (false, c != '/'),
                    Token::Class { negated, ranges } => (
                        false,
                        ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
                    ),
                    Token::Segment => (c != '/', false),
                    Token::Rest => (true, false),
                    Token::Descend => (false, false),
                    Token::Deep => (true, c == '/'),
                };
                if stays {
                    self.enter(&mut next, at);
                }
                if goes_on {
                    self.enter(&mut next, at + 1);
                }
            }
            now = next;
        }
        now[end]
    }

    /// Marks a state, and those that are reached from it without a character.
    fn enter(&self, states: &mut [bool], at: usize) {
        states[at] = true;
        match self.tokens.get(at) {
            Some(Token::Segment | Token::Rest) => self.enter(states, at + 1),
            Some(Token::Descend) => {
                states[at + 1] = true;
                self.enter(states, at + 2);
            }
            _ => {}
        }
    }
}

/// The rest of a class after its `[`, with the strictness of Go's `filepath.Match`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() {
            class_char(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// As Go's `filepath.Clean`, and without the slash at the beginning.
fn clean(pattern: &str) -> String {
    let rooted = pattern.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else if !rooted {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests;
