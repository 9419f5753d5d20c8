//! The editor on a real log: revisions, the two kinds of context, and what is too large.

mod broken;
mod command;
mod lint;
mod repository;
mod uploads;

use proto::editor::v1::{
    BuildSpec, ContextKind, GitSource, ListRevisionsRequest, RestoreRevisionRequest, SaveSpecRequest, UploadedContext,
};
use service::Config;
use tests::{Home, User, detail, reason};
use tonic::{Code, Status};

/// A catalog and an editor, and ada with an image.
struct Given {
    home: Home,
    ada: User,
    image: String,
}

async fn given() -> Given {
    given_with(Ok).await
}

async fn given_with(settings: impl FnOnce(Config) -> anyhow::Result<Config>) -> Given {
    let home = Home::with(&[catalog::SERVICE, editor::SERVICE], settings)
        .await
        .unwrap();
    let ada = home.user("ada").unwrap();
    let workspace = ada.workspace("vision").await.unwrap();
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    Given { home, ada, image }
}

impl Given {
    /// bob with an image of his own, who has seen all that ada has.
    async fn bob(&self) -> (User, String) {
        let bob = self.home.user("bob").unwrap();
        bob.saw(self.ada.saw(0));
        let workspace = bob.workspace("elsewhere").await.unwrap();
        let image = bob.image(&workspace, "elsewhere/tool").await.unwrap();
        (bob, image)
    }
}

fn local(dockerfile: &str) -> BuildSpec {
    BuildSpec {
        context_kind: ContextKind::LocalFolder.into(),
        dockerfile: dockerfile.to_owned(),
        ..BuildSpec::default()
    }
}

fn git(url: &str) -> BuildSpec {
    BuildSpec {
        context_kind: ContextKind::GitRepository.into(),
        git: Some(GitSource {
            url: url.to_owned(),
            ..GitSource::default()
        }),
        ..BuildSpec::default()
    }
}

/// As a client names files that it has uploaded.
fn by_digest(digest: &str) -> UploadedContext {
    UploadedContext {
        digest: digest.to_owned(),
        ..UploadedContext::default()
    }
}

async fn restore(user: &User, image: &str, revision: u32, expected: Option<u32>) -> Result<u32, Status> {
    let request = RestoreRevisionRequest {
        image: image.to_owned(),
        revision,
        expected_revision: expected,
        ..RestoreRevisionRequest::default()
    };
    let restored = user.editor().restore_revision(request).await?.into_inner();
    user.saw(restored.position);
    Ok(restored.revision)
}

// covers R13, R22, R27, R28
#[tokio::test]
async fn every_save_that_changes_something_is_a_revision_that_can_be_listed_read_and_restored() {
    let Given { home, ada, image } = given().await;
    let draft = ada.revision(&image, None).await.unwrap();
    assert_eq!(draft.number, 0);
    assert_eq!(
        draft.spec.unwrap().dockerfile,
        home.config().editor.default_dockerfile,
        "what the editor shows before the first save"
    );

    let (first, second) = ("FROM scratch\nCOPY a /\n", "FROM scratch\nCOPY b /\n");
    let saved = ada.save(&image, first, None).await.unwrap();
    assert_eq!((saved.revision, saved.created), (1, true));
    let again = ada.save(&image, first, None).await.unwrap();
    assert_eq!((again.revision, again.created), (1, false), "nothing changed");
    let noted = SaveSpecRequest {
        image: image.clone(),
        spec: Some(local(second)),
        note: "take b".to_owned(),
        expected_revision: Some(1),
        ..SaveSpecRequest::default()
    };
    ada.saw(ada.editor().save_spec(noted).await.unwrap().into_inner().position);
    assert_eq!(restore(&ada, &image, 1, Some(2)).await.unwrap(), 3);

    let revisions = ada.revisions(&image).await.unwrap();
    let told: Vec<_> = revisions
        .iter()
        .map(|revision| (revision.number, revision.restored_from, revision.note.as_str()))
        .collect();
    assert_eq!(told, [(3, 1, ""), (2, 0, "take b"), (1, 0, "")]);
    assert!(
        revisions.iter().all(|revision| revision.actor == "ada"
            && revision.time.is_some()
            && revision.spec.as_ref().unwrap().dockerfile.is_empty()),
        "a list has no Dockerfiles: {revisions:?}"
    );
    for (number, text) in [(Some(1), first), (Some(2), second), (Some(3), first), (None, first)] {
        let revision = ada.revision(&image, number).await.unwrap();
        assert_eq!(revision.spec.unwrap().dockerfile, text, "{number:?}");
    }
    let absent = ada.revision(&image, Some(9)).await.unwrap_err();
    assert_eq!(
        (absent.code(), reason(&absent)),
        (Code::NotFound, "NO_SUCH_REVISION".to_owned())
    );
    assert_eq!(
        reason(&restore(&ada, &image, 9, None).await.unwrap_err()),
        "NO_SUCH_REVISION"
    );

    // Modified is the last save, and a description is none.
    let modified = ada.tile(&image).await.unwrap().modified.unwrap();
    assert_eq!((modified.actor.as_str(), modified.time), ("ada", revisions[0].time));
}

