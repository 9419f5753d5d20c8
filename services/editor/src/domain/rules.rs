//! What a spec must look like, whatever was saved before.

use super::Refused;
use proto::editor::v1::{BuildSpec, ContextKind, GitSource};

pub(crate) const DOCKERFILE_BYTES_MAX: usize = 256 * 1024;
/// Everything else together, so that a revision fits into an entry and a page of them into an answer.
pub(super) const REST_BYTES_MAX: usize = 64 * 1024;
pub(super) const NOTE_BYTES_MAX: usize = 4 * 1024;
const WORD_MAX: usize = 128;

/// The one way in which a spec is written, so that two that mean the same are the same.
/// The address of a repository is written so before.
pub(super) fn normal(mut spec: BuildSpec) -> BuildSpec {
    spec.context = spec.context.filter(|context| !context.digest.is_empty());
    spec.git = spec.git.filter(|git| *git != GitSource::default());
    spec
}

pub(super) fn check_note(note: &str) -> Result<(), Refused> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(Refused::NoteTooLong { bytes: note.len() });
    }
    check_text("note", note)
}

/// A spec in its normal form.
pub(super) fn check(spec: &BuildSpec) -> Result<(), Refused> {
    match spec.context_kind() {
        ContextKind::Unspecified => return Err(Refused::NoContextKind),
        ContextKind::LocalFolder if spec.dockerfile.trim().is_empty() => return Err(Refused::NoDockerfile),
        ContextKind::GitRepository if spec.git.as_ref().is_none_or(|git| git.url.is_empty()) => {
            return Err(Refused::NoUrl);
        }
        ContextKind::LocalFolder | ContextKind::GitRepository => (),
    }
    let bytes = spec.dockerfile.len();
    if bytes > DOCKERFILE_BYTES_MAX {
        return Err(Refused::DockerfileTooLarge { bytes });
    }
    check_text("spec.dockerfile", &spec.dockerfile)?;
    let bytes = rest_bytes(spec);
    if bytes > REST_BYTES_MAX {
        return Err(Refused::SpecTooLarge { bytes });
    }
    for (name, value) in &spec.build_args {
        if !is_argument_name(name) {
            return Err(Refused::ArgumentName { name: name.clone() });
        }
        check_text("spec.build_args", value)?;
    }
    for (key, value) in &spec.labels {
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Refused::LabelKey { key: key.clone() });
        }
        check_text("spec.labels", value)?;
    }
    if !spec.target.is_empty() && !is_word(&spec.target) {
        return Err(Refused::Target {
            target: spec.target.clone(),
        });
    }
    check_platforms(&spec.platforms)
}

fn check_platforms(platforms: &[String]) -> Result<(), Refused> {
    if platforms.len() > 1 {
        return Err(Refused::SeveralPlatforms);
    }
    for platform in platforms {
        let parts: Vec<&str> = platform.split('/').collect();
        let is_part = |part: &&str| is_word(part) && !part.contains(|c: char| c.is_ascii_uppercase());
        if !matches!(parts.len(), 2 | 3) || !parts.iter().all(is_part) {
            return Err(Refused::Platform {
                platform: platform.clone(),
            });
        }
    }
    Ok(())
}

/// `[A-Za-z_][A-Za-z0-9_]{0,127}`
fn is_argument_name(name: &str) -> bool {
    let is_rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= WORD_MAX && name.starts_with(|c: char| is_rest(c) && !c.is_ascii_digit()) && name.chars().all(is_rest)
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`
fn is_word(text: &str) -> bool {
    let is_rest = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.len() <= WORD_MAX && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_rest)
}

fn check_text(field: &'static str, text: &str) -> Result<(), Refused> {
    if text.contains('\0') {
        return Err(Refused::NotText { field, character: '\0' });
    }
    Ok(())
}

fn rest_bytes(spec: &BuildSpec) -> usize {
    let pairs = spec.build_args.iter().chain(&spec.labels);
    let git = spec
        .git
        .iter()
        .map(|git| git.url.len() + git.r#ref.len() + git.directory.len());
    pairs.map(|(key, value)| key.len() + value.len()).sum::<usize>()
        + git.sum::<usize>()
        + spec.target.len()
        + spec.platforms.iter().map(String::len).sum::<usize>()
}
