//! Dockerfiles as BuildKit reads them, and what is to be said about one. Pure: a text goes in.
//!
//! - [`parse`] never fails as a whole: what Docker stops at is in [`Dockerfile::errors`], in the order in which Docker
//!   comes to it. Of a text with errors nothing else is sure, so none is built.
//! - [`Dockerfile::bases`] and [`Dockerfile::forbidden`] tell what a build of it would use, given its arguments.
//! - [`syntax_directives`] tells which other program a text asks to be read by.
//! - [`lint`] tells all that, and what could be better.
//!
//! Everything takes time linear in the text, whatever the text is.

mod check;
mod diagnostic;
mod directives;
mod evaluate;
mod forbidden;
mod instruction;
mod lines;
mod lint;
mod parse;
mod shell;
mod words;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity};
pub use directives::{Syntax, syntax_directives};
pub use evaluate::{Base, Use, platform_arguments};
pub use forbidden::Forbidden;
pub use instruction::{Flag, Heredoc, Instruction, Keyword, Pair};
pub use lint::{LintOptions, lint};
pub use parse::{Dockerfile, Stage, parse, parse_without_heredocs};
