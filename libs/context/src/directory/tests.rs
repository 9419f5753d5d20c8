//! What of a directory is uploaded.

use std::os::unix::{fs::PermissionsExt, fs::symlink, net::UnixListener};

use super::*;
use crate::{Limits, canonicalize};

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

fn packed(root: &tempfile::TempDir) -> Vec<u8> {
    let mut archive = Vec::new();
    tar_directory(root.path().to_path_buf(), &mut archive).unwrap();
    archive
}

#[test]
fn a_directory_is_sorted_and_what_is_ignored_stays_out() {
    // covers R80
    let root = directory(&[
        ("b", ""),
        ("a/z", "12"),
        ("a/y", "1"),
        ("node_modules/m", ""),
        ("docs/x.md", ""),
        ("docs/deep/README.md", ""),
        ("Dockerfile", "FROM scratch"),
        (
            ".dockerignore",
            "node_modules\ndocs\n!docs/deep/README.md\nDockerfile\n",
        ),
    ]);
    let expected = [
        ".dockerignore",
        "Dockerfile",
        "a/",
        "a/y",
        "a/z",
        "b",
        "docs/",
        "docs/deep/",
        "docs/deep/README.md",
    ];
    assert_eq!(names(&packed(&root)), expected);
}

#[test]
fn an_upload_of_a_directory_passes_the_check_unchanged_but_for_the_dockerfile() {
    // covers R25, R80
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let root = directory(&[
        ("Dockerfile", "FROM x"),
        ("run.sh", "#!"),
        (&long, "1"),
        (".dockerignore", "*.log"),
        ("x.log", ""),
    ]);
    fs::set_permissions(root.path().join("run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("run.sh", root.path().join("link")).unwrap();
    let archive = packed(&root);
    let (mut once, mut again) = (Vec::new(), Vec::new());
    let summary = canonicalize(&archive[..], &mut once, &Limits::default())
        .unwrap()
        .summary;
    assert_eq!((summary.files, summary.bytes), (4, 2 + 1 + 5));
    once.extend_from_slice(&[0; 1024]);
    canonicalize(&once[..], &mut again, &Limits::default()).unwrap();
    assert_eq!(once[..once.len() - 1024], again[..]);

    let mut archive = tar::Archive::new(&once[..]);
    let script = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().ends_with("run.sh"))
        .unwrap();
    assert_eq!(script.header().mode().unwrap(), 0o755);
    let modified = fs::metadata(root.path().join("run.sh")).unwrap().mtime();
    assert_eq!(script.header().mtime().unwrap(), u64::try_from(modified).unwrap());
}

#[test]
fn what_cannot_be_sent_is_named_or_left_out() {
    let root = directory(&[("a", "")]);
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    assert_eq!(names(&packed(&root)), ["a"]);

    symlink("/etc/passwd", root.path().join("out")).unwrap();
    let error = tar_directory(root.path().to_path_buf(), io::sink()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the link 'out' leads to '/etc/passwd', outside of the context; name it in .dockerignore or link inside"
    );
    let error = tar_directory(root.path().join("a"), io::sink()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not a directory; name the one that holds the files")
    );
}
