//! The rules of the house, read off the tree: who depends on whom, what is pure, what a service looks like.

mod coverage;
mod files;

use files::{Source, folders, manifest, root, sources};
use std::{collections::BTreeSet, path::Path, process::Command};

const SERVICES: [&str; 5] = ["builder", "catalog", "editor", "notifier", "registry-pusher"];
/// What each crate may build on, of ours. The command and the tests may use everything.
const LIBS: [(&str, &[&str]); 11] = [
    ("ids", &[]),
    ("aggregate", &[]),
    ("context", &[]),
    ("dockerfile", &[]),
    ("git", &["context"]),
    ("transparency", &[]),
    ("proto", &["aggregate", "ids"]),
    ("eventlog", &["aggregate"]),
    ("access", &["eventlog", "ids", "proto"]),
    ("service", &["access", "aggregate", "eventlog", "ids", "proto"]),
    (
        "services",
        &[
            "access",
            "aggregate",
            "context",
            "dockerfile",
            "eventlog",
            "git",
            "ids",
            "proto",
            "service",
            "transparency",
        ],
    ),
];
const LINES_MAX: usize = 400;

/// Fails with every line at once, so that one run shows all.
#[track_caller]
fn assert_tidy(rule: &str, found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

fn production() -> impl Iterator<Item = Source> {
    sources()
        .into_iter()
        .filter(|source| !source.path.starts_with("tests/"))
}

fn crate_of(path: &str) -> &str {
    let mut parts = path.split('/');
    match parts.next() {
        Some("libs" | "services") => parts.next().unwrap_or_default(),
        Some(first) => first,
        None => "",
    }
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let ours: BTreeSet<String> = LIBS
        .iter()
        .map(|(name, _)| *name)
        .chain(SERVICES)
        .map(str::to_owned)
        .collect();
    let mut wrong = Vec::new();
    for path in folders() {
        let name = crate_of(&path).to_owned();
        if name == "cooper" || name == "tests" {
            continue;
        }
        let key = if path.starts_with("services/") {
            "services"
        } else {
            name.as_str()
        };
        let Some((_, allowed)) = LIBS.iter().find(|(name, _)| *name == key) else {
            wrong.push(format!("{path} is not in the table of this test"));
            continue;
        };
        for dependency in manifest(&path).dependencies {
            if ours.contains(&dependency) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{path} must not depend on {dependency}"));
            }
        }
    }
    assert_tidy("who may depend on whom", wrong);
}

