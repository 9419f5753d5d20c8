//! Contexts from a real repository over http, and from hosts that misbehave.

mod login;
mod offer;
mod ssh;

use std::{collections::BTreeMap, env, os::unix::fs::symlink, time::Instant};

use git::{Allowed, GitContext, GitLimits, GitRefused, GitRequest, fetch, normalize};
use tokio::io::AsyncReadExt;

use super::*;

/// The builder's own program, which cargo puts beside the folder of the tests.
fn program() -> PathBuf {
    let tests = env::current_exe().expect("a program");
    let program = tests.ancestors().nth(2).expect("cargo's target folder").join("builder");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p builder",
        program.display()
    );
    program
}

struct Fetch {
    git: GitServer,
    work: TempDir,
}

impl Fetch {
    fn new() -> Self {
        Self {
            git: GitServer::start(),
            work: tempfile::tempdir().unwrap(),
        }
    }

    fn request(&self, address: &str) -> GitRequest {
        let allowed = Allowed {
            http: true,
            private_hosts: true,
            ..Allowed::default()
        };
        GitRequest {
            source: normalize(address, "", "", &allowed).unwrap(),
            allowed,
            credential: None,
            limits: GitLimits::default(),
            work_dir: self.work.path().to_path_buf(),
            program: Some(program()),
        }
    }

    async fn fetch(&self, reference: &str) -> Result<GitContext, GitRefused> {
        fetch(self.request(&format!("{}{reference}", self.git.url()))).await
    }

    /// What a directory at a ref holds: name -> content.
    async fn files(&self, reference: &str) -> (String, BTreeMap<String, String>) {
        let context = self.fetch(reference).await.unwrap();
        (context.commit.clone(), files(context).await)
    }

    async fn refused(&self, reference: &str) -> String {
        self.fetch(reference).await.err().unwrap().to_string()
    }

    fn leftovers(&self) -> usize {
        fs::read_dir(self.work.path()).unwrap().count()
    }
}

async fn files(mut context: GitContext) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    context.tar.read_to_end(&mut bytes).await.unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        io::Read::read_to_string(&mut entry, &mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

#[tokio::test]
async fn a_ref_is_a_branch_a_tag_or_a_commit_and_the_default_is_the_remotes_head() {
    // covers R26, R35
    let fetch = Fetch::new();
    let first = fetch.git.commit(&[("Dockerfile", "FROM scratch"), ("f", "1")]);
    fetch.git.git(&["tag", "--annotate", "--message=x", "v1"]);
    let second = fetch.git.commit(&[("f", "2")]);
    let third = fetch.git.commit(&[("f", "3")]);
    fetch.git.git(&["checkout", "--quiet", "-b", "feature/x"]);
    let branch = fetch.git.commit(&[("f", "branch")]);
    fetch.git.git(&["checkout", "--quiet", "main"]);

    let by_commit = format!("#{second}");
    let cases = [
        ("", &third, "3"),
        ("#main", &third, "3"),
        ("#v1", &first, "1"),
        ("#feature/x", &branch, "branch"),
        ("#refs/heads/feature/x", &branch, "branch"),
        // no ref leads to it, and this host does not give it by its id alone
        (&by_commit, &second, "2"),
    ];
    for (reference, commit, content) in cases {
        let (fetched, files) = fetch.files(reference).await;
        assert_eq!(&fetched, commit, "{reference}");
        assert_eq!(files["f"], content, "{reference}");
    }
    assert_eq!(fetch.leftovers(), 0);
}

#[tokio::test]
async fn the_directory_is_the_root_of_the_context() {
    // covers R36, R80
    let fetch = Fetch::new();
    fs::create_dir_all(fetch.git.repository().join("docker/app")).unwrap();
    symlink("f", fetch.git.repository().join("docker/app/link")).unwrap();
    let files = [
        ("README", "x"),
        ("docker/app/Dockerfile", "FROM scratch"),
        ("docker/app/f", "1"),
        ("docker/app/x.log", ""),
        ("docker/app/.dockerignore", "*.log"),
    ];
    fetch.git.commit(&files);
    let (_, files) = fetch.files("#:docker/app").await;
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        [".dockerignore", "f", "link"],
        "the Dockerfile is apart"
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    // covers R35, R36
    let fetch = Fetch::new();
    let url = fetch.git.url();
    assert_eq!(
        fetch.refused("").await,
        format!("the repository {url} is empty; push a commit first")
    );
    let commit = fetch.git.commit(&[("app/f", "x")]);
    assert_eq!(
        fetch.refused("#nope").await,
        format!("the repository {url} has no branch, tag or full commit id 'nope'; correct it")
    );
    let unknown = "0123456789".repeat(4);
    assert_eq!(
        fetch.refused(&format!("#{unknown}")).await,
        format!("the repository {url} has no branch, tag or full commit id '{unknown}'; correct it")
    );
    assert_eq!(
        fetch.refused("#main:nope").await,
        format!("the repository has no directory 'nope' at commit {commit}; correct it")
    );
    assert_eq!(
        fetch.refused("#main:app").await,
        format!(
            "there is no file 'app/Dockerfile' in the repository at commit {commit}; add it, or name the directory that has one"
        )
    );
    let missing = format!("{}-missing", fetch.git.url());
    assert_eq!(
        fetch.refused("-missing").await,
        format!(
            "there is no repository at {missing}, or it wants a login; correct the address, or give a token with --git-token-stdin"
        )
    );
    assert_eq!(fetch.leftovers(), 0);
}

#[tokio::test]
async fn a_host_that_misbehaves_is_told_apart() {
    let fetch = Fetch::new();
    fetch.git.commit(&[("Dockerfile", "FROM scratch")]);
    let refused = async |address: &str| git::fetch(fetch.request(address)).await.err().unwrap();

    let page = refused(&fetch.git.page_url()).await;
    assert_eq!(page.reason(), "GIT_NOT_FOUND");
    assert!(page.to_string().contains("is no git server"), "{page}");
    let redirected = refused(&fetch.git.redirecting_url()).await;
    assert_eq!(
        redirected.to_string(),
        format!(
            "the git host 127.0.0.1 leads elsewhere, to {}; write the address that is meant",
            fetch.git.url().replace("127.0.0.1", "localhost")
        )
    );
    let closed = refused("http://127.0.0.1:1/r").await;
    assert_eq!(
        closed.to_string(),
        "could not reach the git host 127.0.0.1: connection refused"
    );
    let unknown = refused("http://nothing.invalid/r").await;
    assert_eq!(
        unknown.to_string(),
        "could not reach the git host nothing.invalid: the name is not known"
    );
}

#[tokio::test]
async fn a_host_that_takes_its_time_is_left_at_the_deadline() {
    let fetch = Fetch::new();
    for address in [fetch.git.silent_url(), fetch.git.dripping_url()] {
        let mut request = fetch.request(&address);
        request.limits.deadline = Duration::from_secs(1);
        let began = Instant::now();
        let refused = git::fetch(request).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            "the git host 127.0.0.1 did not send the repository within 1 seconds; try again"
        );
        assert!(began.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(fetch.leftovers(), 0);
}

#[tokio::test]
async fn only_https_and_public_addresses_unless_configured() {
    let fetch = Fetch::new();
    let mut request = fetch.request(&fetch.git.url());
    request.allowed.http = false;
    let refused = git::fetch(request).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "'http' is not allowed for repositories; write an https address"
    );
    let mut request = fetch.request(&fetch.git.url());
    request.allowed.private_hosts = false;
    let refused = git::fetch(request).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the git host 127.0.0.1 has no public address; name one that is reachable from everywhere"
    );
}

