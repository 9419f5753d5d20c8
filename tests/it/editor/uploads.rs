//! Files for a build: they arrive whole or not at all, never from outside of the context, and belong to one image.

use super::{Given, by_digest, git, given, given_with};
use futures::{StreamExt as _, stream};
use proto::editor::v1::UploadContextRequest;
use std::time::Duration;
use tar::EntryType;
use tests::{Home, archive, detail, reason, upload_of};
use tokio::time::{interval, timeout};
use tonic::{Code, Status};

const WITHIN: Duration = Duration::from_secs(20);

/// What lies in the store of contexts.
struct Stored(async_nats::jetstream::Context);

impl Stored {
    async fn of(home: &Home) -> Self {
        let config = home.server.config("editor").unwrap();
        let client = async_nats::ConnectOptions::with_user_and_password(config.user, config.password)
            .custom_inbox_prefix("_INBOX_editor")
            .connect(config.url)
            .await
            .unwrap();
        Self(async_nats::jetstream::new(client))
    }

    async fn messages(&self) -> u64 {
        let mut stream = self.0.get_stream("OBJ_contexts").await.unwrap();
        stream.info().await.unwrap().state.messages
    }

    async fn until(&self, what: &str, wanted: impl Fn(u64) -> bool) {
        let mut tick = interval(Duration::from_millis(10));
        let reached = async {
            while !wanted(self.messages().await) {
                tick.tick().await;
            }
        };
        timeout(WITHIN, reached).await.unwrap_or_else(|_| panic!("{what}"));
    }
}

/// An archive with one entry, as anybody could make it.
fn entry(name: &str, kind: EntryType, target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1_024, 0);
    archive
}

// covers R25
#[tokio::test]
async fn files_arrive_whole_and_a_save_names_them_by_their_digest() {
    let Given { home, ada, image } = given().await;
    let large = vec![b'x'; 3 * 1024 * 1024];
    let files: [(&str, &[u8]); 3] = [
        ("bin/tool", b"tool"),
        ("data/large", &large),
        ("Dockerfile", b"FROM other\n"),
    ];
    let uploaded = ada.upload(&image, &files).await.unwrap();
    assert_eq!(
        uploaded.files, 2,
        "the editor's Dockerfile takes the place of the one in the root"
    );
    assert!(uploaded.digest.starts_with("sha256:") && uploaded.size_bytes > 3 * 1024 * 1024);
    let stored = Stored::of(&home).await;
    let messages = stored.messages().await;

    let again = ada.upload(&image, &files).await.unwrap();
    assert_eq!(again, uploaded);
    assert_eq!(stored.messages().await, messages, "the same content is kept once");

    let saved = ada
        .save(&image, "FROM scratch\nCOPY . /\n", Some(by_digest(&uploaded.digest)))
        .await
        .unwrap();
    let revision = ada.revision(&image, Some(saved.revision)).await.unwrap();
    assert_eq!(revision.spec.unwrap().context, Some(uploaded));
}

// covers R25, R80
#[tokio::test]
async fn what_dockerignore_names_is_not_kept() {
    let Given {
        home: _home,
        ada,
        image,
    } = given().await;
    let rules: &[u8] = b"# what builds don't need\n*.log\nnode_modules\n!keep.log\n";
    let all: [(&str, &[u8]); 5] = [
        (".dockerignore", rules),
        ("keep.log", b"kept"),
        ("debug.log", b"not kept"),
        ("node_modules/left/pad.js", b"not kept"),
        ("app.js", b"kept"),
    ];
    let without: [(&str, &[u8]); 3] = [all[0], all[1], all[4]];
    let wherever: [(&str, &[u8]); 5] = [all[2], all[0], all[3], all[1], all[4]];
    let expected = ada.upload(&image, &without).await.unwrap();
    assert_eq!(expected.files, 3);
    assert_eq!(ada.upload(&image, &all).await.unwrap(), expected);
    assert_eq!(ada.upload(&image, &wherever).await.unwrap(), expected);

    let malformed: [(&str, &[u8]); 1] = [(".dockerignore", b"*.log\n[a\n")];
    let refused = ada.upload(&image, &malformed).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "CTX_IGNORE")
    );
    assert!(refused.message().contains("line 2"), "{}", refused.message());
}

// covers R25
#[tokio::test]
async fn what_leaves_the_context_is_refused_and_leaves_nothing() {
    let Given { home, ada, image } = given().await;
    let stored = Stored::of(&home).await;
    for (name, kind, target, code) in [
        ("../outside", EntryType::Regular, "", "CTX_PATH_ESCAPES"),
        ("a/../../outside", EntryType::Regular, "", "CTX_PATH_ESCAPES"),
        ("/etc/passwd", EntryType::Regular, "", "CTX_PATH_ESCAPES"),
        ("link", EntryType::Symlink, "/etc/passwd", "CTX_LINK_ESCAPES"),
        ("a/link", EntryType::Symlink, "../../outside", "CTX_LINK_ESCAPES"),
        ("link", EntryType::Link, "/etc/passwd", "CTX_LINK_ESCAPES"),
        ("device", EntryType::Block, "", "CTX_ENTRY_TYPE"),
        ("pipe", EntryType::Fifo, "", "CTX_ENTRY_TYPE"),
    ] {
        let refused = ada.send(&image, &entry(name, kind, target, b"")).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, code),
            "{name} {target}"
        );
        let named = if target.is_empty() { name } else { target };
        assert!(refused.message().contains(named), "{}", refused.message());
    }
    let refused = ada.send(&image, b"this is no archive at all").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "CTX_TAR_MALFORMED")
    );
    stored
        .until("something of a refused upload stays", |left| left == 0)
        .await;
}

