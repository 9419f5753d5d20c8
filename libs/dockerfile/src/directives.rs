//! `# syntax=`, `# escape=` and `# check=`: the comments at the top that mean something.

/// A frontend that a Dockerfile asks for: the image that is to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syntax {
    pub reference: String,
    /// From 1.
    pub line: u32,
}

impl Syntax {
    /// Whether one of these is meant. One without tag and digest allows any of that repository; Docker's own
    /// may be written with or without `docker.io/`.
    pub fn is_allowed<T: AsRef<str>>(&self, allowed: &[T]) -> bool {
        let asked = short(&self.reference);
        allowed.iter().any(|allowed| {
            let allowed = short(allowed.as_ref());
            asked == allowed || (repository(allowed) == allowed && repository(asked) == allowed)
        })
    }
}

fn short(reference: &str) -> &str {
    let reference = reference.strip_prefix("index.docker.io/").unwrap_or(reference);
    reference.strip_prefix("docker.io/").unwrap_or(reference)
}

/// Without tag and digest.
pub(crate) fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Every frontend that some version of BuildKit would take this text to ask for: in comments with `#` or `//`, also
/// after a line `#!...`, or as the key of a JSON object. A judge of them allows all or nothing.
/// The build argument `BUILDKIT_SYNTAX` asks for one too; that is not in the text.
pub fn syntax_directives(text: &str) -> Vec<Syntax> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for comment in ["#", "//"] {
        for (line, number) in text.lines().zip(1..) {
            match directive(line, comment) {
                // Older ones go on after a directive that they do not know, and the last one wins.
                Some((name, value)) if name.eq_ignore_ascii_case("syntax") => found.push(Syntax {
                    reference: value.split(' ').next().unwrap_or_default().to_owned(),
                    line: number,
                }),
                Some(_) => (),
                None if number == 1 && line.starts_with("#!") => (),
                None => break,
            }
        }
    }
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (json, line) = if first.starts_with("#!") { (rest, 2) } else { (text, 1) };
    if json.trim_start().starts_with('{')
        && let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(json)
        && let Some(serde_json::Value::String(value)) = fields.get("syntax")
    {
        found.push(Syntax {
            reference: value.clone(),
            line,
        });
    }
    found
}

/// `# name = value`, as `^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$` reads it.
fn directive<'a>(line: &'a str, comment: &str) -> Option<(&'a str, &'a str)> {
    let is_space = |c: char| matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ');
    let (name, value) = line.strip_prefix(comment)?.trim_start().split_once('=')?;
    let name = name.trim_end_matches(is_space);
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    let value = match value.trim_matches(is_space) {
        // A value has at least one character.
        "" => &value[value.len().checked_sub(1)?..],
        value => value,
    };
    is_name.then_some((name, value))
}

/// What the directives say, read line by line until the first that is none.
#[derive(Debug, Default)]
pub(crate) struct Directives {
    pub(crate) syntax: Option<String>,
    pub(crate) escape: Option<char>,
    pub(crate) check: Option<String>,
    is_over: bool,
}

impl Directives {
    /// Whether the line is a directive; or why Docker stops at it.
    pub(crate) fn read(&mut self, line: &str) -> Result<bool, String> {
        if self.is_over {
            return Ok(false);
        }
        let found = directive(line, "#").map(|(name, value)| (name.to_ascii_lowercase(), value));
        let is_first = match found.as_ref().map(|(name, value)| (name.as_str(), *value)) {
            Some(("syntax", value)) => self.syntax.replace(value.to_owned()).is_none(),
            Some(("check", value)) => self.check.replace(value.to_owned()).is_none(),
            Some(("escape", value)) => {
                let escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        return Err(format!(
                            "`{value}` can't be the escape character: it is a backslash or a backtick"
                        ));
                    }
                };
                self.escape.replace(escape).is_none()
            }
            _ => {
                self.is_over = true;
                return Ok(false);
            }
        };
        match found {
            Some((name, _)) if !is_first => Err(format!("the directive `{name}` is given twice")),
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, u32)> {
        let found = syntax_directives(text).into_iter();
        found.map(|syntax| (syntax.reference, syntax.line)).collect()
    }

    #[test]
    fn a_frontend_is_found_in_every_form_that_some_buildkit_takes() {
        for (text, line) in [
            ("# syntax=evil/x\nFROM scratch\n", 1),
            ("#syntax = evil/x --debug\r\nFROM scratch\r\n", 1),
            ("\u{feff}# SYNTAX=evil/x", 1),
            ("# escape=`\n# syntax=evil/x", 2),
            // An older BuildKit goes on after what it does not know.
            ("# colour=blue\n# syntax=evil/x", 2),
            ("// syntax=evil/x\n{}", 1),
            ("#!/usr/bin/env docker\n# syntax=evil/x", 2),
            ("#!/usr/bin/env docker\n// syntax=evil/x", 2),
            ("{\"a\": [1], \"syntax\": \"evil/x\"}", 1),
            ("#!/x\n{\"syntax\": \"evil/x\"}", 2),
        ] {
            assert_eq!(found(text), [("evil/x".to_owned(), line)], "{text:?}");
        }
        for text in [
            "",
            "FROM scratch\n# syntax=evil/x",
            "\n# syntax=evil/x",
            "# a comment\n# syntax=evil/x",
            "# syntax:evil/x",
            "# syntax=",
            "# syn tax=evil/x",
            "[\"syntax\", \"evil/x\"]",
            "{\"syntax\": 1}",
        ] {
            assert_eq!(found(text), [], "{text:?}");
        }
        let twice = found("# syntax=docker/dockerfile:1\n# colour=blue\n# syntax=evil/x");
        assert_eq!(twice.len(), 2, "which one counts differs");
    }

    #[test]
    fn an_allowed_frontend_is_meant_exactly() {
        let is_allowed = |reference: &str, allowed: &[&str]| {
            let syntax = Syntax {
                reference: reference.to_owned(),
                line: 1,
            };
            syntax.is_allowed(allowed)
        };
        let official = &["docker/dockerfile"];
        for reference in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7@sha256:abc",
        ] {
            assert!(is_allowed(reference, official), "{reference}");
        }
        for reference in [
            "docker/dockerfile-upstream",
            "evil/docker/dockerfile",
            "evil.org/docker/dockerfile:1",
            "evil.org:80/docker/dockerfile",
            "dockerfile",
            "",
            "docker/dockerfile/x",
        ] {
            assert!(!is_allowed(reference, official), "{reference}");
        }
        let pinned = &["docker/dockerfile@sha256:abc"];
        assert!(is_allowed("docker.io/docker/dockerfile@sha256:abc", pinned));
        assert!(!is_allowed("docker/dockerfile@sha256:abd", pinned));
        assert!(!is_allowed("docker/dockerfile", pinned));
    }
}
