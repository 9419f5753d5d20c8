//! What the flags of RUN may say.

use super::did_you_mean;
use crate::{
    diagnostic::Problem,
    instruction::{Instruction, Keyword, shortened},
    words,
};

const MOUNT_KEYS: &[&str] = &[
    "dst",
    "destination",
    "env",
    "from",
    "gid",
    "id",
    "mode",
    "readonly",
    "readwrite",
    "required",
    "ro",
    "rw",
    "sharing",
    "size",
    "source",
    "src",
    "target",
    "type",
    "uid",
];
const MOUNT_TYPES: &[&str] = &["bind", "cache", "secret", "ssh", "tmpfs"];

pub(super) fn flags(instruction: &Instruction) -> Option<Problem> {
    if instruction.keyword != Keyword::Run {
        return None;
    }
    instruction.flags.iter().find_map(|flag| {
        let value = flag.value.as_deref().unwrap_or_default();
        let refused = |message: String, hint: String| {
            Some(Problem::error(
                "SyntaxError",
                instruction.place(&flag.at),
                message,
                hint,
            ))
        };
        match flag.name.as_str() {
            "network" if !matches!(value, "default" | "none" | "host") => refused(
                format!("--network can't be `{}`", shortened(value)),
                "it is default or none".to_owned(),
            ),
            "security" if !matches!(value, "sandbox" | "insecure") => refused(
                format!("--security can't be `{}`", shortened(value)),
                "it is sandbox".to_owned(),
            ),
            "mount" => match mount(value) {
                Ok(()) => None,
                Err((message, hint)) => refused(message, hint),
            },
            _ => None,
        }
    })
}

fn mount(value: &str) -> Result<(), (String, String)> {
    let fields = words::fields(value).filter(|_| !value.is_empty());
    let Some(fields) = fields else {
        let message = "--mount is not a list of key=value".to_owned();
        return Err((
            message,
            "write it as in --mount=type=cache,target=/root/.cache".to_owned(),
        ));
    };
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let key = key.to_ascii_lowercase();
        if !MOUNT_KEYS.contains(&key.as_str()) {
            let otherwise = format!("it has {}", MOUNT_KEYS.join(", "));
            let hint = did_you_mean(&key, MOUNT_KEYS, &otherwise);
            return Err((format!("--mount has no key `{}`", shortened(&key)), hint));
        }
        match (key.as_str(), value) {
            ("readonly" | "ro" | "readwrite" | "rw" | "required", None) => (),
            (_, None) => return Err((format!("`{key}` of --mount needs a value"), format!("write {key}=..."))),
            ("from", Some(value)) if value.strip_suffix('$').unwrap_or(value).contains('$') => {
                let hint = "give that image a stage of its own, FROM ... AS name, and write from=name";
                return Err(("`from` of --mount takes no variables".to_owned(), hint.to_owned()));
            }
            ("type", Some(value)) if !value.contains('$') => {
                let value = value.to_ascii_lowercase();
                if !MOUNT_TYPES.contains(&value.as_str()) {
                    let otherwise = format!("it is one of {}", MOUNT_TYPES.join(", "));
                    let hint = did_you_mean(&value, MOUNT_TYPES, &otherwise);
                    return Err((format!("--mount has no type `{}`", shortened(&value)), hint));
                }
            }
            _ => (),
        }
    }
    Ok(())
}