#[test]
fn domains_are_pure() {
    const MAY_USE: [&str; 7] = ["aggregate", "ids", "proto", "std", "super", "self", "sha2"];
    const IMPURE: [&str; 12] = [
        "async fn",
        ".await",
        "SystemTime",
        "Instant::",
        "rand::",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "tokio::",
        "tracing::",
    ];
    let mut wrong = Vec::new();
    for source in production().filter(|source| source.is_domain() && !source.is_test) {
        for (number, line) in source.production_lines() {
            let used = line
                .trim_start()
                .strip_prefix("use ")
                .and_then(|used| used.split([':', ';']).next());
            // `crate::domain` is the domain itself.
            let is_own = line.trim_start().starts_with("use crate::domain");
            if used.is_some_and(|used| !MAY_USE.contains(&used) && !is_own)
                || IMPURE.iter().any(|impure| line.contains(impure))
            {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_tidy(
        "a domain imports only aggregate, ids and proto, and does nothing",
        wrong,
    );
}

/// A word that stands for the outside, and where it may stand.
const ADAPTERS: [(&str, &[&str]); 4] = [
    ("async_nats", &["libs/eventlog/"]),
    (
        "bollard",
        &[
            "services/builder/src/docker",
            "services/builder/src/progress",
            "services/registry-pusher/src/docker",
            "services/cooper/",
        ],
    ),
    ("git2", &["libs/git/"]),
    ("oci_client", &["services/registry-pusher/src/registry"]),
];

#[test]
fn only_adapters_talk_to_the_outside() {
    let mut wrong = Vec::new();
    for source in production().filter(|source| !source.is_test) {
        for (number, line) in source.production_lines() {
            for (outside, places) in ADAPTERS {
                let named = line.contains(&format!("{outside}::")) || line.contains(&format!("use {outside}"));
                if named && !places.iter().any(|place| source.path.starts_with(place)) {
                    wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_tidy("only adapters talk to the outside", wrong);
}

#[test]
fn one_file_turns_refusals_into_statuses() {
    const WHERE: &str = "libs/service/src/status.rs";
    let mut wrong = Vec::new();
    for source in production().filter(|source| !source.is_test) {
        let declares = source.path == "libs/aggregate/src/lib.rs" || source.is_domain();
        let of_the_command = source.path.starts_with("services/cooper/");
        for (number, line) in source.production_lines() {
            let reads_a_kind = line.contains("RefusalKind::") && !declares;
            let makes_a_status = [
                "Status::new(",
                "Status::with_",
                "Status::not_found(",
                "Status::internal(",
            ]
            .iter()
            .any(|made| line.contains(made))
                && !of_the_command;
            if (reads_a_kind || makes_a_status) && source.path != WHERE {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_tidy("only libs/service/src/status.rs turns refusals into statuses", wrong);
}

#[test]
fn every_service_has_the_same_files() {
    /// It writes no stream of its own in this slice.
    const WITHOUT: [(&str, &str); 1] = [("notifier", "domain.rs")];
    let mut wrong = Vec::new();
    for service in SERVICES {
        let folder = root().join(format!("services/{service}/src"));
        for file in ["lib.rs", "main.rs", "domain.rs", "api.rs", "view.rs"] {
            let expected = !WITHOUT.contains(&(service, file));
            if folder.join(file).exists() != expected {
                let verb = if expected { "lacks" } else { "has by now" };
                wrong.push(format!("{service} {verb} src/{file}"));
            }
        }
        let library = std::fs::read_to_string(folder.join("lib.rs")).unwrap();
        for item in ["pub const SERVICE: Service = Service {", "pub fn start("] {
            if !library.contains(item) {
                wrong.push(format!("{service}: src/lib.rs has no `{item}`"));
            }
        }
    }
    for name in std::fs::read_dir(root().join("services")).unwrap() {
        let name = name.unwrap().file_name().to_string_lossy().into_owned();
        if name != "cooper" && !SERVICES.contains(&name.as_str()) {
            wrong.push(format!("{name} is not in the table of this test"));
        }
    }
    assert_tidy("one shape for all services", wrong);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines >= LINES_MAX {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{}: does not open with a `//!` sentence", source.path));
        }
    }
    assert_tidy("less than 400 lines, and a sentence on top", wrong);
}

#[test]
fn nothing_is_called_after_nothing() {
    const FORBIDDEN: [&str; 9] = [
        "common", "utils", "util", "core", "shared", "models", "types", "helpers", "misc",
    ];
    let crates = folders().into_iter();
    let modules = sources().into_iter().map(|source| source.path);
    let named = crates.chain(modules).filter(|path| {
        let mut names = path.split('/').map(|name| name.trim_end_matches(".rs"));
        names.any(|name| FORBIDDEN.contains(&name))
    });
    assert_tidy("a name says what is inside", named);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let without = folders().into_iter().filter(|path| !manifest(path).has_lints);
    assert_tidy("[lints] workspace = true", without);
}

#[test]
fn no_crate_has_features_or_an_own_version_of_what_others_use() {
    let mut wrong = Vec::new();
    for path in folders() {
        let manifest = manifest(&path);
        if manifest.has_features {
            wrong.push(format!("{path} has feature flags"));
        }
        wrong.extend(manifest.own_versions.into_iter().map(|line| format!("{path}: {line}")));
    }
    assert_tidy("versions stand in the workspace", wrong);
}

#[test]
fn generated_code_is_not_committed() {
    let listed = Command::new("git")
        .arg("ls-files")
        .current_dir(root())
        .output()
        .unwrap();
    let committed = String::from_utf8(listed.stdout).unwrap();
    let marks = [
        concat!("@gen", "erated"),
        "This file is generated by",
        "automatically generated by",
    ];
    let generated = committed
        .lines()
        .filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| {
            let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            text.lines()
                .take(5)
                .any(|line| marks.iter().any(|mark| line.contains(mark)))
        });
    assert_tidy("generated code is made by the build", generated.map(str::to_owned));
}

#[test]
fn the_readme_has_every_folder_on_its_map() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let top = ["deploy", "docs"].map(str::to_owned);
    let missing = folders().into_iter().chain(top).filter(|path| {
        let plain = path.trim_end_matches('/');
        !readme.contains(&format!("`{plain}`")) && !readme.contains(&format!("`{plain}/`"))
    });
    assert_tidy("the map in README.md lacks", missing);
}
