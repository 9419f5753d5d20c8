//! What a drop-down is told of a repository.

use super::*;
use git::{Offer, look};

// covers R35, R36
#[tokio::test]
async fn what_there_is_to_choose_from_is_listed() {
    let fetch = Fetch::new();
    let commit = fetch.git.commit(&[
        ("Dockerfile", "FROM scratch"),
        ("services/a/Dockerfile", "FROM scratch"),
        ("services/a/deep/er/Dockerfile", "FROM scratch"),
        ("services/b/README", ""),
        ("services/b/Dockerfile/not", "a file"),
    ]);
    fetch.git.git(&["tag", "--annotate", "--message=x", "v1"]);
    fetch.git.git(&["branch", "feature/x"]);
    let look = async |address: &str| git::look(fetch.request(address)).await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();

    let url = fetch.git.url();
    let offer: Offer = look(&url).await.unwrap();
    assert_eq!(
        (offer.source.url.as_str(), offer.default_branch.as_str()),
        (&*url, "main")
    );
    assert_eq!(offer.branches.names, names(&["feature/x", "main"]));
    assert_eq!(offer.tags.names, names(&["v1"]));
    assert_eq!(offer.commit, commit);
    assert_eq!(
        offer.directories.names,
        names(&["", "services/a", "services/a/deep/er"])
    );
    assert!(!offer.branches.has_more && !offer.directories.has_more && offer.notices.is_empty());

    let below = look(&format!("{url}#v1:services/a/deep")).await.unwrap();
    assert_eq!(below.directories.names, names(&["services/a/deep/er"]));
    let nowhere = look(&format!("{url}#:nowhere")).await.unwrap_err();
    assert_eq!(nowhere.reason(), "GIT_SUBDIR");
    let unknown = look(&format!("{url}#nope")).await.unwrap_err();
    assert_eq!(unknown.reason(), "GIT_REF");

    let mut request = fetch.request(&url);
    request.limits.context.entries = 4;
    let cut = git::look(request).await.unwrap();
    assert_eq!((cut.directories.names, cut.directories.has_more), (names(&[""]), true));
    for number in 0..500 {
        fetch.git.git(&["branch", &format!("b{number}")]);
    }
    let many = look(&url).await.unwrap().branches;
    assert_eq!((many.names.len(), many.has_more), (500, true));
    assert_eq!(fetch.leftovers(), 0);
}

#[tokio::test]
async fn of_a_repository_that_is_too_large_the_branches_are_listed() {
    let fetch = Fetch::new();
    fetch.git.commit(&[("Dockerfile", "FROM scratch"), ("noise", &noise())]);
    let mut request = fetch.request(&fetch.git.url());
    request.limits.repository_bytes = 100_000;
    let offer = look(request).await.unwrap();
    assert_eq!(offer.branches.names, ["main"]);
    assert_eq!((offer.commit.as_str(), offer.directories.names.len()), ("", 0));
    assert_eq!(
        offer.notices,
        ["the repository is larger than 100000 bytes: its directories are not listed"]
    );
}
