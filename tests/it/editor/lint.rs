//! What is said about a Dockerfile, and what changed from one revision to another.

use super::{Given, given, local};
use proto::editor::v1::{
    BuildSpec, DiffRevisionsRequest, DiffRevisionsResponse, LintDockerfileRequest, SaveSpecRequest, Severity,
};
use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};
use tests::{Platform, Shape, User, detail, reason};
use tonic::{Code, Status};

async fn lint(user: &User, image: &str, dockerfile: Option<&str>) -> Result<Vec<(u32, Severity, String)>, Status> {
    let request = LintDockerfileRequest {
        image: image.to_owned(),
        dockerfile: dockerfile.map(str::to_owned),
    };
    let found = user.editor().lint_dockerfile(request).await?.into_inner().diagnostics;
    let told = found
        .into_iter()
        .map(|found| (found.line, found.severity(), found.rule));
    Ok(told.collect())
}

async fn diff(user: &User, image: &str, from: Option<u32>, to: Option<u32>) -> DiffRevisionsResponse {
    let image = image.to_owned();
    let request = DiffRevisionsRequest { image, from, to };
    user.editor().diff_revisions(request).await.unwrap().into_inner()
}

fn told(line: u32, severity: Severity, rule: &str) -> (u32, Severity, String) {
    (line, severity, rule.to_owned())
}

// covers R52, R87, R90
#[tokio::test]
async fn a_save_says_what_is_wrong_and_takes_it_all_the_same() {
    let Given { home, ada, image } = given().await;
    let broken = "FROM a:1\nRNU make\nEXPOSE 80 # web\n";
    let expected = [
        told(2, Severity::Error, "UnknownInstruction"),
        told(3, Severity::Warning, "TrailingRemark"),
    ];
    let saved = ada.save(&image, broken, None).await.unwrap();
    assert_eq!((saved.revision, saved.created), (1, true));
    let of_save: Vec<_> = saved
        .diagnostics
        .iter()
        .map(|found| (found.line, found.severity(), found.rule.clone()))
        .collect();
    assert_eq!(of_save, expected);
    assert_eq!(saved.diagnostics[0].hint, "did you mean RUN?");
    assert_eq!(ada.revision(&image, None).await.unwrap().diagnostics, saved.diagnostics);
    assert_eq!(
        ada.revisions(&image).await.unwrap()[0].diagnostics,
        [],
        "a list has no Dockerfiles"
    );
    assert_eq!(lint(&ada, &image, None).await.unwrap(), expected);

    // Before anything is saved, and whatever is saved.
    assert_eq!(lint(&ada, "", Some(broken)).await.unwrap(), expected);
    assert_eq!(lint(&ada, &image, Some("FROM a:1\n")).await.unwrap(), []);
    let first = SaveSpecRequest {
        spec: Some(local(broken)),
        validate_only: true,
        ..SaveSpecRequest::default()
    };
    let first = ada.editor().save_spec(first).await.unwrap().into_inner();
    assert_eq!(first.diagnostics, saved.diagnostics);

    // With the arguments that are saved, another base is meant.
    let with_argument = BuildSpec {
        build_args: [("TAG".to_owned(), "latest".to_owned())].into(),
        ..local("ARG TAG=1\nFROM a:$TAG\n")
    };
    let saved = ada.save_spec(&image, with_argument).await.unwrap();
    assert_eq!(saved.diagnostics[0].rule, "UnpinnedBase");
    let text = Some("ARG TAG=1\nFROM a:$TAG\n");
    assert_eq!(lint(&ada, &image, text).await.unwrap().len(), 1);
    assert_eq!(lint(&ada, "", text).await.unwrap(), []);

    // A Dockerfile that is not used is not judged.
    ada.save_spec(&image, super::git("https://example.org/a"))
        .await
        .unwrap();
    assert_eq!(lint(&ada, &image, None).await.unwrap(), []);

    let large = lint(&ada, "", Some(&"#".repeat(256 * 1024 + 1))).await.unwrap_err();
    assert_eq!(
        (large.code(), reason(&large)),
        (Code::ResourceExhausted, "DOCKERFILE_TOO_LARGE".to_owned())
    );
    assert_eq!(
        (detail(&large, "bytes").as_str(), detail(&large, "limit").as_str()),
        ("262145", "262144")
    );
    let nothing = lint(&ada, "", None).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let eve = home.user("eve").unwrap();
    let unseen = lint(&eve, &image, None).await.unwrap_err();
    assert_eq!(
        (unseen.code(), reason(&unseen)),
        (Code::NotFound, "NO_SUCH_IMAGE".to_owned())
    );
    assert_eq!(lint(&eve, "", Some("FROM a:1\n")).await.unwrap(), []);
}

