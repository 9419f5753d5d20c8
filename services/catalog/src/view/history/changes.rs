//! How a revision differs from the one before, in a few words.

use proto::editor::v1::{BuildSpec, ContextKind, GitSource};
use std::collections::HashMap;

/// What a save changed. Without a revision before: what there is.
pub(crate) fn changes(before: Option<&BuildSpec>, now: &BuildSpec) -> String {
    let Some(before) = before else {
        return first(now);
    };
    let mut said = Vec::new();
    if before.dockerfile != now.dockerfile {
        said.push(lines(&before.dockerfile, &now.dockerfile));
    }
    if before.context_kind() != now.context_kind() {
        let (from, to) = (kind(before.context_kind()), kind(now.context_kind()));
        said.push(format!("context from {from} to {to}"));
    }
    if before.git != now.git {
        said.push(git(before.git.as_ref(), now.git.as_ref()));
    }
    match (&before.context, &now.context) {
        (old, new) if old == new => (),
        (None, Some(new)) => said.push(format!("{} attached", files(new.files))),
        (_, None) => said.push("files taken away".to_owned()),
        (Some(_), Some(new)) => said.push(format!("other files ({})", new.files)),
    }
    let rest = [
        ("build arguments", before.build_args != now.build_args),
        ("target stage", before.target != now.target),
        ("platforms", before.platforms != now.platforms),
        ("labels", before.labels != now.labels),
    ];
    let changed = rest.into_iter().filter(|(_, changed)| *changed);
    said.extend(changed.map(|(what, _)| what.to_owned()));
    said.join(", ")
}

fn first(now: &BuildSpec) -> String {
    let lines = now.dockerfile.lines().count();
    match (now.context_kind(), &now.git, &now.context) {
        (ContextKind::GitRepository, Some(git), _) => format!("from {}", git.url),
        (_, _, Some(context)) => format!("Dockerfile +{lines}, {} attached", files(context.files)),
        (_, _, None) => format!("Dockerfile +{lines}"),
    }
}

pub(super) fn files(count: u32) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} file{plural}")
}

fn kind(kind: ContextKind) -> &'static str {
    match kind {
        ContextKind::GitRepository => "git",
        ContextKind::LocalFolder | ContextKind::Unspecified => "folder",
    }
}

fn git(before: Option<&GitSource>, now: Option<&GitSource>) -> String {
    let (before, now) = (before.cloned().unwrap_or_default(), now.cloned().unwrap_or_default());
    if before.url != now.url {
        return format!("git {}", or_none(&now.url));
    }
    let named = |what: &str, text: &str| format!("git {what} {}", or_none(text));
    match (before.r#ref == now.r#ref, before.directory == now.directory) {
        (false, true) => named("ref", &now.r#ref),
        (true, false) => named("directory", &now.directory),
        _ => format!("{}, {}", named("ref", &now.r#ref), named("directory", &now.directory)),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Lines that came and went. A line that moved is neither: a real difference of two long texts takes too long.
fn lines(before: &str, now: &str) -> String {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for line in now.lines() {
        *counts.entry(line).or_default() += 1;
    }
    for line in before.lines() {
        *counts.entry(line).or_default() -= 1;
    }
    let (came, went) = counts.values().fold((0, 0), |(came, went), count| {
        (came + count.max(&0), went - count.min(&0))
    });
    if came == 0 && went == 0 {
        return "Dockerfile in another order".to_owned();
    }
    format!("Dockerfile +{came} -{went}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::editor::v1::UploadedContext;

    fn folder(dockerfile: &str) -> BuildSpec {
        BuildSpec {
            context_kind: ContextKind::LocalFolder.into(),
            dockerfile: dockerfile.to_owned(),
            ..BuildSpec::default()
        }
    }

    // covers R22
    #[test]
    fn a_save_says_what_it_changed() {
        let old = folder("FROM a\nRUN b\nRUN b\n");
        assert_eq!(changes(None, &old), "Dockerfile +3");
        assert_eq!(
            changes(Some(&old), &folder("FROM a\nRUN b\nRUN c\nRUN d\n")),
            "Dockerfile +2 -1"
        );
        assert_eq!(
            changes(Some(&old), &folder("RUN b\nFROM a\nRUN b\n")),
            "Dockerfile in another order"
        );
        let git = BuildSpec {
            context_kind: ContextKind::GitRepository.into(),
            git: Some(GitSource {
                url: "https://git.example/tool".to_owned(),
                ..GitSource::default()
            }),
            ..old.clone()
        };
        assert_eq!(
            changes(Some(&old), &git),
            "context from folder to git, git https://git.example/tool"
        );
        let mut branch = git.clone();
        branch.git.get_or_insert_default().r#ref = "main".to_owned();
        assert_eq!(changes(Some(&git), &branch), "git ref main");
        let with = |digest: &str| BuildSpec {
            context: Some(UploadedContext {
                digest: digest.to_owned(),
                files: 3,
                ..UploadedContext::default()
            }),
            target: "run".to_owned(),
            ..old.clone()
        };
        assert_eq!(changes(Some(&old), &with("x")), "3 files attached, target stage");
        assert_eq!(changes(Some(&with("x")), &with("y")), "other files (3)");
        assert_eq!(changes(Some(&with("x")), &old), "files taken away, target stage");
    }
}