// covers R25
#[tokio::test]
async fn what_is_too_large_is_refused_with_the_figures_and_leaves_nothing() {
    let Given { home, ada, image } = given_with(|config| {
        config
            .with("editor.context_bytes_max", 2_000_000)?
            .with("editor.context_entries_max", 3)
    })
    .await;
    let stored = Stored::of(&home).await;
    let half = vec![0; 1_000_000];
    let files =
        |paths: &[&'static str]| -> Vec<(&str, &[u8])> { paths.iter().map(|path| (*path, &half[..])).collect() };
    let fits = files(&["a", "b"]);
    ada.upload(&image, &fits).await.unwrap();
    let kept = stored.messages().await;

    let empty: [(&str, &[u8]); 4] = [("a", b""), ("b", b""), ("c", b""), ("d", b"")];
    for (files, limit) in [(&files(&["a", "b", "c"])[..], "2000000"), (&empty[..], "3")] {
        let refused = ada.upload(&image, files).await.unwrap_err();
        assert_eq!(
            (
                refused.code(),
                reason(&refused).as_str(),
                detail(&refused, "limit").as_str()
            ),
            (Code::ResourceExhausted, "CTX_TOO_LARGE", limit)
        );
        assert!(
            refused.message().contains(limit) && refused.message().contains(".dockerignore"),
            "{}",
            refused.message()
        );
    }
    // Refused as soon as it is known, also when the client would never end.
    let claims = entry("huge", EntryType::Regular, "", b"");
    let mut header = tar::Header::from_byte_slice(&claims[..512]).clone();
    header.set_size(1 << 40);
    header.set_cksum();
    let endless = stream::iter(upload_of(&image, header.as_bytes()).collect::<Vec<_>>()).chain(stream::pending());
    let refused = timeout(WITHIN, ada.editor().upload_context(endless)).await.unwrap();
    assert_eq!(reason(&refused.unwrap_err()), "CTX_TOO_LARGE");
    stored
        .until("something of a refused upload stays", |left| left == kept)
        .await;
}

// covers R25
#[tokio::test]
async fn an_upload_that_is_interrupted_leaves_nothing() {
    let Given { home, ada, image } = given().await;
    let stored = Stored::of(&home).await;
    let large = archive(&[("large", &vec![7; 4 * 1024 * 1024])]).unwrap();
    let half: Vec<UploadContextRequest> = upload_of(&image, &large[..large.len() / 2]).collect();

    // The client goes away in the middle.
    let begun = stream::iter(half.clone()).chain(stream::pending());
    let mut editor = ada.editor();
    let upload = editor.upload_context(begun);
    tokio::select! {
        ended = upload => panic!("{ended:?}"),
        () = stored.until("nothing arrives", |arrived| arrived > 0) => (),
    }
    stored
        .until("something of an interrupted upload stays", |left| left == 0)
        .await;

    // It ends in order, and the archive does not.
    let cut = ada.editor().upload_context(stream::iter(half)).await.unwrap_err();
    assert_eq!(
        (cut.code(), reason(&cut).as_str()),
        (Code::InvalidArgument, "CTX_TAR_MALFORMED")
    );
    assert!(cut.message().contains("ends too early"), "{}", cut.message());
    stored.until("something of a cut archive stays", |left| left == 0).await;

    // Nothing of it is in the way of the next.
    ada.send(&image, &large).await.unwrap();
}

// covers R25
#[tokio::test]
async fn files_belong_to_the_image_that_they_were_uploaded_for() {
    let given = given().await;
    let Given { ada, image, .. } = &given;
    let (bob, other) = given.bob().await;
    let files = ada.upload(image, &[("secret", b"of ada")]).await.unwrap();
    bob.saw(ada.saw(0));

    let taken = |digest: &str| {
        let context = Some(by_digest(digest));
        let (bob, other) = (bob.clone(), other.clone());
        async move { bob.save(&other, "FROM scratch\nCOPY . /\n", context).await.unwrap_err() }
    };
    let (stored, absent) = (
        taken(&files.digest).await,
        taken(&format!("sha256:{}", "0".repeat(64))).await,
    );
    assert_eq!(
        (stored.code(), reason(&stored).as_str()),
        (Code::FailedPrecondition, "CONTEXT_NOT_UPLOADED")
    );
    assert_eq!(
        bytes(&stored),
        bytes(&absent),
        "nobody learns what is stored for others"
    );
    // Also not beside a repository.
    let beside = proto::editor::v1::BuildSpec {
        context: Some(by_digest(&files.digest)),
        ..git("https://example.org/tool.git")
    };
    assert_eq!(
        reason(&bob.save_spec(&other, beside).await.unwrap_err()),
        "CONTEXT_NOT_UPLOADED"
    );

    // Nor can they be put where bob may not write.
    let hidden = bob.upload(image, &[("a", b"")]).await.unwrap_err();
    let nowhere = bob
        .upload("img_00000000000000000000000000", &[("a", b"")])
        .await
        .unwrap_err();
    assert_eq!(reason(&hidden), "NO_SUCH_IMAGE");
    assert_eq!(bytes(&hidden), bytes(&nowhere));

    // Whoever has the files can upload them.
    bob.upload(&other, &[("secret", b"of ada")]).await.unwrap();
    bob.save(&other, "FROM scratch\nCOPY . /\n", Some(by_digest(&files.digest)))
        .await
        .unwrap();
}

/// Everything that a caller can tell one status from another by.
fn bytes(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

/// An archive whose only file would lie outside.
pub(super) fn escape() -> Vec<u8> {
    entry("../outside", EntryType::Regular, "", b"")
}
