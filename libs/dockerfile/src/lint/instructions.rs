//! What is said about single instructions, and how they are written.

use crate::{
    check,
    diagnostic::{Problem, Severity},
    evaluate::Evaluation,
    instruction::{Instruction, Keyword, shortened},
    parse::Dockerfile,
};
use std::collections::HashMap;

pub(super) fn rules(dockerfile: &Dockerfile, evaluation: &Evaluation<'_>, problems: &mut Vec<Problem>) {
    casing(dockerfile, problems);
    for instruction in &dockerfile.instructions {
        written(instruction, problems);
        remark(instruction, problems);
        expose(instruction, problems);
        if let Some(trigger) = &instruction.trigger
            && let Some(mut problem) = check::check(trigger)
        {
            // It stops only the builds upon this one.
            problem.severity = Severity::Warning;
            problems.push(problem);
        }
    }
    let mut knows_directory: Vec<bool> = Vec::new();
    for (stage, evaluated) in dockerfile.stages.iter().zip(&evaluation.stages) {
        let own = dockerfile.of_stage(stage);
        let known = evaluated.parent.and_then(|parent| knows_directory.get(parent)) == Some(&true);
        knows_directory.push(known || own.iter().any(|instruction| instruction.keyword == Keyword::Workdir));
        if !known {
            relative_directory(own, problems);
        }
        once(own, problems);
        json(own, problems);
    }
}

fn warning(
    instruction: &Instruction,
    rule: &'static str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Problem {
    let at = instruction.place(&instruction.keyword_at);
    Problem::new(Severity::Warning, rule, at, message, hint)
}

fn casing(dockerfile: &Dockerfile, problems: &mut Vec<Problem>) {
    let known = || {
        dockerfile
            .instructions
            .iter()
            .filter(|instruction| instruction.keyword != Keyword::Unknown)
    };
    let is_lower = |word: &str| !word.contains(|c: char| c.is_ascii_uppercase());
    let is_upper = |word: &str| !word.contains(|c: char| c.is_ascii_lowercase());
    let lower = known()
        .filter(|instruction| is_lower(instruction.keyword_text()))
        .count();
    let upper = known()
        .filter(|instruction| is_upper(instruction.keyword_text()))
        .count();
    for instruction in known() {
        let word = instruction.keyword_text();
        let (is_right, case) = if lower > upper {
            (is_lower(word), "small letters")
        } else {
            (is_upper(word), "capitals")
        };
        if !is_right {
            let message = format!("`{word}` is not written as the others are");
            problems.push(warning(
                instruction,
                "ConsistentInstructionCasing",
                message,
                format!("write it in {case}"),
            ));
        }
    }
}

fn written(instruction: &Instruction, problems: &mut Vec<Problem>) {
    let name = instruction.keyword.name();
    if let Some(at) = instruction.written.empty_line {
        let message = "an empty line stands within an instruction";
        let hint = "remove it: a later Docker will not go on over it";
        problems.push(Problem::new(
            Severity::Warning,
            "NoEmptyContinuation",
            at..at,
            message,
            hint,
        ));
    }
    if instruction.keyword == Keyword::Maintainer {
        let hint = "write LABEL org.opencontainers.image.authors=\"...\"";
        problems.push(warning(
            instruction,
            "MaintainerDeprecated",
            "MAINTAINER is deprecated",
            hint,
        ));
    }
    if instruction.is_legacy {
        let message = format!("`{name} name value` is the old form, which takes one value only");
        problems.push(warning(
            instruction,
            "LegacyKeyValueFormat",
            message,
            format!("write {name} name=value"),
        ));
    }
    let looks_like_json = matches!(
        instruction.keyword,
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Copy | Keyword::Add | Keyword::Volume
    ) && instruction.text().starts_with('[')
        && instruction.text().ends_with(']');
    // A test of the shell looks so too, but has a space there.
    if looks_like_json
        && !instruction.is_json
        && !instruction.text().starts_with("[ ")
        && !instruction.text().starts_with("[[")
    {
        let message = format!("this looks like the JSON form, and is none, so {name} takes it as text");
        let hint = "put each string in double quotes, with commas between them";
        let at = instruction.place(&instruction.arguments_at);
        problems.push(Problem::new(Severity::Warning, "MalformedJson", at, message, hint));
    }
}

/// Where a `#` begins a word, outside quotes.
fn hash(text: &str) -> Option<usize> {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open && before != '\\' => quote = None,
            (None, '\'' | '"') if before != '\\' => quote = Some(c),
            (None, '#') if before.is_whitespace() => return Some(at),
            _ => (),
        }
        before = c;
    }
    None
}

