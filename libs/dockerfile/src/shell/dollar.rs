//! `$name` and `${name...}`.

use super::{Lexer, Malformed, pattern::Pattern};

impl Lexer<'_> {
    pub(super) fn dollar(&mut self) -> Result<String, Malformed> {
        self.rest.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return self.value(&name, |name| format!("${name}"));
        }
        self.rest.next();
        if let None | Some('{' | '}' | ':') = self.peek() {
            return Err(Malformed::Syntax("a `${` is not followed by a name"));
        }
        let name = self.name();
        let modifier = self.rest.next();
        match modifier {
            Some('}') => self.value(&name, |name| format!("${{{name}}}")),
            Some('/') => self.replaced(&name),
            Some(':') => {
                let modifier = self.rest.next();
                match modifier {
                    Some(modifier @ ('+' | '-' | '?')) => self.modified(&name, modifier, true),
                    _ => Err(Malformed::Syntax("a `${name:` is not followed by `-`, `+` or `?`")),
                }
            }
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, modifier, false),
            _ => Err(Malformed::Syntax("a `${name` is not closed with `}`")),
        }
    }

    fn value(&mut self, name: &str, unset: impl Fn(&str) -> String) -> Result<String, Malformed> {
        if let Some(value) = self.variables.get(name) {
            self.budget.spend(value.len())?;
            return Ok(value.to_owned());
        }
        self.unset.push(name.to_owned());
        Ok(if self.mode.skip_unset {
            unset(name)
        } else {
            String::new()
        })
    }

    fn modified(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, Malformed> {
        let is_pattern = matches!(modifier, '#' | '%');
        let (word, _) = self.until(Some('}'), is_pattern)?;
        let colon = if empty_is_unset { ":" } else { "" };
        let found = self.variables.get(name);
        if found.is_none() {
            if self.mode.skip_unset {
                return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
            }
            // With a default of its own, nothing is missing.
            if is_pattern || modifier == '?' {
                self.unset.push(name.to_owned());
            }
        }
        let set = found.filter(|value| !(empty_is_unset && value.is_empty()));
        self.budget.spend(set.map_or(0, str::len))?;
        match modifier {
            '-' => Ok(set.map_or(word, str::to_owned)),
            '+' => Ok(set.map(|_| word).unwrap_or_default()),
            '?' => set.map(str::to_owned).ok_or(Malformed::Required),
            _ => {
                let (is_greedy, pattern) = match word.strip_prefix(modifier) {
                    Some(pattern) => (true, pattern),
                    None => (false, word.as_str()),
                };
                let value = found.unwrap_or_default();
                let pattern = Pattern::of(pattern)?;
                if modifier == '#' {
                    pattern.without_prefix(value, is_greedy, self.budget)
                } else {
                    pattern.without_suffix(value, is_greedy, self.budget)
                }
            }
        }
    }

    fn replaced(&mut self, name: &str) -> Result<String, Malformed> {
        let all = self.peek() == Some('/');
        if all {
            self.rest.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        let Some(value) = self.variables.get(name) else {
            self.unset.push(name.to_owned());
            return Ok(if self.mode.skip_unset {
                format!("${{{name}/{pattern}/{replacement}}}")
            } else {
                String::new()
            });
        };
        Pattern::of(&pattern)?.replaced(value, &replacement, all, self.budget)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.peek().filter(|c| c.is_numeric()) {
                    self.rest.next();
                    name.push(c);
                }
            }
            Some(c @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.rest.next();
                name.push(c);
            }
            _ => {
                while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    self.rest.next();
                    name.push(c);
                }
            }
        }
        name
    }
}
