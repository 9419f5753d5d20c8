//! What no build here may do, whatever the engine would say to it.

use crate::{
    diagnostic::Problem,
    evaluate::Evaluation,
    instruction::{Instruction, Keyword, shortened},
    parse::Dockerfile,
};
use std::{collections::BTreeMap, fmt};

/// What makes a build impossible, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    pub line: u32,
    pub rule: &'static str,
    /// Without the line.
    pub sentence: String,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.sentence)
    }
}

impl Dockerfile {
    /// Given the build's arguments, and the frontends that `# syntax=` may name.
    pub fn forbidden<T: AsRef<str>>(
        &self,
        arguments: &BTreeMap<String, String>,
        syntax_allowed: &[T],
    ) -> Vec<Forbidden> {
        let found = found(&Evaluation::of(self, arguments), self, syntax_allowed);
        found
            .into_iter()
            .map(|(line, problem)| Forbidden {
                line,
                rule: problem.rule,
                sentence: match problem.hint.as_str() {
                    "" => problem.message,
                    hint => format!("{}: {hint}", problem.message),
                },
            })
            .collect()
    }
}

/// With the line of each.
pub(crate) fn found<T: AsRef<str>>(
    evaluation: &Evaluation<'_>,
    dockerfile: &Dockerfile,
    syntax_allowed: &[T],
) -> Vec<(u32, Problem)> {
    let mut found = Vec::new();
    for syntax in dockerfile
        .syntax
        .iter()
        .filter(|syntax| !syntax.is_allowed(syntax_allowed))
    {
        let allowed: Vec<&str> = syntax_allowed.iter().map(AsRef::as_ref).collect();
        let hint = match allowed.as_slice() {
            [] => "leave the line out: the engine reads Dockerfiles itself".to_owned(),
            allowed => format!("allowed is {}", allowed.join(", ")),
        };
        let message = format!("the frontend `{}` is not allowed", shortened(&syntax.reference));
        // It stands at the top, where all lines are short: the caller places it by its line.
        found.push((syntax.line, Problem::error("SyntaxFrontend", 0..0, message, hint)));
    }
    for instruction in &dockerfile.instructions {
        run(instruction.trigger.as_deref().unwrap_or(instruction), &mut found);
    }
    for (index, directory) in &evaluation.directories {
        let is_below = |root: &str| {
            directory
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(instruction) = dockerfile.instructions.get(*index) else {
            continue;
        };
        if is_below("/proc") || is_below("/dev/fd") {
            let message = format!("WORKDIR {} is not allowed", shortened(directory));
            let hint = "through it a build could reach files of the host";
            let at = instruction.place(&instruction.arguments_at);
            found.push((
                instruction.first_line,
                Problem::error("HostDirectory", at, message, hint),
            ));
        }
    }
    if evaluation.is_too_much {
        let message = "the values of its variables are larger than a Dockerfile may make them";
        found.push((1, Problem::error("TooLarge", 0..0, message, "write them out")));
    }
    found.sort_by_key(|(line, _)| *line);
    found
}

fn run(instruction: &Instruction, found: &mut Vec<(u32, Problem)>) {
    if instruction.keyword != Keyword::Run {
        return;
    }
    for flag in &instruction.flags {
        let (rule, what, hint) = match (flag.name.as_str(), flag.value.as_deref()) {
            ("network", Some("host")) => (
                "HostNetwork",
                "--network=host",
                "a build has a network of its own, and default is what a download needs",
            ),
            ("security", Some("insecure")) => (
                "InsecureSecurity",
                "--security=insecure",
                "a build has no rights on the host",
            ),
            ("device", _) => ("HostDevice", "--device", "a build has no devices of the host"),
            ("mount", _) if is_of_host(instruction, flag.value.as_deref()) => (
                "HostMount",
                "a mount of the host's files",
                "a bind mount has files of the build context, or of the stage that `from` names",
            ),
            _ => continue,
        };
        let line = instruction.written.line(flag.at.start);
        let message = format!("{what} is not allowed");
        found.push((line, Problem::error(rule, instruction.place(&flag.at), message, hint)));
    }
}

/// A source that only the host could have.
fn is_of_host(instruction: &Instruction, mount: Option<&str>) -> bool {
    let of = |keys: &[&str]| {
        let mut fields = instruction
            .mount_fields(keys)
            .filter(|(flag, _)| flag.value.as_deref() == mount);
        fields.next().map(|(_, value)| value)
    };
    let is_bind = of(&["type"]).is_none_or(|kind| kind.eq_ignore_ascii_case("bind"));
    let source = of(&["source", "src"]).unwrap_or_default();
    let is_below = |root: &str| {
        source
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let of_host = ["/var/run", "/run", "/proc", "/sys"].into_iter().any(is_below);
    is_bind && of(&["from"]).is_none() && (of_host || source.to_ascii_lowercase().ends_with("docker.sock"))
}
