//! What is said about ARG, ENV and the use of variables.

use crate::{
    check::nearest,
    diagnostic::{Problem, Severity},
    evaluate::Evaluation,
    instruction::{Instruction, Keyword, shortened},
    parse::Dockerfile,
};
use std::collections::HashSet;

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
            let mut told = HashSet::new();
            for name in used(run.text()) {
                let is_outside = evaluation.globals.declares(name) && !evaluated.scope().declares(name);
                if is_outside && !run.text().contains(&format!("{name}=")) && told.insert(name) {
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
    for undefined in &evaluation.undefined {
        let name = undefined.name.as_str();
        let Some(instruction) = dockerfile.instructions.get(undefined.instruction) else {
            continue;
        };
        if !told.insert((undefined.instruction, name)) {
            continue;
        }
        let shown = shortened(name);
        let at = instruction.place(&instruction.arguments_at);
        let mut warn = |rule, message: String, hint: String| {
            problems.push(Problem::new(Severity::Warning, rule, at.clone(), message, hint));
        };
        if instruction.keyword == Keyword::From {
            let hint = match nearest(name, evaluation.globals.names()) {
                Some(known) => format!("did you mean ${known}?"),
                None => format!("declare it before the first FROM, as in ARG {shown}=..."),
            };
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
        } else if let Some(known) = nearest(name, stage.scope().names()) {
            warn(
                "UndefinedVar",
                format!("${shown} is not defined"),
                format!("did you mean ${known}?"),
            );
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
