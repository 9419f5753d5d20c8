//! What is said about ARG, ENV and the use of variables.

use crate::{
    check::nearest,
    diagnostic::{Problem, Severity},
    evaluate::{Evaluation, Scope},
    instruction::{Instruction, Keyword, shortened},
    parse::Dockerfile,
};
use std::collections::HashSet;

/// Each name that is not known is compared with each that is.
const NAMES_MAX: usize = 500;
const TOLD_MAX: usize = 1_000;

pub(super) fn rules(dockerfile: &Dockerfile, evaluation: &Evaluation<'_>, problems: &mut Vec<Problem>) {
    for instruction in &dockerfile.instructions {
        secrets(instruction, problems);
    }
    undefined(dockerfile, evaluation, problems);
    for (stage, evaluated) in dockerfile.stages.iter().zip(&evaluation.stages) {
        for run in dockerfile
            .of_stage(stage)
            .iter()
            .filter(|instruction| instruction.keyword == Keyword::Run)
        {
            let mut known = assigned(run.text());
            for name in used(run.text()) {
                let is_outside = evaluation.globals.declares(name) && !evaluated.scope().declares(name);
                // Once for each.
                if is_outside && known.insert(name) {
                    problems.push(out_of_scope(run, name));
                }
            }
        }
    }
}

/// The most frequent mistake with ARG.
fn out_of_scope(instruction: &Instruction, name: &str) -> Problem {
    let message = format!("${name} has no value here: what is declared before FROM counts in FROM only");
    let hint = format!("write `ARG {name}` in this stage, without a value");
    let at = instruction.place(&instruction.arguments_at);
    Problem::new(Severity::Warning, "UndefinedVar", at, message, hint)
}

/// The names before `=`: the script gives them values of its own.
fn assigned(text: &str) -> HashSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let before = text.match_indices('=').map(|(at, _)| &text[..at]);
    before
        .filter_map(|before| before.rsplit(|c| !is_name(c)).next())
        .collect()
}

/// The names behind `$` and `${`.
fn used(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).filter_map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        (end > 0).then_some(&rest[..end])
    })
}

fn undefined(dockerfile: &Dockerfile, evaluation: &Evaluation<'_>, problems: &mut Vec<Problem>) {
    let stage_of = |instruction: usize| {
        let number = dockerfile
            .stages
            .partition_point(|stage| stage.instructions.start <= instruction);
        evaluation.stages.get(number.checked_sub(1)?)
    };
    let mut told = HashSet::new();
    let near = |name: &str, scope: &Scope| {
        let known: Vec<&str> = scope.names().take(NAMES_MAX + 1).collect();
        let few = Some(known).filter(|known| known.len() <= NAMES_MAX)?;
        nearest(name, few).map(|known| format!("did you mean ${known}?"))
    };
    for undefined in &evaluation.undefined {
        let name = undefined.name.as_str();
        let Some(instruction) = dockerfile.instructions.get(undefined.instruction) else {
            continue;
        };
        if !told.insert((undefined.instruction, name)) {
            continue;
        }
        if told.len() > TOLD_MAX {
            return;
        }
        let shown = shortened(name);
        let at = instruction.place(&instruction.arguments_at);
        let mut warn = |rule, message: String, hint: String| {
            problems.push(Problem::new(Severity::Warning, rule, at.clone(), message, hint));
        };
        if instruction.keyword == Keyword::From {
            let otherwise = || format!("declare it before the first FROM, as in ARG {shown}=...");
            let hint = near(name, &evaluation.globals).unwrap_or_else(otherwise);
            warn(
                "UndefinedArgInFrom",
                format!("${shown} is not declared before the first FROM"),
                hint,
            );
            continue;
        }
        let Some(stage) = stage_of(undefined.instruction) else {
            continue;
        };
        if evaluation.globals.declares(name) {
            problems.push(out_of_scope(instruction, &shown));
        } else if let Some(hint) = near(name, stage.scope()) {
            warn("UndefinedVar", format!("${shown} is not defined"), hint);
        } else if stage.is_from_scratch && name != "PATH" {
            warn(
                "UndefinedVar",
                format!("${shown} is not defined"),
                format!("write `ARG {shown}` or `ENV {shown}=...` before"),
            );
        }
        // Otherwise the base image may define it.
    }
}

fn secrets(instruction: &Instruction, problems: &mut Vec<Problem>) {
    // As Docker's own check has them.
    const SECRET: &[&str] = &[
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: &[&str] = &["public", "file", "version"];
    if !matches!(instruction.keyword, Keyword::Arg | Keyword::Env) {
        return;
    }
    for pair in &instruction.pairs {
        let lower = pair.name.to_lowercase();
        let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
        if has(SECRET) && !has(HARMLESS) {
            let name = instruction.keyword.name();
            let message = format!(
                "{name} {} looks like a secret, and its value stays in the image",
                shortened(&pair.name)
            );
            let hint = "give it with `--secret`, and read it in RUN --mount=type=secret,id=...";
            let at = instruction.place(&pair.at);
            problems.push(Problem::new(
                Severity::Warning,
                "SecretsUsedInArgOrEnv",
                at,
                message,
                hint,
            ));
        }
    }
}
