//! `cooper` with a directory: what is sent, what is left out, and what the image has in the end.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    str,
};
use tests::{Platform, Shape, User, binary};

/// What a command answered, as (exit code, stdout, stderr).
pub(super) fn ends(command: &mut Command) -> (i32, String, String) {
    let ended = command.output().unwrap();
    let text = |bytes: &[u8]| str::from_utf8(bytes).unwrap().to_owned();
    (ended.status.code().unwrap(), text(&ended.stdout), text(&ended.stderr))
}

/// A workspace that was made by the same command, which knows by that how far the server must be.
async fn given(shape: Shape, settings: &[(&str, &str)]) -> (Platform, User) {
    let platform = Platform::with(shape, settings).await.unwrap();
    let ada = platform.user("ada").unwrap();
    let made = ends(platform.cooper("ada").unwrap().args(["workspace", "create", "vision"]));
    assert_eq!(made.0, 0, "{}", made.2);
    (platform, ada)
}

// covers R24, R25, R29, R38, R80
#[tokio::test]
async fn engine_a_directory_is_built_without_what_dockerignore_names() {
    let (platform, ada) = given(Shape::One, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mine = format!("of {}", platform.address());
    for (path, content) in [
        ("Dockerfile", "FROM scratch\nCOPY . /context\n"),
        (
            ".dockerignore",
            "**/*.log\nnode_modules\n!logs/keep.log\nsecret?\n.dockerignore\n",
        ),
        ("app/main.js", &mine),
        ("app/debug.log", "left out"),
        ("logs/keep.log", "kept"),
        ("logs/old.log", "left out"),
        ("node_modules/left/pad.js", "left out"),
        ("secret1", "left out"),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let mut build = platform.cooper("ada").unwrap();
    build
        .args(["--workspace", "vision", "build", "-t", "vision/tool"])
        .arg(folder.path());
    let (code, reference, said) = ends(&mut build);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("attached 2 files"), "{said}");
    assert!(said.contains("revision 1 is saved"), "{said}");
    assert!(!said.contains(reference.trim()), "the reference is the answer: {said}");
    let (code, answer, said) = ends(platform.cooper("ada").unwrap().args(["image", "cancel", "vision/tool"]));
    assert_eq!(
        (code, answer.contains("had ended already: succeeded")),
        (0, true),
        "{answer}{said}"
    );

    tests::fetch(reference.trim()).await.unwrap();
    let files = tests::files(reference.trim()).await.unwrap();
    let of_context: Vec<&str> = files.keys().filter_map(|path| path.strip_prefix("context/")).collect();
    // The Dockerfile is the editor's, and a build sees it.
    for kept in ["app/main.js", "logs/keep.log"] {
        assert!(of_context.contains(&kept), "{of_context:?}");
    }
    for left_out in [
        "app/debug.log",
        "logs/old.log",
        "node_modules/left/pad.js",
        "secret1",
        ".dockerignore",
    ] {
        assert!(!of_context.contains(&left_out), "{of_context:?}");
    }
    assert_eq!(files["context/app/main.js"], mine.as_bytes());
    platform.saw_commands("ada", &ada).unwrap();
    let revision = ada.revision("vision/tool", None).await.unwrap();
    assert_eq!((revision.number, revision.spec.unwrap().context.unwrap().files), (1, 2));
}

// covers R27, R28, R80
#[tokio::test]
async fn a_save_takes_a_directory_a_tar_or_stdin_and_says_when_nothing_changed() {
    let (platform, ada) = given(Shape::One, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (context, tar) = (folder.path().join("context"), folder.path().join("context.tar"));
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY a /\n").unwrap();
    fs::write(context.join("a"), "a").unwrap();
    let cooper = |words: &[&str]| {
        let mut command = platform.cooper("ada").unwrap();
        command.args(["--workspace", "vision", "image"]).args(words);
        command
    };
    let context_word = context.to_str().unwrap();
    let made = ends(&mut cooper(&["create", "vision/tool", "--context", context_word]));
    assert_eq!(made.0, 0, "{}", made.2);
    let same = ends(&mut cooper(&["save", "vision/tool", "--context", context_word]));
    assert_eq!(same.0, 0, "{}", same.2);
    assert!(
        same.2.contains("nothing changed") || same.1.contains("nothing changed"),
        "{same:?}"
    );

    fs::write(
        &tar,
        tests::archive(&[("Dockerfile", b"FROM scratch\nCOPY b /\n"), ("b", b"b")]).unwrap(),
    )
    .unwrap();
    let from_tar = ends(&mut cooper(&[
        "save",
        "vision/tool",
        "--context",
        tar.to_str().unwrap(),
    ]));
    assert_eq!(from_tar.0, 0, "{}", from_tar.2);
    let from_stdin = ends(cooper(&["save", "vision/tool", "--context", "-"]).stdin(fs::File::open(&tar).unwrap()));
    assert_eq!(from_stdin.0, 0, "{}", from_stdin.2);

    platform.saw_commands("ada", &ada).unwrap();
    let revisions = ada.revisions("vision/tool").await.unwrap();
    assert_eq!(revisions.len(), 2, "{revisions:?}");
    let spec = ada.revision("vision/tool", None).await.unwrap().spec.unwrap();
    assert_eq!(spec.dockerfile, "FROM scratch\nCOPY b /\n");
    let (code, _, said) = ends(&mut cooper(&["restore", "vision/tool", "1"]));
    assert_eq!(code, 0, "{said}");
    let (_, dockerfile, _) = ends(&mut cooper(&["dockerfile", "vision/tool"]));
    assert_eq!(dockerfile, "FROM scratch\nCOPY a /\n");

    // What can't be a context is one sentence, and no revision.
    let outside = folder.path().join("escape.tar");
    fs::write(&outside, super::uploads::escape()).unwrap();
    let (code, _, said) = ends(&mut cooper(&[
        "save",
        "vision/tool",
        "--context",
        outside.to_str().unwrap(),
    ]));
    assert_eq!(code, 65, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("'../outside' leaves the context"), "{said}");
    platform.saw_commands("ada", &ada).unwrap();
    assert_eq!(ada.revisions("vision/tool").await.unwrap().len(), 3);
}

// covers R25
#[tokio::test]
async fn a_directory_that_is_too_large_is_told_with_the_figures_through_the_gateway_too() {
    let settings = [("COOPERAGE_EDITOR__CONTEXT_BYTES_MAX", "20000000")];
    let (platform, ada) = given(Shape::Many, &settings).await;
    let context = tempfile::tempdir().unwrap();
    fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    for number in 0..40 {
        fs::write(context.path().join(number.to_string()), vec![number; 1_000_000]).unwrap();
    }
    let mut create = platform.cooper("ada").unwrap();
    create.args(["--workspace", "vision", "image", "create", "vision/tool", "--context"]);
    let (code, _, said) = ends(create.arg(context.path()));
    assert_eq!(code, 75, "{said}");
    assert!(
        said.contains("the context has more than 20000000 bytes; name what the build does not need in .dockerignore"),
        "{said}"
    );
    // The image is made, so what is left to do is a save.
    fs::write(context.path().join(".dockerignore"), "2*\n3*\n").unwrap();
    let mut save = platform.cooper("ada").unwrap();
    let (code, _, said) = ends(
        save.args(["image", "save", "vision/tool", "--context"])
            .arg(context.path()),
    );
    assert_eq!(code, 0, "{said}");
    platform.saw_commands("ada", &ada).unwrap();
    assert_eq!(ada.revisions("vision/tool").await.unwrap().len(), 1);
}

// covers R24, E6
#[tokio::test]
async fn an_edit_is_saved_to_the_image_that_was_opened_whatever_it_is_called_by_then() {
    let (platform, ada) = given(Shape::One, &[]).await;
    let mut create = platform.cooper("ada").unwrap();
    create.args(["--workspace", "vision", "image", "create", "vision/opened", "-q"]);
    let (code, opened, said) = ends(&mut create);
    assert_eq!(code, 0, "{said}");
    let folder = tempfile::tempdir().unwrap();
    let editor = folder.path().join("editor");
    let cooper = binary("cooper").unwrap().display().to_string();
    // While somebody types, somebody else calls the image otherwise.
    let script = format!(
        "#!/bin/sh\n{cooper} image rename vision/opened vision/moved && printf 'FROM scratch\\nLABEL mine=1\\n' > \"$1\"\n"
    );
    fs::write(&editor, script).unwrap();
    fs::set_permissions(&editor, Permissions::from_mode(0o755)).unwrap();
    let mut edit = platform.cooper("ada").unwrap();
    edit.env_remove("VISUAL").env("EDITOR", &editor);
    let (code, _, said) = ends(edit.args(["image", "edit", "vision/opened"]));
    assert_eq!(code, 0, "{said}");
    platform.saw_commands("ada", &ada).unwrap();
    let saved = ada.revisions("vision/moved").await.unwrap();
    assert_eq!(saved.len(), 1);
    assert_eq!(ada.revisions(opened.trim()).await.unwrap(), saved);
}

// covers R1, R24, R26, R36
#[tokio::test]
async fn a_spec_that_is_refused_leaves_no_image_behind() {
    let (platform, _) = given(Shape::One, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("Large");
    fs::write(&large, "#".repeat(256 * 1024 + 1)).unwrap();
    let cooper = |words: &[&str]| {
        let mut command = platform.cooper("ada").unwrap();
        command.args(["--workspace", "vision"]).args(words);
        command.env_remove("VISUAL").env_remove("EDITOR");
        ends(command.stdin(std::process::Stdio::null()))
    };
    let name = "vision/tool";
    for (words, code, sentence) in [
        (&["--git", "http://example.org/a"][..], 65, "'http' is not allowed"),
        (&["--git", "ftp://example.org/a"], 65, "'ftp' is not allowed"),
        (&["-f", large.to_str().unwrap()], 75, "the Dockerfile has 262145 bytes"),
        (&["-f", "absent"], 65, "no such file"),
        (&["--build-arg", "1=x"], 65, "the name of a build argument"),
        (&["--dir", "docker"], 2, "--git"),
    ] {
        let (ended, _, said) = cooper(&[&["image", "create", name], words].concat());
        assert_eq!(ended, code, "{words:?}: {said}");
        assert!(said.contains(sentence), "{words:?}: {said}");
    }
    let (ended, _, said) = cooper(&["build", "-t", name, "http://example.org/a"]);
    assert_eq!((ended, said.contains("'http' is not allowed")), (65, true), "{said}");
    assert_eq!(cooper(&["image", "ls", "-q"]).1, "");

    let (ended, _, said) = cooper(&["image", "show", name, "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (ended, &error["error"]["code"], &error["error"]["reason"]),
        (72, &"NOT_FOUND".into(), &"NO_SUCH_IMAGE".into())
    );
    assert!(said.contains("no such image `vision/tool`"), "{said}");

    let made = cooper(&["image", "create", name, "--git", "https://example.org/a#v1"]);
    assert_eq!(made.0, 0, "{}", made.2);
    let saved = cooper(&["image", "save", name, "--dir", "docker"]);
    assert_eq!(saved.0, 0, "{}", saved.2);
    let (_, revision, _) = cooper(&["image", "dockerfile", name, "--output", "json"]);
    let git = r#""git":{"directory":"docker","ref":"v1","url":"https://example.org/a"}"#;
    assert!(revision.contains(git), "{revision}");

    let (ended, _, said) = cooper(&["image", "edit", name]);
    assert_eq!(
        (ended, said.contains("image save vision/tool -f -")),
        (2, true),
        "{said}"
    );
}
