//! Words as BuildKit reads them: quotes, escapes, variables. After its `frontend/dockerfile/shell/lex.go`, quirks
//! included, because whoever reads a line otherwise than the engine can be led past a rule.

mod dollar;
mod pattern;

use std::{mem, str::Chars};

/// So deep may one substitution stand in another; BuildKit has no such limit, and a bigger stack.
const DEPTH_MAX: u32 = 50;
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Docker stops here too.
    Syntax(&'static str),
    /// `${name:?message}`: it depends on the arguments.
    Required,
    /// Longer or deeper than anything that is meant.
    TooMuch,
}

/// Values may refer to values, so without a limit a few lines write gigabytes.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(1024 * 1024)
    }
}

impl Budget {
    pub(crate) fn spend(&mut self, cost: usize) -> Result<(), Malformed> {
        self.0 = self.0.checked_sub(cost).ok_or(Malformed::TooMuch)?;
        Ok(())
    }
}

/// What a name stands for; absent: it is not set.
pub(crate) trait Variables {
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
pub(crate) struct Unset;

impl Variables for Unset {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

/// How a text is read.
#[derive(Clone, Copy)]
struct Mode {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    /// A variable that is not set stays as it is written.
    skip_unset: bool,
}

struct Lexer<'a> {
    rest: Chars<'a>,
    mode: Mode,
    variables: &'a dyn Variables,
    budget: &'a mut Budget,
    unset: Vec<String>,
    /// Shared by what stands in what, as there.
    word: String,
    depth: u32,
}

/// A text with its variables, and the names of those that are not set.
pub(crate) struct Expanded {
    pub(crate) text: String,
    pub(crate) unset: Vec<String>,
}

/// One word of an instruction as the engine understands it.
pub(crate) fn expand(
    word: &str,
    escape: char,
    variables: &dyn Variables,
    budget: &mut Budget,
) -> Result<Expanded, Malformed> {
    let mode = Mode {
        escape,
        raw_quotes: false,
        raw_escapes: false,
        skip_unset: false,
    };
    let mut lexer = Lexer::new(word, mode, variables, budget);
    let (text, _) = lexer.until(None, false)?;
    Ok(Expanded {
        text,
        unset: lexer.unset,
    })
}

/// The words of a line that may hold heredocs. Quotes and escapes stay where that is asked for.
pub(crate) fn words(line: &str, raw_quotes: bool, raw_escapes: bool) -> Result<Vec<String>, Malformed> {
    let mode = Mode {
        escape: '\\',
        raw_quotes,
        raw_escapes,
        skip_unset: true,
    };
    let mut budget = Budget(usize::MAX);
    let (_, words) = Lexer::new(line, mode, &Unset, &mut budget).until(None, raw_escapes)?;
    Ok(words)
}

/// Collects words; the letters of the current one are in `Lexer::word`.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    in_word: bool,
}

impl Words {
    fn end(&mut self, word: &mut String) {
        if !word.is_empty() {
            self.done.push(mem::take(word));
            self.in_word = false;
        }
    }

    fn add(&mut self, word: &mut String, c: char) {
        if !c.is_whitespace() {
            word.push(c);
            self.in_word = true;
        } else if self.in_word {
            self.end(word);
        }
    }
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, mode: Mode, variables: &'a dyn Variables, budget: &'a mut Budget) -> Self {
        Self {
            rest: text.chars(),
            mode,
            variables,
            budget,
            unset: Vec::new(),
            word: String::new(),
            depth: 0,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), Malformed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed::TooMuch);
        }
        self.word.clear();
        let outer = mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let (mut text, mut words) = (String::new(), Words::default());
        loop {
            let Some(c) = self.peek() else {
                match stop {
                    None => break,
                    Some(_) => return Err(Malformed::Syntax("a `${` is not closed with `}`")),
                }
            };
            if Some(c) == stop {
                self.rest.next();
                break;
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    for c in value.chars() {
                        words.add(&mut self.word, c);
                    }
                    text += &value;
                }
                '\'' | '"' | '<' => {
                    let part = match c {
                        '\'' => self.single_quotes()?,
                        '"' => self.double_quotes()?,
                        _ => self.angle(),
                    };
                    self.word += &part;
                    words.in_word = true;
                    text += &part;
                }
                c if c == self.mode.escape => {
                    self.rest.next();
                    if self.mode.raw_escapes {
                        self.word.push(c);
                        words.in_word = true;
                        text.push(c);
                    }
                    let Some(escaped) = self.rest.next() else { break };
                    self.word.push(escaped);
                    words.in_word = true;
                    text.push(escaped);
                }
                c => {
                    self.rest.next();
                    words.add(&mut self.word, c);
                    text.push(c);
                }
            }
        }
        words.end(&mut self.word);
        self.mode.raw_escapes = outer;
        self.depth -= 1;
        Ok((text, words.done))
    }

    fn single_quotes(&mut self) -> Result<String, Malformed> {
        let mut text = String::new();
        text.extend(self.rest.next().filter(|_| self.mode.raw_quotes));
        loop {
            match self.rest.next() {
                None => return Err(Malformed::Syntax("a `'` is not closed")),
                Some('\'') => break,
                Some(c) => text.push(c),
            }
        }
        text.extend(Some('\'').filter(|_| self.mode.raw_quotes));
        Ok(text)
    }

    fn double_quotes(&mut self) -> Result<String, Malformed> {
        let mut text = String::new();
        text.extend(self.rest.next().filter(|_| self.mode.raw_quotes));
        loop {
            match self.peek() {
                None => return Err(Malformed::Syntax("a `\"` is not closed")),
                Some('$') => text += &self.dollar()?,
                Some(c) => {
                    self.rest.next();
                    if c == '"' {
                        break;
                    }
                    if c != self.mode.escape {
                        text.push(c);
                        continue;
                    }
                    if self.mode.raw_escapes {
                        text.push(c);
                    }
                    match self.peek() {
                        None => (),
                        Some(next) if next == '"' || next == '$' || next == self.mode.escape => {
                            self.rest.next();
                            text.push(next);
                        }
                        Some(_) => text.push(c),
                    }
                }
            }
        }
        text.extend(Some('"').filter(|_| self.mode.raw_quotes));
        Ok(text)
    }

    /// `<<` and the spaces after it belong to the word that follows: it may be the name of a heredoc.
    fn angle(&mut self) -> String {
        self.rest.next();
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        self.rest.next();
        let mut text = "<<".to_owned();
        while let Some(c @ ('\t' | '\r' | ' ')) = self.peek() {
            self.rest.next();
            text.push(c);
        }
        text
    }
}

#[cfg(test)]
mod tests;
