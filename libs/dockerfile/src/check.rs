//! What Docker refuses of an instruction that it could read. After BuildKit's `frontend/dockerfile/instructions`.

mod run;

use crate::{
    diagnostic::Problem,
    instruction::{Instruction, Keyword, heredoc, shortened},
    shell::{self, Budget, Malformed, Unset},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Value,
    /// May be given more than once.
    Values,
}
use Kind::{Switch, Value, Values};

fn known_flags(keyword: Keyword) -> &'static [(&'static str, Kind)] {
    match keyword {
        Keyword::Add => &[
            ("checksum", Value),
            ("chmod", Value),
            ("chown", Value),
            ("exclude", Values),
            ("keep-git-dir", Switch),
            ("link", Switch),
            ("unpack", Switch),
        ],
        Keyword::Copy => &[
            ("chmod", Value),
            ("chown", Value),
            ("exclude", Values),
            ("from", Value),
            ("link", Switch),
            ("parents", Switch),
        ],
        Keyword::From => &[("platform", Value)],
        Keyword::Run => &[
            ("device", Values),
            ("mount", Values),
            ("network", Value),
            ("security", Value),
        ],
        Keyword::Healthcheck => &[
            ("interval", Value),
            ("retries", Value),
            ("start-interval", Value),
            ("start-period", Value),
            ("timeout", Value),
        ],
        _ => &[],
    }
}

/// The name that is meant, if one is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LETTERS_MAX: usize = 40;
    if word.len() > LETTERS_MAX {
        return None;
    }
    let near = known.into_iter().filter(|known| *known != word);
    let near = near.map(|known| (strsim::osa_distance(word, known), known));
    near.filter(|(distance, _)| *distance < 3).min().map(|(_, known)| known)
}

fn did_you_mean(word: &str, known: &[&'static str], otherwise: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(known) => format!("did you mean {known}?"),
        None => otherwise.to_owned(),
    }
}

/// At most one problem: Docker stops at the first.
pub(crate) fn check(instruction: &Instruction) -> Option<Problem> {
    let checks = [unknown, flags, arguments, run::flags];
    checks.iter().find_map(|check| check(instruction))
}

fn unknown(instruction: &Instruction) -> Option<Problem> {
    if instruction.keyword != Keyword::Unknown {
        return None;
    }
    let word = instruction.keyword_text();
    let known: Vec<&str> = Keyword::ALL.iter().map(|keyword| keyword.name()).collect();
    let hint =
        "an instruction begins with a word such as RUN; a line that goes on from the one before needs a `\\` there";
    Some(Problem::error(
        "UnknownInstruction",
        instruction.place(&instruction.keyword_at),
        format!("unknown instruction `{}`", shortened(word)),
        did_you_mean(&word.to_ascii_uppercase(), &known, hint),
    ))
}

fn flags(instruction: &Instruction) -> Option<Problem> {
    let keyword = instruction.keyword;
    // Of ONBUILD the engine looks at its own flags only, and STOPSIGNAL and ARG have none that it looks at.
    if matches!(keyword, Keyword::Stopsignal | Keyword::Arg) {
        return None;
    }
    let known = known_flags(keyword);
    for (index, flag) in instruction.flags.iter().enumerate() {
        let refused = |message: String, hint: String| {
            Some(Problem::error(
                "SyntaxError",
                instruction.place(&flag.at),
                message,
                hint,
            ))
        };
        let name = shortened(&flag.name);
        let Some((_, kind)) = known.iter().find(|(known, _)| *known == flag.name) else {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let otherwise = match names.as_slice() {
                [] => format!("{} takes no flags", keyword.name()),
                names => format!("{} takes --{}", keyword.name(), names.join(", --")),
            };
            let message = format!("{} has no flag --{name}", keyword.name());
            return refused(message, did_you_mean(&flag.name, &names, &otherwise));
        };
        let before = &instruction.flags[..index];
        if *kind != Values && before.iter().any(|before| before.name == flag.name) {
            return refused(format!("--{name} is given twice"), String::new());
        }
        match (kind, flag.value.as_deref()) {
            (Value | Values, None) => return refused(format!("--{name} needs a value"), format!("write --{name}=...")),
            (Switch, Some(value)) if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") => {
                return refused(format!("--{name} is either true or false"), String::new());
            }
            _ => (),
        }
    }
    None
}

