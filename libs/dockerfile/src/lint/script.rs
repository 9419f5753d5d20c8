//! What is said about what RUN runs, and in which order.

use crate::{
    diagnostic::{Problem, Severity},
    evaluate::Evaluation,
    instruction::{Instruction, Keyword, shortened},
    parse::Dockerfile,
};

pub(super) fn rules(dockerfile: &Dockerfile, _: &Evaluation<'_>, problems: &mut Vec<Problem>) {
    for stage in &dockerfile.stages {
        let mut copied: Vec<&Instruction> = Vec::new();
        let mut whole: Option<&Instruction> = None;
        for instruction in dockerfile.of_stage(stage) {
            match instruction.keyword {
                Keyword::Copy | Keyword::Add => {
                    copied.push(instruction);
                    if is_whole_context(instruction) {
                        whole.get_or_insert(instruction);
                    }
                }
                Keyword::Run if !instruction.is_json => {
                    let commands = commands(script(instruction));
                    directory(instruction, &commands, problems);
                    package_lists(instruction, &commands, problems);
                    deletion(instruction, &commands, &copied, problems);
                    if let Some(install) = commands.iter().find(|words| installs(words))
                        && let Some(copy) = whole.take()
                    {
                        problems.push(too_early(copy, instruction, install));
                    }
                }
                _ => (),
            }
        }
    }
}

/// What the shell gets: the line, or the heredoc that it begins with.
fn script(run: &Instruction) -> &str {
    match run.heredocs.first() {
        Some(heredoc) if run.text().starts_with("<<") => &heredoc.content,
        _ => run.text(),
    }
}

/// The words of each simple command, without what leads up to it. Good enough to advise by.
fn commands(script: &str) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    let (mut quote, mut start) = (None, 0);
    let mut end = |from: usize, to: usize| {
        let words = script[from..to].split_whitespace();
        let is_lead = |word: &&str| {
            let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            });
            matches!(*word, "sudo" | "exec" | "time" | "if" | "then" | "do" | "(" | "{" | "!") || is_assignment
        };
        let words: Vec<&str> = words.skip_while(is_lead).collect();
        // `set -e` says how, not what.
        if words
            .first()
            .is_some_and(|first| *first != "set" && !first.starts_with('#'))
        {
            commands.push(words);
        }
    };
    for (at, c) in script.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '&' | '|' | ';' | '\n') => {
                end(start, at);
                start = at + 1;
            }
            _ => (),
        }
    }
    end(start, script.len());
    commands
}

fn warning(instruction: &Instruction, rule: &'static str, message: String, hint: &str) -> Problem {
    let at = instruction.place(&instruction.arguments_at);
    Problem::new(Severity::Warning, rule, at, message, hint)
}

fn directory(run: &Instruction, commands: &[Vec<&str>], problems: &mut Vec<Problem>) {
    let Some(["cd", path, ..]) = commands.first().map(Vec::as_slice) else {
        return;
    };
    let path = shortened(path);
    let message = if commands.len() == 1 {
        format!("cd {path} ends with this RUN, and the next begins where this one began")
    } else {
        format!("cd {path} counts for this RUN only")
    };
    problems.push(warning(
        run,
        "CdInsteadOfWorkdir",
        message,
        &format!("write WORKDIR {path} before it"),
    ));
}

fn package_lists(run: &Instruction, commands: &[Vec<&str>], problems: &mut Vec<Problem>) {
    let is_apt = |words: &&Vec<&str>| matches!(words.first(), Some(&("apt-get" | "apt")));
    let installs = commands.iter().filter(is_apt).any(|words| words.contains(&"install"));
    let cleans = commands
        .iter()
        .any(|words| words.first() == Some(&"rm") && words.iter().any(|word| word.contains("/var/lib/apt")));
    let is_mounted = run
        .mount_fields(&["target", "dst", "destination"])
        .any(|(_, target)| target.starts_with("/var/lib/apt"));
    if installs && !cleans && !is_mounted {
        let message = "the lists of packages stay in this layer".to_owned();
        let hint = "end it with `&& rm -rf /var/lib/apt/lists/*`, in the same RUN";
        problems.push(warning(run, "AptGetWithoutCleanup", message, hint));
    }
}

