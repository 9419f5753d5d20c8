//! What a drop-down is told of a git repository, over the call and by the command.

use super::command::ends;
use proto::editor::v1::{CheckRepositoryRequest, GitCredential, GitSource};
use std::{fs, io::Write as _, path::Path, process::Stdio};
use tests::{
    Platform, Shape,
    git::{GitServer, TOKEN},
    reason,
};

const GIT: [(&str, &str); 2] = [
    ("COOPERAGE_BUILDER__GIT_HTTP", "true"),
    ("COOPERAGE_BUILDER__GIT_PRIVATE_HOSTS", "true"),
];

fn check(url: &str, token: &str) -> CheckRepositoryRequest {
    CheckRepositoryRequest {
        git: Some(GitSource {
            url: url.to_owned(),
            ..GitSource::default()
        }),
        credential: Some(GitCredential {
            token: token.to_owned(),
            ..GitCredential::default()
        }),
    }
}

/// Whether a text stands in a file below a folder.
fn holds(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.into_iter().any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => holds(&entry.path(), text),
        kind if kind.is_file() => {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        }
        _ => false,
    })
}

// covers R26, R35, R36
#[tokio::test]
async fn a_repository_is_checked_by_any_user_and_its_token_is_kept_nowhere() {
    for shape in [Shape::One, Shape::Many] {
        let platform = Platform::with(shape, &GIT).await.unwrap();
        let ada = platform.user("ada").unwrap();
        let server = GitServer::start();
        let commit = server.commit(&[("app/Dockerfile", "FROM scratch"), ("README", "")]);
        let found = ada.editor().check_repository(check(&server.private_url(), TOKEN)).await;
        let found = found.unwrap().into_inner();
        assert_eq!((found.default_branch.as_str(), &found.commit), ("main", &commit));
        assert_eq!(
            (found.directories, found.branches),
            (vec!["app".to_owned()], vec!["main".to_owned()])
        );

        let wrong = ada
            .editor()
            .check_repository(check(&server.private_url(), "ghp_wrong"))
            .await;
        assert_eq!(reason(&wrong.unwrap_err()), "GIT_LOGIN");
        let none = ada.editor().check_repository(check(&server.private_url(), "")).await;
        assert_eq!(reason(&none.unwrap_err()), "GIT_NOT_FOUND");
        let elsewhere = ada.editor().check_repository(check("file:///etc", "")).await;
        assert_eq!(reason(&elsewhere.unwrap_err()), "GIT_URL_SCHEME");
        assert!(!holds(&platform.data(), TOKEN) && !holds(&platform.data(), "ghp_wrong"));
    }
}

#[tokio::test]
async fn the_command_takes_the_token_from_stdin_and_nobody_asks_too_often() {
    let platform = Platform::with(Shape::One, &GIT).await.unwrap();
    let server = GitServer::start();
    server.commit(&[("app/Dockerfile", "FROM scratch"), ("web/Dockerfile", "FROM scratch")]);
    let url = server.private_url();
    let ask = |token: &str, words: &[&str]| {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(format!("{token}\n").as_bytes()).unwrap();
        drop(write);
        let mut command = platform.cooper("ada").unwrap();
        command
            .args(["image", "check-git", &url, "--git-token-stdin"])
            .args(words);
        ends(command.stdin(Stdio::from(read)))
    };
    let (code, told, said) = ask(TOKEN, &[]);
    assert_eq!(code, 0, "{said}");
    for expected in [&*url, "default branch      main", "with a Dockerfile   app", "web"] {
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(ask(TOKEN, &["-q", "--dir", "web"]).1, "web\n");
    let (code, _, said) = ask("ghp_wrong", &[]);
    assert_eq!((code, said.contains("refused the token")), (75, true), "{said}");
    assert!(!said.contains("ghp_wrong"));

    let ada = platform.user("ada").unwrap();
    let mut told = Vec::new();
    for _ in 0..20 {
        let answer = ada.editor().check_repository(check("file:///etc", "")).await;
        told.push(reason(&answer.unwrap_err()));
    }
    assert_eq!(told.first().unwrap(), "GIT_URL_SCHEME");
    assert_eq!(told.last().unwrap(), "TOO_MANY_CHECKS");
    let bob = platform.user("bob").unwrap();
    let other = bob.editor().check_repository(check("file:///etc", "")).await;
    assert_eq!(reason(&other.unwrap_err()), "GIT_URL_SCHEME");
}