/// Does not compress.
fn noise() -> String {
    let numbers: Vec<u64> = (0..200_000)
        .map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    format!("{numbers:x?}")
}

#[tokio::test]
async fn what_is_too_large_stops_at_the_limit() {
    let fetch = Fetch::new();
    fetch.git.commit(&[("Dockerfile", "FROM scratch"), ("noise", &noise())]);
    let mut request = fetch.request(&fetch.git.url());
    request.limits.repository_bytes = 100_000;
    let refused = git::fetch(request).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the repository is larger than 100000 bytes, and the download was stopped there; use a smaller one"
    );
    let mut request = fetch.request(&fetch.git.url());
    request.limits.context.bytes = 1000;
    let refused = git::fetch(request).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the context has more than 1000 bytes; name what the build does not need in .dockerignore"
    );
}

/// The limits of our children, as the kernel has them.
fn limits_of_children() -> Vec<String> {
    let ours = format!("PPid:\t{}\n", std::process::id());
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let children = processes.filter(|process| {
        let of_us = fs::read_to_string(process.join("status")).is_ok_and(|status| status.contains(&ours));
        of_us && fs::read_to_string(process.join("cmdline")).is_ok_and(|line| line.contains("__git-context"))
    });
    children
        .filter_map(|child| fs::read_to_string(child.join("limits")).ok())
        .collect()
}

#[tokio::test]
async fn the_child_gets_no_more_of_the_machine_than_a_repository_may_need() {
    let fetch = Fetch::new();
    // More than a pipe takes, so that the child is still there.
    let large = "x".repeat(8 << 20);
    fetch.git.commit(&[("Dockerfile", "FROM scratch"), ("f", &large)]);
    let context = fetch.fetch("").await.unwrap();
    let limits = limits_of_children().pop().unwrap();
    let soft = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(soft("Max core file size"), 0);
    assert_eq!(soft("Max cpu time"), 120 + 300);
    assert_eq!(soft("Max file size"), (2 << 30) + (64 << 20));
    assert_eq!(soft("Max address space"), 12 << 30);
    assert_eq!(files(context).await["f"], large);
}

#[tokio::test]
async fn a_dropped_context_leaves_nothing_behind() {
    let fetch = Fetch::new();
    let large = "x".repeat(8 << 20);
    fetch.git.commit(&[("Dockerfile", "FROM scratch"), ("large", &large)]);
    let mut context = fetch.fetch("").await.unwrap();
    // the child is in the middle of the archive
    let mut begin = [0; 512];
    context.tar.read_exact(&mut begin).await.unwrap();
    assert_eq!(fetch.leftovers(), 1);
    drop(context);
    assert_eq!(fetch.leftovers(), 0);
}