#[tokio::test]
async fn revisions_come_in_pages() {
    let Given {
        home: _home,
        ada,
        image,
    } = given().await;
    for number in 1..=5 {
        ada.save(&image, &format!("FROM scratch\n# {number}\n"), None)
            .await
            .unwrap();
    }
    let (mut page_token, mut numbers) = (String::new(), Vec::new());
    loop {
        let page = ListRevisionsRequest {
            image: image.clone(),
            page_size: 2,
            page_token,
        };
        let page = ada.editor().list_revisions(page).await.unwrap().into_inner();
        numbers.push(
            page.revisions
                .iter()
                .map(|revision| revision.number)
                .collect::<Vec<_>>(),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [vec![5, 4], vec![3, 2], vec![1]]);
}

// covers R28, E6
#[tokio::test]
async fn who_saves_over_a_revision_that_was_not_seen_is_told_the_current_one() {
    let Given {
        home: _home,
        ada,
        image,
    } = given().await;
    ada.save(&image, "FROM scratch\n# 1\n", None).await.unwrap();
    ada.save(&image, "FROM scratch\n# 2\n", None).await.unwrap();
    let late = SaveSpecRequest {
        image: image.clone(),
        spec: Some(local("FROM scratch\n# late\n")),
        expected_revision: Some(1),
        ..SaveSpecRequest::default()
    };
    let saved = ada.editor().save_spec(late).await.map(|_| ());
    let restored = restore(&ada, &image, 1, Some(1)).await.map(|_| ());
    for refused in [saved, restored] {
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::Aborted, "STALE_REVISION".to_owned())
        );
        assert_eq!(detail(&refused, "current"), "2");
    }
    assert_eq!(ada.revisions(&image).await.unwrap().len(), 2);
}

// covers R24, R25, R26, R35, R36
#[tokio::test]
async fn the_kind_of_context_is_switched_and_the_other_half_stays() {
    let Given {
        home: _home,
        ada,
        image,
    } = given().await;
    let files = ada.upload(&image, &[("a", b"a")]).await.unwrap();
    ada.save(&image, "FROM scratch\nCOPY a /\n", Some(by_digest(&files.digest)))
        .await
        .unwrap();
    // Docker's way to say it all in one address.
    let address = "https://example.org/team/tool.git#v1:docker/app";
    ada.save_spec(&image, git(address)).await.unwrap();
    let spec = ada.revision(&image, None).await.unwrap().spec.unwrap();
    let source = GitSource {
        url: "https://example.org/team/tool.git".to_owned(),
        r#ref: "v1".to_owned(),
        directory: "docker/app".to_owned(),
    };
    assert_eq!(spec.context_kind(), ContextKind::GitRepository);
    assert_eq!(spec.git.as_ref(), Some(&source));
    assert_eq!(
        (spec.dockerfile.as_str(), spec.context.as_ref()),
        ("FROM scratch\nCOPY a /\n", Some(&files)),
        "the other half stays"
    );

    ada.save(&image, "FROM scratch\nCOPY a /b\n", Some(by_digest(&files.digest)))
        .await
        .unwrap();
    let spec = ada.revision(&image, None).await.unwrap().spec.unwrap();
    assert_eq!(
        (spec.context_kind(), spec.git),
        (ContextKind::LocalFolder, Some(source))
    );

    for (spec, code) in [
        (git(""), "GIT_URL_MISSING"),
        (git("/home/ada/repository"), "GIT_URL_SCHEME"),
        (git("file:///home/ada/repository"), "GIT_URL_SCHEME"),
        (git("https://ada:secret@example.org/tool.git"), "GIT_URL_PASSWORD"),
        (git("https://example.org/tool.git#main:../elsewhere"), "GIT_SUBDIR"),
        (local(""), "DOCKERFILE_EMPTY"),
        (BuildSpec::default(), "INVALID_ARGUMENT"),
    ] {
        let refused = ada.save_spec(&image, spec.clone()).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, code),
            "{spec:?}"
        );
        assert!(!refused.message().contains("secret"), "{}", refused.message());
    }
    assert_eq!(ada.revisions(&image).await.unwrap().len(), 3);
}

// covers R27
#[tokio::test]
async fn what_is_too_large_for_a_revision_is_refused_with_the_figures() {
    let Given {
        home: _home,
        ada,
        image,
    } = given().await;
    let dockerfile = |bytes: usize| format!("FROM scratch\n{}", "#".repeat(bytes - 13));
    ada.save(&image, &dockerfile(256 * 1024), None).await.unwrap();
    let with_argument = BuildSpec {
        build_args: [("WORDS".to_owned(), "x".repeat(70_000))].into(),
        ..local("FROM scratch\n")
    };
    for (spec, code, bytes, limit) in [
        (
            local(&dockerfile(256 * 1024 + 1)),
            "DOCKERFILE_TOO_LARGE",
            "262145",
            "262144",
        ),
        (with_argument, "SPEC_TOO_LARGE", "70005", "65536"),
    ] {
        let refused = ada.save_spec(&image, spec).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::ResourceExhausted, code)
        );
        assert_eq!(
            (detail(&refused, "bytes").as_str(), detail(&refused, "limit").as_str()),
            (bytes, limit)
        );
        assert!(
            refused.message().contains(bytes) && refused.message().contains(limit),
            "{}",
            refused.message()
        );
    }
    let whole = ada.revision(&image, None).await.unwrap();
    assert_eq!((whole.number, whole.spec.unwrap().dockerfile.len()), (1, 256 * 1024));
}
