//! What is taken, what is refused, and that the same files always give the same bytes.

use super::*;
use tar::{EntryType, Header};

const LIMITS: Limits = Limits {
    bytes: 1_000_000,
    entries: 100,
};

/// An archive made by hand: a library would not write most of these.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, path: &str, content: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(1_000);
        header.set_uid(1_000);
        header.set_gid(1_000);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.add(path, content.as_bytes(), |_| ())
    }

    fn of_type(self, path: &str, kind: EntryType) -> Self {
        self.add(path, &[], |header| header.set_entry_type(kind))
    }

    fn directory(self, path: &str) -> Self {
        self.of_type(path, EntryType::Directory)
    }

    fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        self.add(path, &[], |header| {
            header.set_entry_type(kind);
            header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, path, target)
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Link, path, target)
    }

    fn extension(self, kind: EntryType, content: &[u8]) -> Self {
        self.add("extension", content, |header| header.set_entry_type(kind))
    }

    fn record(self, key: &str, value: &str) -> Self {
        let body = format!(" {key}={value}\n");
        let mut length = body.len();
        while length != body.len() + length.to_string().len() {
            length = body.len() + length.to_string().len();
        }
        self.extension(EntryType::XHeader, format!("{length}{body}").as_bytes())
    }

    fn ended(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1_024]);
        self.0
    }

    fn rewritten(self) -> Result<(Summary, Vec<u8>), ContextRefused> {
        rewritten(&self.ended())
    }

    #[track_caller]
    fn refused(self, reason: &str) -> String {
        let refused = self.rewritten().unwrap_err();
        assert_eq!(refused.reason(), reason, "{refused}");
        refused.to_string()
    }
}

fn rewritten(bytes: &[u8]) -> Result<(Summary, Vec<u8>), ContextRefused> {
    let mut stored = Vec::new();
    let summary = canonicalize(bytes, &mut stored, &LIMITS)?;
    Ok((summary, stored))
}

/// What an engine would read: name, type, mode, target or content.
fn entries(mut stored: Vec<u8>) -> Vec<(String, EntryType, u32, String)> {
    stored.extend_from_slice(&[0; 1_024]);
    let mut archive = tar::Archive::new(&stored[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
        assert_eq!(entry.header().username_bytes(), Some(&b""[..]));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            text = target.display().to_string();
        }
        let path = entry.path().unwrap().display().to_string();
        (path, entry.header().entry_type(), entry.header().mode().unwrap(), text)
    });
    entries.collect()
}

// covers R25, R80
#[test]
fn files_directories_and_links_are_kept_and_the_dockerfile_is_not() {
    let long = "n".repeat(60) + "/" + &"m".repeat(60);
    let tar = Tar::default()
        .directory("./")
        .file("./Dockerfile", "FROM somewhere\n")
        .directory("src/")
        .add("src/run", b"#!", |header| header.set_mode(0o4755))
        .symlink("src/current", "../src/run")
        .hard_link("src/again", "src/run")
        .record("path", &long)
        .file("short", "long")
        .file("src/Dockerfile", "not the root's\n");
    let (summary, stored) = tar.rewritten().unwrap();
    assert_eq!(summary, Summary { files: 5, bytes: 21 });
    let expected = [
        ("src/", EntryType::Directory, 0o644, ""),
        ("src/run", EntryType::Regular, 0o755, "#!"),
        ("src/current", EntryType::Symlink, 0o777, "../src/run"),
        ("src/again", EntryType::Link, 0o644, "src/run"),
        (&long, EntryType::Regular, 0o644, "long"),
        ("src/Dockerfile", EntryType::Regular, 0o644, "not the root's\n"),
    ];
    let expected = expected.map(|(path, kind, mode, text)| (path.to_owned(), kind, mode, text.to_owned()));
    assert_eq!(entries(stored), expected);
}

