//! Patterns in `${name#pattern}`: `*` and `?`, and what is escaped.

use super::{Budget, Malformed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Literal(char),
}

pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    pub(super) fn of(text: &str) -> Result<Self, Malformed> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
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
        Ok(Self(tokens))
    }

    /// What is left of a value without what matches at its beginning: as little as possible, or as much.
    pub(super) fn without_prefix(&self, value: &str, longest: bool, budget: &mut Budget) -> Result<String, Malformed> {
        let value: Vec<char> = value.chars().collect();
        let end = self.end(&value, longest, budget)?.unwrap_or_default();
        Ok(value[end..].iter().collect())
    }

    /// The same at its end, which is the beginning of what is turned round.
    pub(super) fn without_suffix(
        mut self,
        value: &str,
        longest: bool,
        budget: &mut Budget,
    ) -> Result<String, Malformed> {
        self.0.reverse();
        let turned: String = value.chars().rev().collect();
        Ok(self.without_prefix(&turned, longest, budget)?.chars().rev().collect())
    }

    /// A value with something else in the place of what matches: the first of it, or all.
    pub(super) fn replaced(&self, value: &str, by: &str, all: bool, budget: &mut Budget) -> Result<String, Malformed> {
        let value: Vec<char> = value.chars().collect();
        let (mut text, mut at, mut count) = (String::new(), 0, 0);
        loop {
            let rest = &value[at..];
            let end = match count {
                0 => self.end(rest, true, budget)?,
                _ if all => self.end(rest, true, budget)?,
                _ => None,
            };
            // Behind something that was replaced, there is no nothing at the end to replace.
            if let Some(end) = end.filter(|end| *end > 0 || count == 0 || self.0.is_empty()) {
                budget.spend(by.len())?;
                text += by;
                count += 1;
                at += end;
                if end > 0 && at < value.len() {
                    continue;
                }
            }
            let Some(c) = value.get(at) else { return Ok(text) };
            text.push(*c);
            at += 1;
        }
    }

    /// How much of the beginning matches. Time is the product of both lengths, whatever they are.
    fn end(&self, value: &[char], longest: bool, budget: &mut Budget) -> Result<Option<usize>, Malformed> {
        budget.spend((value.len() + 1).saturating_mul(self.0.len() + 1))?;
        // Whether what was looked at of the pattern matches so much of the value.
        let mut matches = vec![false; value.len() + 1];
        matches[0] = true;
        for token in &self.0 {
            if *token == Token::Any {
                let first = matches.iter().position(|is_match| *is_match).unwrap_or(matches.len());
                matches[first..].fill(true);
                continue;
            }
            for (index, c) in value.iter().enumerate().rev() {
                let is_one = *token == Token::One || *token == Token::Literal(*c);
                matches[index + 1] = matches[index] && is_one;
            }
            matches[0] = false;
        }
        let is_match = |is_match: &bool| *is_match;
        Ok(if longest {
            matches.iter().rposition(is_match)
        } else {
            matches.iter().position(is_match)
        })
    }
}
