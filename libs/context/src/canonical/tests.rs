//! What an upload may hold, and what becomes of it.

use tar::EntryType;

use super::*;
use crate::archive::END;

/// An archive as somebody else's tar could make it: any name, any type.
#[derive(Default)]
struct Upload(Vec<u8>);

impl Upload {
    fn raw(mut self, name: &str, kind: EntryType, target: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_mtime(7);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(name, EntryType::Regular, "", content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.raw(name, EntryType::Directory, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.raw(name, EntryType::Symlink, target, b"")
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let records = records.iter().map(|(key, value)| {
            let rest = format!(" {key}={value}\n");
            let length = (1..999)
                .find(|n: &usize| n.to_string().len() + rest.len() == *n)
                .unwrap();
            format!("{length}{rest}")
        });
        self.raw("pax", EntryType::XHeader, "", records.collect::<String>().as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END);
        self.0.resize(self.0.len().next_multiple_of(10240), 0);
        self.0
    }

    fn check(self) -> Result<Vec<String>, String> {
        check(&self.end())
    }
}

fn check(upload: &[u8]) -> Result<Vec<String>, String> {
    checked(upload, &Limits::default()).map_err(|refused| refused.to_string())
}

/// The names in the result, with what is worth knowing of each.
fn checked(upload: &[u8], limits: &Limits) -> Result<Vec<String>, ContextRefused> {
    let mut stored = Vec::new();
    let Rewritten { mut summary, late } = canonicalize(upload, &mut stored, limits)?;
    assert_eq!(stored.len() % 512, 0);
    if let Some(late) = late {
        let first = std::mem::take(&mut stored);
        summary = leave_out(&first[..], &mut stored, limits, late)?;
    }
    assert!(
        !stored.ends_with(&END) || summary.files > 0,
        "the end is written when the archive is assembled"
    );
    stored.extend_from_slice(&END);
    let mut archive = tar::Archive::new(&stored[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mode().unwrap() & 0o7000, 0);
        let target = entry
            .link_name()
            .unwrap()
            .map(|target| format!(" -> {}", target.display()));
        format!("{}{}", entry.path().unwrap().display(), target.unwrap_or_default())
    });
    Ok(entries.collect())
}

#[test]
fn files_directories_and_links_are_kept_in_their_order() {
    // covers R80
    let upload = Upload::default()
        .dir("./")
        .file("./b", "1")
        .dir("./a/")
        .file("a/x", "2")
        .link("a/l", "../b")
        .raw("a/h", EntryType::Link, "b", b"");
    assert_eq!(upload.check().unwrap(), ["b", "a/", "a/x", "a/l -> ../b", "a/h -> b"]);
}

#[test]
fn the_editors_dockerfile_takes_the_place_of_an_uploaded_one() {
    // covers R25
    let upload = Upload::default()
        .file("./Dockerfile", "FROM x")
        .file("sub/Dockerfile", "FROM y")
        .link("l", "Dockerfile");
    assert_eq!(upload.check().unwrap(), ["sub/Dockerfile", "l -> Dockerfile"]);
    let directory = "'Dockerfile' is a directory; the editor's Dockerfile takes this place, so rename the directory";
    assert_eq!(Upload::default().dir("Dockerfile").check().unwrap_err(), directory);
    assert_eq!(
        Upload::default().file("Dockerfile/x", "").check().unwrap_err(),
        directory
    );
}

#[test]
fn nothing_leaves_the_context() {
    let cases = [
        (
            Upload::default().file("../../etc/x", ""),
            "entry 1 '../../etc/x' leaves the context",
        ),
        (
            Upload::default().file("/etc/x", ""),
            "entry 1 '/etc/x' leaves the context",
        ),
        (
            Upload::default().link("d", "/etc"),
            "the link 'd' leads to '/etc', outside of the context",
        ),
        (
            Upload::default().link("d", "../x"),
            "the link 'd' leads to '../x', outside of the context",
        ),
        (
            Upload::default().raw("h", EntryType::Link, "../x", b""),
            "the link 'h' leads to '../x', outside",
        ),
        (
            Upload::default().raw("h", EntryType::Link, "x", b""),
            "the hard link 'h' leads to 'x', which is no file",
        ),
        (
            Upload::default().dir("e").link("d", "e").file("d/f", ""),
            "'d/f' lies below 'd', which is not a directory",
        ),
        (
            Upload::default().file("d/f", "").link("d", "e"),
            "'d' is in the archive twice",
        ),
        (
            Upload::default().raw("c", EntryType::Char, "", b""),
            "entry 1 'c' is a device",
        ),
        (
            Upload::default().raw("p", EntryType::Fifo, "", b""),
            "entry 1 'p' is a named pipe",
        ),
    ];
    for (upload, sentence) in cases {
        let refused = upload.check().unwrap_err();
        assert!(refused.starts_with(sentence), "{refused}");
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    let size = Upload::default().pax(&[("size", "1024")]).file("a", "");
    assert_eq!(
        size.check().unwrap_err(),
        "entry 2 says two things about its name or size; make the archive with a current tar"
    );
    let twice = Upload::default().pax(&[("path", "a"), ("path", "b")]).file("a", "");
    assert!(twice.check().unwrap_err().contains("two things"));
    let malformed = Upload::default()
        .raw("pax", EntryType::XHeader, "", b"99 path=a\n")
        .file("a", "");
    assert!(malformed.check().unwrap_err().contains("two things"));
    let global = Upload::default()
        .raw("pax", EntryType::XGlobalHeader, "", b"10 path=a\n")
        .file("b", "");
    assert!(global.check().unwrap_err().contains("two things"));
    assert!(
        Upload::default()
            .file("a", "")
            .file("./a", "")
            .check()
            .unwrap_err()
            .starts_with("'a' is in the archive twice")
    );

    let mut trailing = Upload::default().file("a", "").end();
    trailing.extend_from_slice(&Upload::default().file("smuggled", "").end());
    assert!(
        check(&trailing)
            .unwrap_err()
            .starts_with("there is something after the end")
    );
}

#[test]
fn long_names_come_through_in_both_manners() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let pax = Upload::default()
        .pax(&[("path", &long), ("mtime", "1.5"), ("SCHILY.xattr.user.x", "y")])
        .file("short", "1");
    assert_eq!(pax.check().unwrap(), [long.as_str()]);
    let gnu = Upload::default()
        .raw(
            "././@LongLink",
            EntryType::GNULongName,
            "",
            format!("{long}\0").as_bytes(),
        )
        .file("short", "1");
    assert_eq!(gnu.check().unwrap(), [long.as_str()]);
    let git = Upload::default().raw(
        "pax",
        EntryType::XGlobalHeader,
        "",
        b"52 comment=0123456789012345678901234567890123456789\n",
    );
    assert_eq!(git.file("a", "").check().unwrap(), ["a"]);
}

#[test]
fn a_broken_upload_is_told_from_another_format() {
    let whole = Upload::default().file("a", &"x".repeat(2000)).end();
    assert_eq!(
        check(&whole[..1024]).unwrap_err(),
        "the archive ends too early; upload it again"
    );
    assert_eq!(
        check(&whole[..2560]).unwrap_err(),
        "the archive ends too early; upload it again"
    );
    assert_eq!(check(&[]).unwrap_err(), "the archive ends too early; upload it again");
    assert_eq!(
        check(&[0x1f, 0x8b, 8, 0]).unwrap_err(),
        "the archive is compressed with gzip; upload it uncompressed"
    );
    assert_eq!(
        check(&[b'x'; 2048]).unwrap_err(),
        "entry 1 has no valid header; upload a tar archive"
    );
}

#[test]
fn the_limits_are_named() {
    let limits = Limits { bytes: 10, entries: 2 };
    let refused = |upload: Upload| checked(&upload.end(), &limits).unwrap_err();
    let large = refused(Upload::default().file("a", "123456").file("b", "12345"));
    assert_eq!(
        large.to_string(),
        "the context has more than 10 bytes; name what the build does not need in .dockerignore"
    );
    assert_eq!(large.reason(), "CTX_TOO_LARGE");
    let many = refused(Upload::default().file("a", "").file("b", "").file("c", ""));
    assert!(many.to_string().starts_with("the context has more than 2 entries"));
}

#[test]
fn a_dockerignore_counts_wherever_it_stands() {
    // covers R80
    let files = |upload: Upload| {
        let upload = upload.file("a.log", "").dir("d").file("d/x", "").file("d/keep", "");
        upload.dir("gone").file("gone/x", "")
    };
    let ignore = |upload: Upload| upload.file("./.dockerignore", "*.log\nd\n!d/keep\ngone\n");
    let kept = ["d/", "d/keep", "b"];
    let first = files(ignore(Upload::default())).file("b", "");
    assert_eq!(first.check().unwrap(), [&[".dockerignore"], &kept[..]].concat());
    let between = ignore(files(Upload::default())).file("b", "").file("b.log", "");
    assert_eq!(between.check().unwrap(), ["d/", "d/keep", ".dockerignore", "b"]);
    let last = ignore(files(Upload::default()).file("b", ""));
    assert_eq!(last.check().unwrap(), [&kept[..], &[".dockerignore"]].concat());

    let upload = Upload::default().file("a", "").file(".dockerignore", "*.log\n").end();
    let rewritten = canonicalize(&upload[..], io::sink(), &Limits::default()).unwrap();
    assert!(rewritten.late.is_none(), "nothing has to be written twice");
}

#[test]
fn a_dockerignore_that_names_itself_counts_and_is_not_seen() {
    let patterns = "*\n!src\n";
    let upload = Upload::default()
        .file("x", "")
        .file(".dockerignore", patterns)
        .file("src/a", "");
    assert_eq!(upload.check().unwrap(), ["src/a"]);
    let twice = Upload::default()
        .file(".dockerignore", patterns)
        .file(".dockerignore", "");
    assert!(
        twice
            .check()
            .unwrap_err()
            .starts_with("'.dockerignore' is in the archive twice")
    );
}

#[test]
fn a_hard_link_to_what_is_left_out_is_refused() {
    let upload = Upload::default()
        .file("a.log", "1")
        .raw("b", EntryType::Link, "a.log", b"")
        .file(".dockerignore", "*.log");
    assert!(
        upload
            .check()
            .unwrap_err()
            .starts_with("the hard link 'b' leads to 'a.log', which is no file")
    );
}

#[test]
fn the_same_upload_gives_the_same_bytes() {
    let upload = Upload::default().dir("a").file("a/b", "1").link("c", "a").end();
    let stored = |limits| {
        let mut stored = Vec::new();
        canonicalize(&upload[..], &mut stored, &limits).unwrap();
        stored
    };
    assert_eq!(stored(Limits::default()), stored(Limits::default()));
}