#[test]
fn the_same_files_give_the_same_bytes_whoever_packed_them() {
    let name = "d/".to_owned() + &"n".repeat(150);
    let gnu = Tar::default()
        .extension(EntryType::GNULongName, format!("{name}\0").as_bytes())
        .file("cut", "x")
        .directory("d");
    let pax = Tar::default()
        .extension(EntryType::XGlobalHeader, b"16 comment=abcd\n")
        .record("path", &name)
        .add("cut", b"x", |header| {
            header.set_uid(7);
            header.set_username("somebody").unwrap();
        })
        .add("./d/", b"", |header| header.set_entry_type(EntryType::Directory));
    let (_, first) = gnu.rewritten().unwrap();
    assert_eq!(pax.rewritten().unwrap().1, first);
    // Other times are other files.
    let later = Tar::default().add("a", b"", |header| header.set_mtime(2_000));
    assert_ne!(
        later.rewritten().unwrap().1,
        Tar::default().file("a", "").rewritten().unwrap().1
    );
}

#[test]
fn what_is_stored_can_be_joined_with_what_goes_before_and_after() {
    let (_, stored) = Tar::default().file("a", "1").rewritten().unwrap();
    assert_eq!(stored.len(), 1_024);
    assert_eq!(Tar::default().rewritten().unwrap(), (Summary::default(), Vec::new()));
    let mut joined = Tar::default()
        .add("Dockerfile", b"FROM a\n", |header| {
            header.set_uid(0);
            header.set_gid(0);
        })
        .0;
    joined.extend(stored);
    assert_eq!(entries(joined).len(), 2);
}

#[test]
fn nothing_gets_out_of_the_context() {
    let sentence = Tar::default()
        .file("a", "")
        .file("../../etc/x", "")
        .refused("CTX_PATH_ESCAPES");
    assert_eq!(
        sentence,
        "entry 2 `../../etc/x` leaves the context: give it a relative path without `..`"
    );
    Tar::default().file("/etc/passwd", "").refused("CTX_PATH_ESCAPES");
    Tar::default()
        .record("path", "../x")
        .file("a", "")
        .refused("CTX_PATH_ESCAPES");
    let sentence = Tar::default().symlink("d", "/etc").refused("CTX_LINK_ESCAPES");
    assert_eq!(
        sentence,
        "the link `d` leads to `/etc`, outside of the context: link to a file inside, or leave it out"
    );
    Tar::default().symlink("d/l", "../../x").refused("CTX_LINK_ESCAPES");
    Tar::default()
        .symlink("d/l", "..")
        .symlink("z", "d/l/..")
        .refused("CTX_LINK_ESCAPES");
    Tar::default().hard_link("a", "/etc/passwd").refused("CTX_LINK_ESCAPES");
    Tar::default().hard_link("a", "../x").refused("CTX_LINK_ESCAPES");
    Tar::default().hard_link("a", "absent").refused("CTX_LINK_ESCAPES");
    Tar::default()
        .symlink("l", "x")
        .hard_link("a", "l")
        .refused("CTX_LINK_ESCAPES");
    // Written through a link, it would land where the link leads.
    Tar::default()
        .symlink("d", "e")
        .file("d/x", "")
        .refused("CTX_TAR_MALFORMED");
}

#[test]
fn only_files_directories_and_links_are_taken() {
    let sentence = Tar::default()
        .of_type("dev/null", EntryType::Char)
        .refused("CTX_ENTRY_TYPE");
    assert_eq!(
        sentence,
        "entry 1 `dev/null` is a device: a context takes regular files, directories and links"
    );
    Tar::default().of_type("b", EntryType::Block).refused("CTX_ENTRY_TYPE");
    Tar::default().of_type("p", EntryType::Fifo).refused("CTX_ENTRY_TYPE");
    Tar::default()
        .of_type("s", EntryType::GNUSparse)
        .refused("CTX_ENTRY_TYPE");
    Tar::default()
        .of_type("v", EntryType::new(b'V'))
        .refused("CTX_ENTRY_TYPE");
    Tar::default()
        .record("GNU.sparse.major", "1")
        .file("s", "")
        .refused("CTX_ENTRY_TYPE");
    Tar::default().directory("Dockerfile").refused("CTX_ENTRY_TYPE");
    Tar::default().file("Dockerfile/x", "").refused("CTX_ENTRY_TYPE");
}

