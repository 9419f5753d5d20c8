//! Private repositories: whom they open to, and where the secrets go.

use super::*;
use git::Credential;

fn token(token: &str) -> Option<Credential> {
    Credential::given(String::new(), token.to_owned(), String::new(), String::new())
}

// covers R35
#[tokio::test]
async fn a_private_repository_is_read_with_its_token_only() {
    let fetch = Fetch::new();
    let commit = fetch.git.commit(&[("Dockerfile", "FROM scratch")]);
    let request = |credential| GitRequest {
        credential,
        ..fetch.request(&fetch.git.private_url())
    };
    let context = git::fetch(request(token(TOKEN))).await.unwrap();
    assert_eq!(context.commit, commit);
    assert_eq!(context.dockerfile, "FROM scratch");

    let before = fetch.git.private_visits();
    let wrong = git::fetch(request(token("ghp_wrong"))).await.err().unwrap();
    assert_eq!(
        wrong.to_string(),
        "the git host 127.0.0.1 refused the token; give one that may read the repository"
    );
    assert_eq!(wrong.reason(), "GIT_LOGIN");
    assert_eq!(fetch.git.private_visits() - before, 1, "it is not tried again");

    let none = git::fetch(request(None)).await.err().unwrap();
    assert_eq!(none.reason(), "GIT_NOT_FOUND");
    assert!(
        none.to_string().ends_with("give a token with --git-token-stdin"),
        "{none}"
    );
    let missing = GitRequest {
        credential: token(TOKEN),
        ..fetch.request(&format!("{}-missing", fetch.git.private_url()))
    };
    let missing = git::fetch(missing).await.err().unwrap();
    assert!(
        missing.to_string().contains("that the given token may read"),
        "{missing}"
    );
    assert!(!format!("{:?}", request(token(TOKEN))).contains(TOKEN));
}

#[tokio::test]
async fn a_redirect_within_the_host_is_followed_with_the_token_and_no_other() {
    let fetch = Fetch::new();
    let commit = fetch.git.commit(&[("Dockerfile", "FROM scratch")]);
    let request = |address: &str| GitRequest {
        credential: token(TOKEN),
        ..fetch.request(address)
    };
    let moved = fetch.git.moved_url().replace("/moved/", "/moved/private/");
    assert_eq!(git::fetch(request(&moved)).await.unwrap().commit, commit);

    let before = fetch.git.private_visits();
    let elsewhere = fetch
        .git
        .redirecting_url()
        .replace("/elsewhere/", "/elsewhere/private/");
    let refused = git::fetch(request(&elsewhere)).await.err().unwrap();
    assert_eq!(refused.reason(), "GIT_REDIRECT");
    assert_eq!(fetch.git.private_visits(), before);
}
