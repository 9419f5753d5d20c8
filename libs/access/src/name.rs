//! An image's name: Docker's reference grammar without a digest, and what makes two names the same.

use proto::catalog::v1::ImageName;
use serde::{Deserialize, Serialize};
use std::fmt;

const LENGTH_MAX: usize = 128;
const TAG_LENGTH_MAX: usize = 128;
const DEFAULT_TAG: &str = "latest";

/// `[registry/]path[:tag]`, taken apart. An empty registry is the cluster's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Name {
    pub registry: String,
    pub path: String,
    pub primary_tag: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedName {
    #[error("an image needs a name, such as `team/tool`")]
    Empty,
    #[error("the name has {0} characters, at most {LENGTH_MAX} are allowed")]
    TooLong(usize),
    #[error(
        "`{found}` at character {at} can't stand in a name: use lower-case letters, digits, and `.` `_` `-` between them"
    )]
    Character { found: char, at: usize },
    #[error("`{0}` is not a name: each part begins and ends with a letter or a digit")]
    Component(String),
    #[error(
        "`{0}` is not a tag: letters, digits, `_` `.` `-`, at most {TAG_LENGTH_MAX}, not beginning with `.` or `-`"
    )]
    Tag(String),
    #[error("`{0}` has a digest: a name is given without one")]
    Digest(String),
}

impl Name {
    /// Reads a name. `internal_registry` is the host that means the same as none.
    pub fn parse(text: &str, internal_registry: &str) -> Result<Self, MalformedName> {
        if text.is_empty() {
            return Err(MalformedName::Empty);
        }
        if text.contains('@') {
            return Err(MalformedName::Digest(text.to_owned()));
        }
        let length = text.chars().count();
        if length > LENGTH_MAX {
            return Err(MalformedName::TooLong(length));
        }
        let (registry, rest) = match text.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest),
            _ => ("", text),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, tag),
            None => (rest, DEFAULT_TAG),
        };
        if !is_tag(tag) {
            return Err(MalformedName::Tag(tag.to_owned()));
        }
        let before = text.len() - rest.len();
        check_path(path, text[..before].chars().count())?;
        let registry = if registry == internal_registry { "" } else { registry };
        Ok(Self {
            registry: registry.to_owned(),
            path: path.to_owned(),
            primary_tag: tag.to_owned(),
        })
    }

    /// What must be unique on the platform: registry and path, not the tag.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// Whether it lies in the cluster's own registry.
    pub fn is_internal(&self) -> bool {
        self.registry.is_empty()
    }

    /// As people write it: the tag only if it is not `latest`.
    pub fn short(&self) -> String {
        let repository = if self.is_internal() {
            self.path.clone()
        } else {
            self.repository()
        };
        if self.primary_tag == DEFAULT_TAG {
            repository
        } else {
            format!("{repository}:{}", self.primary_tag)
        }
    }

    /// `host/path`, as a container engine takes it.
    pub fn pull_repository(&self, internal_registry: &str) -> String {
        let host = if self.is_internal() {
            internal_registry
        } else {
            &self.registry
        };
        format!("{host}/{}", self.path)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl From<&ImageName> for Name {
    fn from(name: &ImageName) -> Self {
        Self {
            registry: name.registry.clone(),
            path: name.path.clone(),
            primary_tag: name.primary_tag.clone(),
        }
    }
}

impl From<&Name> for ImageName {
    fn from(name: &Name) -> Self {
        Self {
            registry: name.registry.clone(),
            path: name.path.clone(),
            primary_tag: name.primary_tag.clone(),
        }
    }
}

/// Docker's rule for telling a registry from the first part of a path.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':'])
}

fn check_path(path: &str, before: usize) -> Result<(), MalformedName> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    if let Some((at, found)) = path.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(MalformedName::Character {
            found,
            at: before + at + 1,
        });
    }
    match path.split('/').find(|component| !is_component(component)) {
        Some(component) => Err(MalformedName::Component(component.to_owned())),
        None => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let separators = text.split(is_word).filter(|separator| !separator.is_empty());
    let well_separated = separators
        .into_iter()
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-'));
    text.starts_with(is_word) && text.ends_with(is_word) && well_separated
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
pub fn is_tag(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !text.is_empty() && text.len() <= TAG_LENGTH_MAX && !text.starts_with(['.', '-']) && text.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Name, MalformedName> {
        Name::parse(text, "registry.internal:5000")
    }

    // covers R7, R60
    #[test]
    fn the_tag_and_the_internal_registry_do_not_make_another_name() {
        let plain = parse("x/y").map(|name| name.repository());
        assert_eq!(parse("x/y:1").map(|name| name.repository()), plain);
        assert_eq!(parse("registry.internal:5000/x/y").map(|name| name.repository()), plain);
        assert_ne!(parse("quay.io/x/y").map(|name| name.repository()), plain);
        assert_eq!(parse("x/y").map(|name| name.primary_tag), Ok("latest".to_owned()));
    }

    #[test]
    fn a_wrong_character_is_named_with_its_place() {
        assert_eq!(parse("x/Y"), Err(MalformedName::Character { found: 'Y', at: 3 }));
        assert_eq!(
            parse("quay.io/ab*"),
            Err(MalformedName::Character { found: '*', at: 11 })
        );
        for bad in ["a..b", "-a", "a/", "a_-b", "/a", "a___b"] {
            assert!(matches!(parse(bad), Err(MalformedName::Component(_))), "{bad}");
        }
        assert_eq!(parse("a:-x"), Err(MalformedName::Tag("-x".to_owned())));
        assert!(parse("a--b/c__d.e_f:V1.0").is_ok());
    }
}