#[test]
fn limits_are_named_with_their_figures() {
    let large = "x".repeat(600_000);
    let two = Tar::default().file("a", &large).file("b", &large);
    let refused = two.clone().rewritten().unwrap_err();
    assert_eq!(refused.limit(), Some(1_000_000));
    assert_eq!(
        two.refused("CTX_TOO_LARGE"),
        "the files have more than 1000000 bytes, name what the build does not need in .dockerignore"
    );
    let many = (0..101).fold(Tar::default(), |tar, n| tar.file(&format!("{n}"), ""));
    assert_eq!(
        many.refused("CTX_TOO_LARGE"),
        "there are more than 100 entries, name what the build does not need in .dockerignore"
    );
    let exactly = (0..100).fold(Tar::default(), |tar, n| {
        tar.record("comment", "x").file(&format!("{n}"), "")
    });
    assert!(exactly.rewritten().is_ok());
    // A size is refused as it is announced, nobody waits for the bytes.
    for path in ["a", "Dockerfile"] {
        Tar::default()
            .add(path, b"", |header| header.set_size(u64::MAX / 2))
            .refused("CTX_TOO_LARGE");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let sentence = Tar::default()
        .file("a", "1")
        .file("./a", "2")
        .refused("CTX_TAR_MALFORMED");
    assert_eq!(sentence, "`a` is in the archive twice: keep one of them");
    Tar::default()
        .file("a/b", "")
        .file("a", "")
        .refused("CTX_TAR_MALFORMED");
    Tar::default()
        .file("a", "")
        .file("a/b", "")
        .refused("CTX_TAR_MALFORMED");
    Tar::default()
        .record("size", "1024")
        .file("a", "")
        .refused("CTX_TAR_MALFORMED");
    Tar::default()
        .record("path", "b")
        .record("path", "c")
        .file("a", "")
        .refused("CTX_TAR_MALFORMED");
    Tar::default()
        .extension(EntryType::XHeader, b"99 path=b\n")
        .file("a", "")
        .refused("CTX_TAR_MALFORMED");
    Tar::default()
        .extension(EntryType::XGlobalHeader, b"10 path=b\n")
        .file("a", "")
        .refused("CTX_TAR_MALFORMED");
    Tar::default()
        .add("d", b"content", |header| header.set_entry_type(EntryType::Directory))
        .refused("CTX_TAR_MALFORMED");
    let comments = (0..9).fold(Tar::default(), |tar, _| tar.record("comment", "x"));
    comments.file("a", "").refused("CTX_TAR_MALFORMED");
    Tar::default()
        .add("name", &vec![b'n'; 1_048_577], |header| {
            header.set_entry_type(EntryType::GNULongName);
        })
        .file("a", "")
        .refused("CTX_TAR_MALFORMED");
    let mut twice = Tar::default().file("a", "").ended();
    twice.extend(Tar::default().file("b", "").ended());
    assert!(matches!(rewritten(&twice), Err(ContextRefused::Trailing)));
    let mut padded = Tar::default().file("a", "").ended();
    padded.extend_from_slice(&[0; 9_216]);
    assert!(rewritten(&padded).is_ok());
}

#[test]
fn what_is_no_whole_tar_is_named_as_what_it_is() {
    let refusal = |bytes: &[u8]| {
        let refused = rewritten(bytes).unwrap_err();
        assert_eq!(refused.reason(), "CTX_TAR_MALFORMED");
        refused.to_string()
    };
    assert_eq!(
        refusal(b"\x1f\x8b\x08\x00short"),
        "the archive is compressed with gzip: send it as a plain tar"
    );
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd];
    zstd.resize(2_000, 7);
    assert_eq!(
        refusal(&zstd),
        "the archive is compressed with zstd: send it as a plain tar"
    );
    assert_eq!(
        refusal(&[b'x'; 2_000]),
        "entry 1 has no valid header: send a tar archive"
    );
    let mut broken = Tar::default().file("a", "").file("b", "").ended();
    broken[512] ^= 1;
    assert_eq!(refusal(&broken), "entry 2 has no valid header: send a tar archive");
    let whole = Tar::default().file("a", &"x".repeat(700)).ended();
    for length in [0, 100, 512, 800, 1_300, 1_536, 2_048] {
        assert_eq!(
            refusal(&whole[..length]),
            "the archive ends too early: send it again",
            "{length}"
        );
    }
}
