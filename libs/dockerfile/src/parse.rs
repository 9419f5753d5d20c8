//! A whole Dockerfile: its instructions, its stages, and what Docker stops at.

use crate::{
    check,
    diagnostic::{Diagnostic, Problem, placed},
    directives::{Directives, Syntax, syntax_directives},
    evaluate,
    instruction::{self, Heredoc, Instruction, Keyword},
    lines::{Joined, LINE_BYTES_MAX, Lines, is_comment, without_end},
};
use std::ops::Range;

/// More are no Dockerfile, and an image has no place for them.
const INSTRUCTIONS_MAX: usize = 10_000;
/// Nobody reads more, and a text of nonsense has one in each line.
const ERRORS_MAX: usize = 100;

#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// See [`syntax_directives`].
    pub syntax: Vec<Syntax>,
    pub escape: char,
    /// What `# check=` says.
    pub check: Option<String>,
    pub instructions: Vec<Instruction>,
    pub stages: Vec<Stage>,
    /// What Docker stops at: the first is the one that it names. At most 100.
    pub errors: Vec<Diagnostic>,
}

/// FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// In lower case, as it is found by; empty: it has none.
    pub name: String,
    /// As it is written.
    pub base: String,
    /// As it is written.
    pub platform: Option<String>,
    /// Its part of the instructions, FROM first.
    pub instructions: Range<usize>,
}

/// As engines since 23.0 read it, and every frontend of that time.
pub fn parse(text: &str) -> Dockerfile {
    Reading::of(text, true)
}

/// As engines before 23.0 read it without a frontend of its own: the lines of a heredoc are instructions to them.
/// Who judges what such an engine will do judges this.
pub fn parse_without_heredocs(text: &str) -> Dockerfile {
    Reading::of(text, false)
}

impl Dockerfile {
    pub(crate) fn of_stage(&self, stage: &Stage) -> &[Instruction] {
        self.instructions.get(stage.instructions.clone()).unwrap_or_default()
    }

    /// The ARGs before the first FROM.
    pub(crate) fn global_arguments(&self) -> &[Instruction] {
        let end = self
            .stages
            .first()
            .map_or(self.instructions.len(), |stage| stage.instructions.start);
        self.instructions.get(..end).unwrap_or_default()
    }
}

struct Reading<'a> {
    text: &'a str,
    has_heredocs: bool,
    lines: Lines<'a>,
    directives: Directives,
    instructions: Vec<Instruction>,
    /// What Docker stops at while it reads, before it looks at what the instructions say.
    problems: Vec<Problem>,
    /// Instructions that could not be read; there is no more to be said about them.
    unread: Vec<usize>,
}

impl<'a> Reading<'a> {
    fn of(text: &'a str, has_heredocs: bool) -> Dockerfile {
        let mut reading = Self {
            text,
            has_heredocs,
            lines: Lines::new(text),
            directives: Directives::default(),
            instructions: Vec::new(),
            problems: Vec::new(),
            unread: Vec::new(),
        };
        reading.read();
        reading.judged()
    }