fn arguments(instruction: &Instruction) -> Option<Problem> {
    let name = instruction.keyword.name();
    let count = instruction.arguments.len();
    let first = instruction.arguments.first().map(String::as_str).unwrap_or_default();
    let (message, hint): (String, &str) = match instruction.keyword {
        Keyword::Add | Keyword::Copy if count < 2 => (
            format!("{name} needs a source and a destination"),
            "write the files first, then where they go, as in COPY app /app",
        ),
        Keyword::Add | Keyword::Copy
            if instruction
                .arguments
                .last()
                .is_some_and(|last| matches!(heredoc(last), Ok(Some(_)))) =>
        {
            (
                format!("a heredoc can't be the destination of {name}"),
                "name a path after it",
            )
        }
        Keyword::Arg | Keyword::Env | Keyword::Label | Keyword::Expose | Keyword::Volume | Keyword::Onbuild
            if count == 0 && instruction.pairs.is_empty() && instruction.arguments_at.is_empty() =>
        {
            (format!("{name} needs at least one argument"), "")
        }
        Keyword::Arg | Keyword::Env | Keyword::Label if instruction.pairs.iter().any(|pair| pair.name.is_empty()) => {
            (format!("a name in {name} is empty"), "write NAME=VALUE")
        }
        Keyword::Maintainer | Keyword::User | Keyword::Workdir | Keyword::Stopsignal if count != 1 => {
            (format!("{name} needs an argument"), "")
        }
        Keyword::Volume if instruction.arguments.iter().any(|volume| volume.trim().is_empty()) => {
            ("a volume has an empty path".to_owned(), "")
        }
        Keyword::From => return from(instruction),
        Keyword::Onbuild => match first.to_ascii_uppercase().as_str() {
            trigger @ ("ONBUILD" | "FROM" | "MAINTAINER") => (format!("ONBUILD can't hold {trigger}"), ""),
            _ => return None,
        },
        Keyword::Shell if count == 0 => (
            "SHELL needs at least one argument".to_owned(),
            "write it as in SHELL [\"/bin/bash\", \"-c\"]",
        ),
        Keyword::Shell if !instruction.is_json => (
            "SHELL takes the JSON form only".to_owned(),
            "write it as in SHELL [\"/bin/bash\", \"-c\"], with double quotes",
        ),
        Keyword::Healthcheck => return healthcheck(instruction),
        _ => return None,
    };
    Some(Problem::error(
        "SyntaxError",
        instruction.place(&whole(instruction)),
        message,
        hint,
    ))
}

/// The arguments; the keyword where there are none.
fn whole(instruction: &Instruction) -> std::ops::Range<usize> {
    if instruction.arguments_at.is_empty() {
        instruction.keyword_at.clone()
    } else {
        instruction.arguments_at.clone()
    }
}

fn from(instruction: &Instruction) -> Option<Problem> {
    let refused = |message: String, hint: &str| {
        let at = instruction.place(&whole(instruction));
        Some(Problem::error("SyntaxError", at, message, hint))
    };
    match instruction.arguments.as_slice() {
        [_] => None,
        [_, as_word, name] if as_word.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            let is_rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.chars().all(is_rest) {
                return None;
            }
            let message = format!("`{}` can't be the name of a stage", shortened(name));
            refused(
                message,
                "it begins with a letter and goes on with letters, digits, `-`, `_`, `.`",
            )
        }
        words if words.iter().any(|word| word.starts_with('#')) => refused(
            "FROM takes an image, and a name after AS".to_owned(),
            "a remark goes on a line of its own: behind an instruction it is an argument",
        ),
        _ => refused(
            "FROM takes an image, and a name after AS".to_owned(),
            "write FROM image, or FROM image AS name",
        ),
    }
}

