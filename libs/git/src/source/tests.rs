//! Which addresses are understood, and which are refused.

use super::*;
use std::path::PathBuf;

fn source(address: &str) -> String {
    read(address, &Allowed::default())
}

fn read(address: &str, allowed: &Allowed) -> String {
    match normalize(address, "", "", allowed) {
        Ok(source) => format!("{} | {} | {}", source.url, source.reference, source.directory),
        Err(refused) => refused.reason().to_owned(),
    }
}

#[test]
fn addresses_are_understood_as_docker_and_forges_write_them() {
    // covers R35, R36
    let cases = [
        ("https://git.example/o/r.git", "https://git.example/o/r.git |  | "),
        (" https://git.example/o/r/ ", "https://git.example/o/r |  | "),
        ("https://git.example/o/r#main", "https://git.example/o/r | main | "),
        (
            "https://git.example/o/r#main:docker/app",
            "https://git.example/o/r | main | docker/app",
        ),
        (
            "https://git.example/o/r#:./docker/",
            "https://git.example/o/r |  | docker",
        ),
        (
            "https://git.example/o/r#feature/x:d",
            "https://git.example/o/r | feature/x | d",
        ),
        ("https://git.example/o/r/tree/main", "https://git.example/o/r | main | "),
        (
            "https://git.example/o/r/tree/v1.0/docker/my%20app/",
            "https://git.example/o/r | v1.0 | docker/my app",
        ),
        (
            "https://git.example/g/s/r/-/tree/main/d?ref_type=heads",
            "https://git.example/g/s/r | main | d",
        ),
        // a repository that is called so
        ("https://git.example/o/tree", "https://git.example/o/tree |  | "),
        (
            "https://git.example/a/b/c/tree/x",
            "https://git.example/a/b/c/tree/x |  | ",
        ),
    ];
    for (address, expected) in cases {
        assert_eq!(source(address), expected, "{address}");
    }
}

#[test]
fn what_leads_elsewhere_is_refused() {
    let cases = [
        ("file:///etc", "GIT_URL_SCHEME"),
        ("ext::sh -c id", "GIT_URL_SCHEME"),
        ("ssh://git@git.example/o/r", "GIT_URL_SCHEME"),
        ("git@git.example:o/r.git", "GIT_URL_SCHEME"),
        ("git://git.example/o/r", "GIT_URL_SCHEME"),
        ("/srv/x", "GIT_URL_SCHEME"),
        ("-u./x", "GIT_URL_SCHEME"),
        ("git.example/o/r", "GIT_URL_SCHEME"),
        ("https://git.example", "GIT_URL_SCHEME"),
        ("https://git.example/o/r?x=y", "GIT_URL_SCHEME"),
        ("http://git.example/o/r", "GIT_URL_SCHEME"),
        ("https://me:secret@git.example/o/r", "GIT_URL_PASSWORD"),
        ("https://git.example/o/r#main:../..", "GIT_SUBDIR"),
        ("https://git.example/o/r#main:/etc", "GIT_SUBDIR"),
        ("https://git.example/o/r#--upload-pack=x", "GIT_REF"),
        ("https://git.example/o/r#a..b", "GIT_REF"),
    ];
    for (address, reason) in cases {
        assert_eq!(source(address), reason, "{address}");
    }
    let secret = normalize("https://me:secret@git.example/o/r", "", "", &Allowed::default()).unwrap_err();
    assert!(!secret.to_string().contains("secret"));
    let http = Allowed {
        http: true,
        ..Allowed::default()
    };
    assert_eq!(read("http://git.example/o/r", &http), "http://git.example/o/r |  | ");
}

#[test]
fn a_ref_is_given_in_one_place() {
    let both = |reference, directory| {
        normalize(
            "https://git.example/r#main:d",
            reference,
            directory,
            &Allowed::default(),
        )
    };
    assert_eq!(both("", "").unwrap().to_string(), "https://git.example/r#main:d");
    assert_eq!(both("main", "d").unwrap().reference, "main");
    assert_eq!(
        both("dev", "").unwrap_err().to_string(),
        "the ref is given in the address and beside it; give it once"
    );
    assert_eq!(
        normalize("https://git.example/r", "dev", "x/y/", &Allowed::default())
            .unwrap()
            .to_string(),
        "https://git.example/r#dev:x/y"
    );
}

#[test]
fn ssh_addresses_are_understood_where_they_are_allowed() {
    // covers R35
    let ssh = Allowed {
        known_hosts: PathBuf::from("known_hosts"),
        ..Allowed::default()
    };
    let cases = [
        ("ssh://git@git.example/o/r.git", "ssh://git@git.example/o/r.git |  | "),
        ("ssh://git.example:2222/o/r", "ssh://git@git.example:2222/o/r |  | "),
        ("git@git.example:o/r.git", "ssh://git@git.example/o/r.git |  | "),
        ("me@Git.Example:/o/r#main:d", "ssh://me@git.example/o/r | main | d"),
        ("ssh://me:secret@git.example/o/r", "GIT_URL_PASSWORD"),
        ("ssh://-oProxyCommand=x@git.example/o/r", "GIT_URL_SCHEME"),
        ("ssh://git@git.example/", "GIT_URL_SCHEME"),
        ("git@:o/r", "GIT_URL_SCHEME"),
        ("git@git.example:", "GIT_URL_SCHEME"),
    ];
    for (address, expected) in cases {
        assert_eq!(read(address, &ssh), expected, "{address}");
    }
}
