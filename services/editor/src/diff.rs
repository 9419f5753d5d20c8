//! What changed from one spec to another.

use proto::editor::v1::{BuildSpec, FieldChange};
use similar::TextDiff;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Where two texts have nothing in common, the best answer is not worth more.
const SEARCH: Duration = Duration::from_millis(200);
const CONTEXT: usize = 3;

/// Unified, without file names; empty where nothing differs.
pub(crate) fn unified(before: &str, after: &str) -> String {
    let diff = TextDiff::configure().timeout(SEARCH).diff_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT).to_string()
}

/// Everything but the Dockerfile that differs.
pub(crate) fn changes(before: &BuildSpec, after: &BuildSpec) -> Vec<FieldChange> {
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|field| before.get(*field) != after.get(*field));
    changed
        .map(|field| FieldChange {
            field: field.clone(),
            before: before.get(field).cloned().unwrap_or_default(),
            after: after.get(field).cloned().unwrap_or_default(),
        })
        .collect()
}

/// Everything that differs, by its name alone.
pub(crate) fn names(before: &BuildSpec, after: &BuildSpec) -> Vec<String> {
    let dockerfile = (before.dockerfile != after.dockerfile).then(|| "dockerfile".to_owned());
    let rest = changes(before, after).into_iter().map(|change| change.field);
    dockerfile.into_iter().chain(rest).collect()
}

fn fields(spec: &BuildSpec) -> BTreeMap<String, String> {
    let git = spec.git.clone().unwrap_or_default();
    let files = spec.context.clone().unwrap_or_default().digest;
    let single = [
        ("context_kind", spec.context_kind().as_str_name().to_owned()),
        ("git.url", git.url),
        ("git.ref", git.r#ref),
        ("git.directory", git.directory),
        ("context.digest", files),
        ("target", spec.target.clone()),
        ("platforms", spec.platforms.join(", ")),
    ];
    let single = single.into_iter().map(|(field, value)| (field.to_owned(), value));
    let named = |of: &'static str, pairs: &BTreeMap<String, String>| {
        let pairs = pairs.clone().into_iter();
        // An argument without a value is one; as a field it is told from none by its quotes.
        pairs.map(move |(name, value)| {
            (
                format!("{of}.{name}"),
                if value.is_empty() { "\"\"".to_owned() } else { value },
            )
        })
    };
    let pairs = named("build_args", &spec.build_args).chain(named("labels", &spec.labels));
    single.filter(|(_, value)| !value.is_empty()).chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::editor::v1::{ContextKind, GitSource};

    // covers R28
    #[test]
    fn a_difference_is_told_as_diff_does() {
        let told = unified("FROM old\nRUN x\n", "FROM new\nRUN x");
        assert_eq!(
            told,
            "@@ -1,2 +1,2 @@\n-FROM old\n-RUN x\n+FROM new\n+RUN x\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("same\n", "same\n"), "");
        let far = |line: &str| format!("{line}\n{}end\n", "same\n".repeat(20));
        assert_eq!(
            unified(&far("a"), &far("b")),
            "@@ -1,4 +1,4 @@\n-a\n+b\n same\n same\n same\n"
        );
    }

    // covers R24, R28
    #[test]
    fn every_setting_is_a_field_that_can_change() {
        let before = BuildSpec {
            context_kind: ContextKind::LocalFolder.into(),
            dockerfile: "FROM a\n".to_owned(),
            build_args: [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "1".to_owned())].into(),
            target: "one".to_owned(),
            ..BuildSpec::default()
        };
        let after = BuildSpec {
            context_kind: ContextKind::GitRepository.into(),
            git: Some(GitSource {
                url: "https://example.org/a".to_owned(),
                ..GitSource::default()
            }),
            build_args: [("A".to_owned(), "2".to_owned()), ("C".to_owned(), String::new())].into(),
            platforms: vec!["linux/arm64".to_owned()],
            labels: [("l".to_owned(), "x".to_owned())].into(),
            ..BuildSpec::default()
        };
        let told: Vec<String> = changes(&before, &after)
            .into_iter()
            .map(|change| format!("{}: {} -> {}", change.field, change.before, change.after))
            .collect();
        assert_eq!(
            told,
            [
                "build_args.A: 1 -> 2",
                "build_args.B: 1 -> ",
                "build_args.C:  -> \"\"",
                "context_kind: CONTEXT_KIND_LOCAL_FOLDER -> CONTEXT_KIND_GIT_REPOSITORY",
                "git.url:  -> https://example.org/a",
                "labels.l:  -> x",
                "platforms:  -> linux/arm64",
                "target: one -> ",
            ]
        );
        assert_eq!(names(&before, &after).first().map(String::as_str), Some("dockerfile"));
        assert_eq!(changes(&before, &before), []);
    }
}