fn healthcheck(instruction: &Instruction) -> Option<Problem> {
    let refused = |message: &str| {
        let hint = "write HEALTHCHECK CMD command, or HEALTHCHECK NONE";
        let at = instruction.place(&whole(instruction));
        Some(Problem::error("SyntaxError", at, message, hint))
    };
    let kind = instruction.arguments.first().map(|kind| kind.to_ascii_uppercase());
    match (kind.as_deref(), instruction.arguments.len()) {
        (None, _) => refused("HEALTHCHECK needs at least one argument"),
        (Some("NONE"), 1) => None,
        (Some("NONE"), _) => refused("HEALTHCHECK NONE takes no arguments"),
        (Some("CMD"), 1) => refused("HEALTHCHECK CMD has no command"),
        (Some("CMD"), _) => durations(instruction),
        (Some(_), _) => refused("a health check is either CMD or NONE"),
    }
}

fn durations(instruction: &Instruction) -> Option<Problem> {
    instruction.flags.iter().find_map(|flag| {
        let value = flag.value.as_deref().unwrap_or_default();
        let (is_good, hint) = match flag.name.as_str() {
            "retries" => (
                value.is_empty() || value.parse::<i32>().is_ok_and(|count| count >= 0),
                "a count, such as 3",
            ),
            _ => (
                value.is_empty() || is_duration(value),
                "a duration, such as 30s or 1m30s",
            ),
        };
        let message = format!("--{} can't be `{}`", flag.name, shortened(value));
        (!is_good).then(|| Problem::error("SyntaxError", instruction.place(&flag.at), message, hint))
    })
}

/// As Go writes durations; 0, or at least a millisecond.
fn is_duration(text: &str) -> bool {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1e-6),
        ("us", 1e-3),
        ("µs", 1e-3),
        ("μs", 1e-3),
        ("ms", 1.0),
        ("s", 1e3),
        ("m", 6e4),
        ("h", 3.6e6),
    ];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut ms = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let Ok(number) = rest[..end].parse::<f64>() else {
            return false;
        };
        rest = &rest[end..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == &rest[..unit_end]) else {
            return false;
        };
        ms += number * unit;
        rest = &rest[unit_end..];
    }
    !text.is_empty() && (ms == 0.0 || ms >= 1.0)
}

/// Whether the engine could put the values of variables into it: quotes and braces that are not closed stop it.
pub(crate) fn substitutions(instruction: &Instruction, escape: char) -> Option<Problem> {
    let mut budget = Budget::default();
    let pairs = instruction
        .pairs
        .iter()
        .flat_map(|pair| [Some(&pair.name), pair.value.as_ref()]);
    let words: Vec<&String> = match instruction.keyword {
        Keyword::Arg => instruction
            .pairs
            .iter()
            .filter_map(|pair| pair.value.as_ref())
            .collect(),
        Keyword::Env | Keyword::Label => pairs.flatten().collect(),
        Keyword::Add
        | Keyword::Copy
        | Keyword::Expose
        | Keyword::From
        | Keyword::Stopsignal
        | Keyword::User
        | Keyword::Volume
        | Keyword::Workdir => instruction.arguments.iter().collect(),
        _ => return None,
    };
    words
        .into_iter()
        .find_map(|word| match shell::expand(word, escape, &Unset, &mut budget) {
            Err(Malformed::Syntax(message)) => {
                let at = instruction.place(&whole(instruction));
                Some(Problem::error("SyntaxError", at, message, "close it, or escape it"))
            }
            Err(Malformed::TooMuch) => {
                let at = instruction.place(&whole(instruction));
                let message = "substitutions stand in one another too deeply";
                Some(Problem::error(
                    "SyntaxError",
                    at,
                    message,
                    "give parts of it names with ARG",
                ))
            }
            Err(Malformed::Required) | Ok(_) => None,
        })
}