    fn error(&mut self, at: Range<usize>, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::error("SyntaxError", at, message, hint));
    }

    fn read(&mut self) {
        loop {
            let at = self.lines.at;
            let Some(line) = self.lines.next() else { break };
            let whole = without_end(line);
            let content = whole.trim_start();
            match self.directives.read(content) {
                Ok(false) => (),
                Ok(true) => continue,
                Err(message) => {
                    self.error(at..at + whole.len(), message, "keep one of each, at the top");
                    continue;
                }
            }
            if is_comment(content) {
                continue;
            }
            let escape = self.directives.escape.unwrap_or('\\');
            let content_at = at + (whole.len() - content.len());
            if let Some(joined) = Joined::read(content, content_at, &mut self.lines, escape) {
                self.instruction(joined, escape);
            }
            if self.instructions.len() == INSTRUCTIONS_MAX {
                let message = format!("more than {INSTRUCTIONS_MAX} instructions are too many");
                self.error(
                    self.lines.at..self.lines.at,
                    message,
                    "put what belongs together into one instruction",
                );
                return;
            }
        }
        let at = self.lines.at;
        if at < self.text.len() {
            let message = format!("a line has more than {LINE_BYTES_MAX} bytes, and Docker reads none that is longer");
            self.error(at..at, message, "break it with a `\\` at the end");
        } else if self.instructions.is_empty() && self.problems.is_empty() {
            let problem = Problem::error(
                "MissingFrom",
                at..at,
                "there is no instruction",
                "begin with FROM and an image",
            );
            self.problems.push(problem);
        }
    }

    fn instruction(&mut self, joined: Joined, escape: char) {
        let known = self.problems.len();
        let mut instruction = instruction::read(joined, escape, &mut self.problems);
        if self.has_heredocs {
            match instruction.announced() {
                Ok(announced) => self.heredocs(&mut instruction, announced),
                Err((message, hint)) => self.error(instruction.place(&instruction.arguments_at), message, hint),
            }
        }
        if self.problems.len() > known {
            self.unread.push(self.instructions.len());
        }
        self.instructions.push(instruction);
    }

    fn heredocs(&mut self, instruction: &mut Instruction, announced: Vec<Heredoc>) {
        for mut heredoc in announced {
            let start = self.lines.at;
            let end = loop {
                let at = self.lines.at;
                let Some(line) = self.lines.next() else { break None };
                let line = without_end(line);
                let line = if heredoc.strips_tabs {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if line == heredoc.name {
                    break Some(at);
                }
            };
            instruction.last_line = self.lines.number;
            let Some(end) = end else {
                let at = instruction.place(&instruction.arguments_at);
                let message = format!("the heredoc `{}` does not end", instruction::shortened(&heredoc.name));
                self.error(
                    at,
                    message,
                    "put its name on a line of its own, without spaces around it",
                );
                return;
            };
            self.text[start..end].clone_into(&mut heredoc.content);
            instruction.heredocs.push(heredoc);
        }
    }

    /// Goes through the instructions as Docker does once it has read them all.
    fn judged(self) -> Dockerfile {
        let Self {
            text,
            directives,
            instructions,
            mut problems,
            unread,
            ..
        } = self;
        let escape = directives.escape.unwrap_or('\\');
        let mut unread = unread.into_iter().peekable();
        let mut stages: Vec<Stage> = Vec::new();
        let mut later = Vec::new();
        for (index, instruction) in instructions.iter().enumerate() {
            if unread.next_if_eq(&index).is_none() {
                match check::check(instruction) {
                    Some(problem) => problems.push(problem),
                    None => later.extend(check::substitutions(instruction, escape)),
                }
            }
            match instruction.keyword {
                Keyword::From => {
                    let name = instruction.arguments.get(2).map(|name| name.to_lowercase());
                    stages.push(Stage {
                        name: name.unwrap_or_default(),
                        base: instruction.arguments.first().cloned().unwrap_or_default(),
                        platform: instruction.flag("platform").and_then(|flag| flag.value.clone()),
                        instructions: index..index + 1,
                    });
                }
                Keyword::Arg | Keyword::Unknown if stages.is_empty() => (),
                keyword => match stages.last_mut() {
                    Some(stage) => stage.instructions.end = index + 1,
                    None => problems.push(Problem::error(
                        "MissingFrom",
                        instruction.place(&instruction.keyword_at),
                        format!("{} stands before the first FROM", keyword.name()),
                        "begin with FROM and an image: only ARG may stand before it",
                    )),
                },
            }
            if problems.len() >= ERRORS_MAX {
                break;
            }
        }
        if stages.is_empty() && problems.is_empty() {
            let at = instructions
                .first()
                .map_or(0..0, |first| first.place(&first.keyword_at));
            problems.push(Problem::error(
                "MissingFrom",
                at,
                "there is no FROM",
                "begin with FROM and an image",
            ));
        }
        problems.extend(later);
        problems.extend(evaluate::misplaced(&stages, &instructions));
        problems.truncate(ERRORS_MAX);
        Dockerfile {
            syntax: syntax_directives(text),
            escape,
            check: directives.check,
            instructions,
            stages,
            errors: placed(text, problems),
        }
    }
}