/// Docker knows no remark behind an instruction.
fn remark(instruction: &Instruction, problems: &mut Vec<Problem>) {
    let is_for_shell = matches!(
        instruction.keyword,
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck
    );
    // FROM, ENV name=value and LABEL name=value don't take one: that is an error with the same words.
    let is_free = !matches!(
        instruction.keyword,
        Keyword::From | Keyword::Unknown | Keyword::Onbuild | Keyword::Maintainer
    ) && (!matches!(instruction.keyword, Keyword::Env | Keyword::Label) || instruction.is_legacy);
    if instruction.is_json || !is_free {
        return;
    }
    let Some(place) = hash(instruction.text()) else { return };
    let start = instruction.arguments_at.start + place;
    let at = instruction.place(&(start..instruction.arguments_at.end));
    let mut say = |severity, message: String, hint: &str| {
        problems.push(Problem::new(severity, "TrailingRemark", at.clone(), message, hint));
    };
    let name = instruction.keyword.name();
    let hint = "put the remark on a line of its own, above";
    if !is_for_shell {
        let shown = shortened(&instruction.text()[place..]);
        say(
            Severity::Warning,
            format!("`{shown}` is an argument of {name}, not a remark"),
            hint,
        );
    } else if instruction.written.goes_on_after(start) {
        let message = "the shell gets one line, and takes all of it from here on for a remark";
        say(Severity::Warning, message.to_owned(), hint);
    } else {
        say(
            Severity::Info,
            format!("the remark is part of {name}: the shell is given it too"),
            hint,
        );
    }
}

fn expose(instruction: &Instruction, problems: &mut Vec<Problem>) {
    if instruction.keyword != Keyword::Expose {
        return;
    }
    for (word, port) in instruction.arguments.iter().enumerate() {
        let mut warn = |rule, message: String, hint: String| {
            problems.push(Problem::new(
                Severity::Warning,
                rule,
                instruction.word_place(word),
                message,
                hint,
            ));
        };
        let (number, protocol) = port.split_once('/').unwrap_or((port, ""));
        if protocol.contains(|c: char| c.is_ascii_uppercase()) {
            let hint = format!("write {number}/{}", protocol.to_ascii_lowercase());
            warn(
                "ExposeProtoCasing",
                format!("the protocol of {} is not in lower case", shortened(port)),
                hint,
            );
        }
        if number.contains(':') && !number.contains('$') {
            let container = number.rsplit(':').next().unwrap_or_default();
            let hint = format!("write EXPOSE {container}, and map it where the container is run");
            warn(
                "ExposeInvalidFormat",
                format!("EXPOSE takes no address and no port of the host: {}", shortened(port)),
                hint,
            );
        }
    }
}

fn relative_directory(own: &[Instruction], problems: &mut Vec<Problem>) {
    let first = own.iter().find(|instruction| instruction.keyword == Keyword::Workdir);
    if let Some(first) = first.filter(|first| !first.text().starts_with(['/', '$', '"', '\''])) {
        let message = format!(
            "WORKDIR {} begins where the base image happens to end",
            shortened(first.text())
        );
        problems.push(warning(first, "WorkdirRelativePath", message, "begin it with /"));
    }
}

fn once(own: &[Instruction], problems: &mut Vec<Problem>) {
    let mut last = HashMap::new();
    for instruction in own {
        let keyword = instruction.keyword;
        if !matches!(keyword, Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck) {
            continue;
        }
        if let Some(before) = last.insert(keyword, instruction) {
            let message = format!("a later {} of this stage replaces this one", keyword.name());
            problems.push(warning(before, "MultipleInstructionsDisallowed", message, "keep one"));
        }
    }
}

fn json(own: &[Instruction], problems: &mut Vec<Problem>) {
    // Who chose a shell wants it.
    if own.iter().any(|instruction| instruction.keyword == Keyword::Shell) {
        return;
    }
    for instruction in own {
        let name = instruction.keyword.name();
        let is_shell_form = !instruction.is_json && !instruction.text().is_empty();
        if is_shell_form && matches!(instruction.keyword, Keyword::Cmd | Keyword::Entrypoint) {
            let message = format!("{name} runs in a shell, which keeps signals such as a stop to itself");
            let hint = format!("write {name} [\"program\", \"argument\"]");
            let at = instruction.place(&instruction.keyword_at);
            problems.push(Problem::new(Severity::Info, "JSONArgsRecommended", at, message, hint));
        }
    }
}
