//! What of a commit becomes part of the context.

use std::collections::BTreeMap;

use super::*;

/// A repository without a server: trees as anybody could push them.
struct Fixture {
    repository: Repository,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            repository: Repository::init_bare(directory.path()).unwrap(),
            _directory: directory,
        }
    }

    fn blob(&self, content: &str) -> Oid {
        self.repository.blob(content.as_bytes()).unwrap()
    }

    /// Written raw: libgit2's own tree builder keeps to the rules that an attacker breaks.
    fn tree(&self, entries: &[(&str, &str, Oid)]) -> Oid {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        self.repository.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
    }

    fn commit(&self, tree: Oid) -> Oid {
        let time = git2::Time::new(1_700_000_000, 0);
        let author = git2::Signature::new("a", "a@example", &time).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        self.repository.commit(None, &author, &author, "x", &tree, &[]).unwrap()
    }

    fn export(&self, tree: Oid, directory: &str) -> Result<Export, GitRefused> {
        export(&self.repository, self.commit(tree), directory, &Limits::default())
    }

    /// Name -> what is worth knowing.
    fn archive(&self, export: &Export) -> BTreeMap<String, String> {
        let mut bytes = Vec::new();
        write(&self.repository, export, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
            let mut about = format!("{:o} ", entry.header().mode().unwrap());
            if let Some(target) = entry.link_name().unwrap() {
                about.push_str("-> ");
                about.push_str(&target.to_string_lossy());
            }
            io::Read::read_to_string(&mut entry, &mut about).unwrap();
            (entry.path().unwrap().display().to_string(), about)
        });
        entries.collect()
    }
}

fn lines(archive: &BTreeMap<String, String>) -> Vec<String> {
    archive.iter().map(|(path, about)| format!("{path} {about}")).collect()
}

#[test]
fn a_directory_becomes_the_root_of_the_context() {
    // covers R26, R36, R80
    let git = Fixture::new();
    let file = git.blob("x");
    let docs = git.tree(&[("100644", "keep.md", file), ("100644", "x.md", file)]);
    let app = git.tree(&[
        (
            "100644",
            ".dockerignore",
            git.blob("*.log\ndocs\n!docs/keep.md\nDockerfile\n"),
        ),
        ("100644", "Dockerfile", git.blob("FROM scratch")),
        ("100644", "a.log", file),
        ("40000", "docs", docs),
        ("120000", "link", git.blob("docs/keep.md")),
        ("100755", "run.sh", file),
        ("160000", "sub", git.blob("any")),
    ]);
    let root = git.tree(&[("100644", "Dockerfile", file), ("40000", "app", app)]);
    let export = git.export(root, "app").unwrap();
    assert_eq!(export.tree, app.to_string());
    assert_eq!(export.dockerfile, "FROM scratch");
    assert_eq!(export.notices, ["submodules are not fetched: 'sub' is left out"]);
    assert_eq!(
        lines(&git.archive(&export)),
        [
            ".dockerignore 644 *.log\ndocs\n!docs/keep.md\nDockerfile\n",
            "docs/ 755 ",
            "docs/keep.md 644 x",
            "link 777 -> docs/keep.md",
            "run.sh 755 x",
        ]
    );
}

#[test]
fn what_is_missing_is_named() {
    // covers R36
    let git = Fixture::new();
    let root = git.tree(&[("100644", "README", git.blob("x")), ("40000", "app", git.tree(&[]))]);
    let commit = git.commit(root);
    let refused = |directory| git.export(root, directory).err().unwrap().to_string();
    assert_eq!(
        refused("nope"),
        format!("the repository has no directory 'nope' at commit {commit}; correct it")
    );
    assert_eq!(
        refused("README"),
        format!("the repository has no directory 'README' at commit {commit}; correct it")
    );
    assert_eq!(
        refused("app"),
        format!(
            "there is no file 'app/Dockerfile' in the repository at commit {commit}; add it, or name the directory that has one"
        )
    );
    let linked = git.tree(&[("120000", "Dockerfile", git.blob("/etc/hostname"))]);
    assert_eq!(git.export(linked, "").err().unwrap().reason(), "GIT_NO_DOCKERFILE");
}

#[test]
fn a_dockerfile_is_no_larger_than_the_editor_takes_it() {
    // covers R26, R36
    let git = Fixture::new();
    let of = |bytes| git.tree(&[("100644", "Dockerfile", git.blob(&"#".repeat(bytes)))]);
    assert!(git.export(of(262_144), "").is_ok());
    let refused = git.export(of(262_145), "").err().unwrap();
    assert_eq!(
        (refused.reason(), refused.to_string().as_str()),
        (
            "DOCKERFILE_TOO_LARGE",
            "the Dockerfile has 262145 bytes, at most 262144 are allowed"
        )
    );
}

#[test]
fn nothing_leaves_the_context() {
    let git = Fixture::new();
    let file = git.blob("x");
    let refused = |entry: (&str, &str, Oid)| {
        let mut entries = [("100644", "Dockerfile", file), entry];
        entries.sort_by_key(|(_, name, _)| *name);
        git.export(git.tree(&entries), "").err().unwrap().reason().to_owned()
    };
    assert_eq!(refused(("120000", "l", git.blob("/etc"))), "CTX_LINK_ESCAPES");
    assert_eq!(refused(("120000", "l", git.blob("../x"))), "CTX_LINK_ESCAPES");
    let tree = git.tree(&[("100644", "config", file)]);
    for name in ["..", ".GIT", "a/b"] {
        assert_eq!(refused(("40000", name, tree)), "CTX_PATH_ESCAPES", "{name}");
    }
}

#[test]
fn trees_that_multiply_end_at_the_limit() {
    let git = Fixture::new();
    let mut tree = git.tree(&[("100644", "f", git.blob("x"))]);
    for _ in 0..12 {
        let names: Vec<String> = (0..10).map(|name| name.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|name| ("40000", name.as_str(), tree)).collect();
        tree = git.tree(&entries);
    }
    let root = git.tree(&[("100644", "Dockerfile", git.blob("x")), ("40000", "bomb", tree)]);
    let refused = git.export(root, "").err().unwrap();
    assert_eq!(refused.reason(), "CTX_TOO_LARGE");
}