// covers R27, R28
#[tokio::test]
async fn two_revisions_are_compared_in_either_direction() {
    let Given {
        home: _home,
        ada,
        image,
    } = given().await;
    assert_eq!(diff(&ada, &image, None, None).await.to, 0, "nothing is saved");
    ada.save(&image, "FROM a:1\nRUN x\n", None).await.unwrap();
    let second = BuildSpec {
        target: "b".to_owned(),
        ..local("FROM a:2\nRUN x\n")
    };
    ada.save_spec(&image, second).await.unwrap();
    ada.save(&image, "FROM a:2\nRUN x\n", None).await.unwrap();

    let last = diff(&ada, &image, None, None).await;
    assert_eq!((last.from, last.to, last.dockerfile.as_str()), (2, 3, ""));
    let told: Vec<_> = last
        .changes
        .iter()
        .map(|change| (&*change.field, &*change.before, &*change.after))
        .collect();
    assert_eq!(told, [("target", "b", "")]);
    let text = "@@ -1,2 +1,2 @@\n-FROM a:1\n+FROM a:2\n RUN x\n";
    assert_eq!(diff(&ada, &image, Some(1), None).await.dockerfile, text);
    let back = diff(&ada, &image, Some(3), Some(1)).await.dockerfile;
    assert_eq!(back, "@@ -1,2 +1,2 @@\n-FROM a:2\n+FROM a:1\n RUN x\n");
    let first = diff(&ada, &image, None, Some(1)).await;
    assert_eq!(
        (first.from, first.dockerfile.as_str()),
        (0, "@@ -0,0 +1,2 @@\n+FROM a:1\n+RUN x\n")
    );
    assert_eq!(first.changes[0].field, "context_kind");

    let request = DiffRevisionsRequest {
        image,
        from: Some(9),
        to: None,
    };
    let absent = ada.editor().diff_revisions(request).await.unwrap_err();
    assert_eq!(reason(&absent), "NO_SUCH_REVISION");
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

// covers R27, R28, R52, E6
#[tokio::test]
async fn the_command_says_what_is_wrong_and_what_changed_under_ones_hands() {
    let platform = Platform::with(Shape::One, &[]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cooper = |words: &[&str]| {
        let mut command = platform.cooper("ada").unwrap();
        command
            .current_dir(folder.path())
            .args(["--workspace", "vision"])
            .args(words);
        command
    };
    let write = |text: &str| fs::write(folder.path().join("Dockerfile"), text).unwrap();
    assert_eq!(
        ended(platform.cooper("ada").unwrap().args(["workspace", "create", "vision"])).0,
        0
    );

    write("FROM a:1\nRUN cd /x\nRNU y\n");
    let (code, found, _) = ended(&mut cooper(&["image", "lint"]));
    let expected = "Dockerfile:2:5: warning: cd /x ends with this RUN, and the next begins where this one began \
         [CdInsteadOfWorkdir]\n    write WORKDIR /x before it\n\
         Dockerfile:3:1: error: unknown instruction `RNU` [UnknownInstruction]\n    did you mean RUN?\n";
    assert_eq!((code, found.as_str()), (1, expected));
    let (code, found, _) = ended(&mut cooper(&["image", "lint", "--output", "json"]));
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (code, &found["diagnostics"][1]["rule"]),
        (1, &"UnknownInstruction".into())
    );
    assert_eq!(found["diagnostics"][1]["severity"], "SEVERITY_ERROR");

    let mut piped = cooper(&["image", "lint", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(b"FROM a\n").unwrap();
    let piped = piped.wait_with_output().unwrap();
    assert_eq!(piped.status.code(), Some(0), "advice is no failure");
    assert!(
        String::from_utf8(piped.stdout)
            .unwrap()
            .starts_with("Dockerfile:1:6: warning: ")
    );

    let (code, _, said) = ended(&mut cooper(&["image", "create", "vision/tool", "-f", "Dockerfile"]));
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("Dockerfile:3:1: error: unknown instruction `RNU`"),
        "{said}"
    );
    assert!(!said.contains("did you mean"), "it is said in short: {said}");
    write("FROM a:1\nRUN y\n");
    let (code, _, said) = ended(&mut cooper(&["image", "save", "vision/tool", "-f", "Dockerfile"]));
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(ended(&mut cooper(&["image", "lint", "vision/tool"])).0, 0);

    let (code, told, _) = ended(&mut cooper(&["image", "diff", "vision/tool"]));
    let changed = "--- Dockerfile, revision 1\n+++ Dockerfile, revision 2\n@@ -1,3 +1,2 @@\n FROM a:1\n-RUN cd /x\n-RNU y\n+RUN y\n";
    assert_eq!((code, told.as_str()), (0, changed));
    write("FROM a:1\nRUN z\n");
    let late = [
        "image",
        "save",
        "vision/tool",
        "-f",
        "Dockerfile",
        "--expect-revision",
        "1",
    ];
    let (code, _, said) = ended(&mut cooper(&late));
    assert_eq!(code, 75, "{said}");
    assert!(said.starts_with(changed), "{said}");
    assert!(
        said.contains("saved by ada, and you looked at 1 (since then: dockerfile)"),
        "{said}"
    );

    // While somebody types, somebody else saves.
    let editor = folder.path().join("editor");
    let script = format!(
        "#!/bin/sh\n{} image save vision/tool -f Dockerfile --target t && printf 'FROM a:2\\n' > \"$1\"\n",
        tests::binary("cooper").unwrap().display()
    );
    fs::write(&editor, script).unwrap();
    fs::set_permissions(&editor, Permissions::from_mode(0o755)).unwrap();
    let mut edit = cooper(&["image", "edit", "vision/tool"]);
    let (code, _, said) = ended(edit.env_remove("VISUAL").env("EDITOR", &editor));
    assert_eq!(code, 75, "{said}");
    assert!(
        said.contains("-RUN y\n+RUN z\n") && said.contains("+target: t\n"),
        "{said}"
    );
    assert!(
        said.contains("(since then: dockerfile, target)") && said.contains("your text is kept in "),
        "{said}"
    );
}