fn deletes(words: &[&str]) -> bool {
    match words {
        ["apt-get" | "apt", rest @ ..] => rest
            .iter()
            .any(|word| matches!(*word, "clean" | "autoclean" | "purge" | "remove" | "autoremove")),
        ["apk", rest @ ..] => rest.contains(&"del"),
        ["yum" | "dnf" | "microdnf", rest @ ..] => rest.contains(&"clean"),
        ["rm" | "rmdir" | "unlink", ..]
        | ["pip" | "pip3", "cache", "purge", ..]
        | ["npm" | "yarn", "cache", "clean", ..] => true,
        _ => false,
    }
}

/// What an earlier layer has stays in it.
fn deletion(run: &Instruction, commands: &[Vec<&str>], copied: &[&Instruction], problems: &mut Vec<Problem>) {
    const HINT: &str = "delete it in the RUN that makes it, or leave it in an earlier stage";
    if let Some(first) = commands.first().filter(|words| deletes(words)) {
        let message = format!(
            "`{}` makes nothing smaller: what it deletes is in an earlier layer",
            shortened(&first.join(" "))
        );
        problems.push(warning(run, "DeleteInLaterLayer", message, HINT));
        return;
    }
    let of_copy = |word: &str| {
        let target = word.trim_end_matches(['*', '/']);
        copied.iter().rev().take(COPIES).find(|copy| {
            let destination = copy
                .arguments
                .last()
                .map_or("", |destination| destination.trim_end_matches('/'));
            target.starts_with('/') && target.len() > 1 && destination.starts_with(target)
        })
    };
    let removed = commands
        .iter()
        .filter(|words| words.first() == Some(&"rm"))
        .flat_map(|words| words.iter().skip(1));
    if let Some(copy) = removed.take(WORDS).find_map(|word| of_copy(word)) {
        let message = format!(
            "what line {} copied stays in its layer, whatever is deleted here",
            copy.first_line
        );
        problems.push(warning(
            run,
            "DeleteInLaterLayer",
            message,
            "don't copy it: name it in .dockerignore, or copy less",
        ));
    }
}

/// Each word that is deleted is compared with each copy; so many of either are looked at.
const WORDS: usize = 20;
const COPIES: usize = 50;

fn is_whole_context(copy: &Instruction) -> bool {
    let sources = copy.arguments.split_last().map_or(&[][..], |(_, sources)| sources);
    copy.flag("from").is_none()
        && sources
            .iter()
            .any(|source| matches!(source.as_str(), "." | "./" | "./." | "*" | "./*"))
}

/// What takes long, and depends on little.
fn installs(words: &[&str]) -> bool {
    match words {
        [
            "apt-get" | "apt" | "yum" | "dnf" | "microdnf" | "zypper" | "apk",
            rest @ ..,
        ] => rest.iter().any(|word| matches!(*word, "install" | "add")),
        [
            "pip" | "pip3" | "npm" | "pnpm" | "bundle" | "composer" | "poetry",
            "install" | "i" | "ci",
            ..,
        ]
        | ["python" | "python3", "-m", "pip", "install", ..]
        | ["yarn", "install", ..]
        | ["go", "mod", "download", ..]
        | ["cargo", "fetch", ..]
        | ["yarn"] => true,
        _ => false,
    }
}

fn too_early(copy: &Instruction, run: &Instruction, install: &[&str]) -> Problem {
    let command = shortened(&install.iter().take(3).copied().collect::<Vec<_>>().join(" "));
    let message = format!("a change of any file runs `{command}` of line {} again", run.first_line);
    let hint = "what rarely changes goes first: install before this line, and copy before that only what it needs";
    warning(copy, "CopyBeforeInstall", message, hint)
}
