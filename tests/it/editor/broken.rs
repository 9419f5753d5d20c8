//! Dockerfiles that are wrong, as the engine sees them and as we do.

use bollard::{
    body_full,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion, RemoveImageOptions},
};
use futures::TryStreamExt as _;
use tests::{busybox, engine};

/// What the engine says to a Dockerfile without any files, through no code of ours.
async fn built(name: &str, dockerfile: &str) -> Result<(), String> {
    let docker = engine().await.unwrap();
    let tag = format!("cooperage-test-{name}-{}", std::process::id());
    let options = BuildImageOptionsBuilder::default()
        .t(&tag)
        .version(BuilderVersion::BuilderBuildKit)
        .session(&tag);
    let archive = tests::archive(&[("Dockerfile", dockerfile.as_bytes())]).unwrap();
    let items = docker.build_image(options.build(), None, Some(body_full(archive.into())));
    let ended = items
        .map_err(|error| error.to_string())
        .try_for_each(async |_| Ok(()))
        .await;
    // What could not be built is not there.
    let _ = docker.remove_image(&tag, None::<RemoveImageOptions>, None).await;
    ended
}

/// The number of the line, in the words of whichever engine.
fn line_in(told: &str) -> Option<u32> {
    let behind = |mark: &str| {
        let rest = told.split_once(mark)?.1;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    ["error on line ", "error line ", "Dockerfile:"]
        .into_iter()
        .find_map(behind)
}

// covers R52
#[tokio::test]
async fn engine_stops_at_the_line_that_is_named() {
    let base = busybox().await.unwrap();
    for (name, rest) in [
        ("unknown", "RUN true\nRNU false\n"),
        ("continued", "RUN true &&\\\n  # a remark\n  true\nCOPY one\n"),
        ("flag", "COPY --form=x a /a\n"),
        ("env", "ENV A=1 B\n"),
        ("remark", "ENV A=1 # one\n"),
        ("json", "CMD [1]\n"),
        ("mount", "RUN true\nRUN --mount=type=bnd,target=/x true\n"),
        ("onbuild", "ONBUILD FROM scratch\n"),
        ("health", "HEALTHCHECK maybe\n"),
        ("interval", "HEALTHCHECK --interval=5 CMD true\n"),
        ("stage", "FROM scratch as 1a\n"),
        ("from", "FROM scratch # nothing\n"),
        ("shell", "SHELL bash -c\n"),
    ] {
        let text = format!("# {name}\nFROM {base}\n\n{rest}");
        let said = built(name, &text).await.unwrap_err();
        let errors = dockerfile::parse(&text).errors;
        let ours = errors.first().map_or(0, |error| error.line);
        if let Some(line) = line_in(&said) {
            assert_eq!(ours, line, "{name}: {said}, we: {errors:?}");
        } else {
            // Old engines name no line for what they can't read; without it and what follows, they can.
            let before: String = text.split_inclusive('\n').take(ours as usize - 1).collect();
            assert_eq!(built(name, &before).await, Ok(()), "{name}: {said}, we: {errors:?}");
        }
    }
    // Both are wrong, and only one of them is about reading.
    let text = format!("FROM {base}\nRNU x\nENV A\n");
    let said = built("read-first", &text).await.unwrap_err();
    assert!(said.contains("ENV must have two arguments"), "{said}");
    assert_eq!(dockerfile::parse(&text).errors[0].line, 3);
}

// covers R52, R82, R96
#[tokio::test]
async fn engine_builds_what_nothing_is_said_about() {
    let base = busybox().await.unwrap();
    let text = format!(
        "\u{feff}# escape=`\r\nARG BASE={base}\r\nFROM ${{BASE}} AS first\r\nRUN echo one `\r\n  # a remark\r\n && echo two\r\n\
         ONBUILD RUN true\r\nHEALTHCHECK --interval=5s CMD true\r\nFROM scratch\r\nCOPY --from=first /bin/true /\r\n\
         CMD [\"/true\"]\r\n"
    );
    assert_eq!(dockerfile::lint(&text, &dockerfile::LintOptions::default()), []);
    assert_eq!(built("whole", &text).await, Ok(()));
}
