//! The tree as the rules see it: crates, their manifests, their sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) struct Source {
    /// From the root on.
    pub(super) path: String,
    pub(super) text: String,
    /// Compiled for tests only.
    pub(super) is_test: bool,
}

impl Source {
    pub(super) fn is_domain(&self) -> bool {
        self.path.starts_with("services/")
            && (self.path.contains("/src/domain/") || self.path.ends_with("/src/domain.rs"))
    }

    /// With their numbers, up to the unit tests, and without comments.
    pub(super) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let before_tests = numbered.take_while(|(_, line)| *line != "#[cfg(test)]" || self.is_test);
        before_tests.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

pub(super) struct Manifest {
    pub(super) dependencies: Vec<String>,
    pub(super) has_lints: bool,
    pub(super) has_features: bool,
    pub(super) own_versions: Vec<String>,
}

/// Every crate, as a path from the root.
pub(super) fn folders() -> Vec<String> {
    let mut folders = vec!["proto".to_owned(), "tests".to_owned()];
    for parent in ["libs", "services"] {
        for entry in fs::read_dir(root().join(parent)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            folders.push(format!("{parent}/{name}"));
        }
    }
    folders.sort();
    folders
}

pub(super) fn manifest(folder: &str) -> Manifest {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let (mut section, mut dependencies, mut own_versions) = (String::new(), Vec::new(), Vec::new());
    let (mut has_lints, mut has_features) = (false, false);
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line.starts_with('[') {
            line.clone_into(&mut section);
            has_features |= section == "[features]";
            continue;
        }
        has_lints |= section == "[lints]" && line == "workspace = true";
        if section.ends_with("dependencies]") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section == "[dependencies]" {
                dependencies.push(name.to_owned());
            }
            if !line.contains("workspace = true") {
                own_versions.push(line.to_owned());
            }
        }
    }
    Manifest {
        dependencies,
        has_lints,
        has_features,
        own_versions,
    }
}

pub(super) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders() {
        collect(&root().join(folder), &mut paths);
    }
    let of_tests: BTreeSet<PathBuf> = paths.iter().flat_map(|path| modules_for_tests(path)).collect();
    let mut sources: Vec<Source> = paths
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            is_test: path.ancestors().any(|part| of_tests.contains(&part.with_extension(""))),
            path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
        })
        .collect();
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a file declares for tests, without extension.
fn modules_for_tests(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).unwrap();
    let is_root = path
        .file_stem()
        .is_some_and(|stem| stem == "lib" || stem == "main" || stem == "mod");
    let folder = if is_root {
        path.with_file_name("")
    } else {
        path.with_extension("")
    };
    let mut declared = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            continue;
        }
        let module = lines.next().and_then(|line| line.strip_prefix("mod "));
        if let Some(name) = module.and_then(|module| module.strip_suffix(';')) {
            declared.push(folder.join(name));
        }
    }
    declared
}
