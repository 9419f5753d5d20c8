//! What is to be said about a Dockerfile: what stops it, what is forbidden, and what could be better.

mod instructions;
mod script;
mod stages;
mod variables;

use crate::{
    diagnostic::{Diagnostic, Problem, Severity, placed},
    evaluate::{Evaluation, platform_arguments},
    forbidden,
    parse::{Dockerfile, parse},
};
use std::collections::BTreeMap;

/// More is not read.
const DIAGNOSTICS_MAX: usize = 100;

#[derive(Debug, Clone)]
pub struct LintOptions {
    /// The build's, and those of its platform.
    pub arguments: BTreeMap<String, String>,
    /// The frontends that `# syntax=` may name.
    pub syntax_allowed: Vec<String>,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self {
            arguments: platform_arguments("linux/amd64"),
            syntax_allowed: vec!["docker/dockerfile".to_owned()],
        }
    }
}

/// In the order of the file; at most 100, of which errors come before advice. `# check=skip=...` silences all but errors.
pub fn lint(text: &str, options: &LintOptions) -> Vec<Diagnostic> {
    let dockerfile = parse(text);
    let evaluation = Evaluation::of(&dockerfile, &options.arguments);
    let mut problems: Vec<Problem> = Vec::new();
    for (line, mut problem) in forbidden::found(&evaluation, &dockerfile, &options.syntax_allowed) {
        if problem.at.is_empty() {
            let before = text.split_inclusive('\n').take(line.saturating_sub(1) as usize);
            let start = before.map(str::len).sum::<usize>();
            problem.at = start..start + text[start..].lines().next().map_or(0, str::len);
        }
        problems.push(problem);
    }
    for rules in [instructions::rules, stages::rules, variables::rules, script::rules] {
        rules(&dockerfile, &evaluation, &mut problems);
    }
    let skipped = Skipped::of(&dockerfile);
    problems.retain(|problem| problem.severity == Severity::Error || !skipped.has(problem.rule));
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    problems.truncate(DIAGNOSTICS_MAX.saturating_sub(dockerfile.errors.len()));
    let mut diagnostics = dockerfile.errors;
    diagnostics.extend(placed(text, problems));
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    diagnostics
}

/// `# check=skip=RuleOne,RuleTwo;error=true`
struct Skipped<'a>(Vec<&'a str>);

impl<'a> Skipped<'a> {
    fn of(dockerfile: &'a Dockerfile) -> Self {
        let options = dockerfile.check.as_deref().unwrap_or_default().split(';');
        let rules = options.filter_map(|option| option.trim().strip_prefix("skip="));
        Self(rules.flat_map(|rules| rules.split(',')).map(str::trim).collect())
    }

    fn has(&self, rule: &str) -> bool {
        self.0
            .iter()
            .any(|skipped| skipped.eq_ignore_ascii_case(rule) || *skipped == "all")
    }
}

#[cfg(test)]
mod tests;
