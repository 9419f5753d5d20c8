//! What an image is: a whole file system and how to run it, made on top of others, and never changed.

use super::{built, keys};
use proto::{
    builder::v1::{BuildOptions, StartBuildRequest},
    catalog::v1::BuildOutcome,
};
use tests::{Platform, Shape, User, busybox, reason};

async fn given(name: &str) -> anyhow::Result<(Platform, User, String)> {
    let platform = Platform::start(Shape::One).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let image = ada.image(&workspace, name).await?;
    Ok((platform, ada, image))
}

// covers R37, R38, R40, R45, R54, R87
#[tokio::test]
async fn engine_an_image_is_the_file_system_of_its_containers_and_they_never_change_it() -> anyhow::Result<()> {
    let base = busybox().await?;
    let (_platform, ada, image) = given("vision/tool").await?;
    let dockerfile = format!("FROM {base}\nCOPY own /own\nRUN echo made > /made\nCMD cat /own /made\n");
    let build = built(&ada, &image, &dockerfile, &[]).await?;
    let reference = ada.resolve(&image).await?;
    let docker = tests::fetch(&reference).await?;
    let own = format!("of {image}");

    // All of it: what the base has, what was copied, and what a step made.
    let files = tests::files(&reference).await?;
    assert_eq!(
        (&files["own"][..], &files["made"][..]),
        (own.as_bytes(), &b"made\n"[..])
    );
    assert!(files["bin/busybox"].len() > 100_000);

    // Its container runs the image's own command, each time on the same files.
    let told = format!("{own}made\n");
    let ran = tests::run(&reference, &[]).await?;
    assert_eq!((ran.code, ran.output.as_str()), (0, told.as_str()));

    // What a container writes and removes is its own.
    let before = docker.inspect_image(&reference).await?;
    let vandal = [
        "/bin/sh",
        "-c",
        "echo other > /own; echo more > /more; busybox rm /made; exit 3",
    ];
    let changed = tests::run(&reference, &vandal).await?;
    assert_eq!(changed.code, 3);
    assert_eq!(changed.files["own"], b"other\n");
    assert!(changed.files.contains_key("more") && !changed.files.contains_key("made"));
    assert_eq!(tests::files(&reference).await?, files);
    assert_eq!(tests::run(&reference, &[]).await?.output, told);
    assert_eq!(docker.inspect_image(&reference).await?, before);
    assert_eq!(ada.resolve(&image).await?, reference);
    let told = super::inspect(&ada, &image, "").await?;
    assert_eq!(told.digest, build.digest);
    Ok(())
}

// covers R43, R44, R49, R83, R85
#[tokio::test]
async fn engine_a_build_starts_from_any_image_and_fetches_it_when_it_is_absent() -> anyhow::Result<()> {
    let base = busybox().await?;
    let (platform, ada, parent) = given("vision/parent").await?;
    let workspace = ada.tile(&parent).await?.workspace;
    let child = ada.image(&workspace, "vision/child").await?;
    let dockerfile = format!("FROM {base}\nENV FROM_PARENT=yes\nWORKDIR /parent\nCOPY own .\nRUN echo 1 > number\n");
    let of_parent = built(&ada, &parent, &dockerfile, &["v1"]).await?;

    // Here it has only the name that its build gave it, and that goes, too.
    let tagged = format!("{}/vision/parent:v1", platform.registry_host());
    let docker = tests::engine().await?;
    assert!(
        docker.inspect_image(&tagged).await.is_err(),
        "{tagged} is not in the engine yet"
    );

    // By a tag, by a digest, from an image of the engine alone, and from nothing.
    let digest = format!("{}/vision/parent@{}", platform.registry_host(), of_parent.digest);
    let dockerfile = format!(
        "ARG BASE={tagged}\nFROM {digest} AS other\nRUN echo other > /other\nFROM scratch AS nothing\n\
         COPY --from=other /other /other\nFROM ${{BASE}}\nRUN test $FROM_PARENT = yes && echo 2 >> number\n\
         COPY --from=nothing /other /other\nCOPY own /own\n"
    )
    .replace("RUN test", "RUN busybox test");
    built(&ada, &child, &dockerfile, &[]).await?;

    let (parent, child) = (ada.resolve(&parent).await?, ada.resolve(&child).await?);
    tests::fetch(&parent).await?;
    tests::fetch(&child).await?;
    let files = tests::files(&child).await?;
    assert_eq!(
        (&files["parent/number"][..], &files["other"][..]),
        (&b"1\n2\n"[..], &b"other\n"[..])
    );
    let (parent, child) = (
        docker.inspect_image(&parent).await?,
        docker.inspect_image(&child).await?,
    );
    let [below, all] =
        [&parent, &child].map(|image| image.root_fs.clone().and_then(|files| files.layers).unwrap_or_default());
    assert_eq!(all[..below.len()], below, "the parent's layers lie below, unchanged");
    assert_eq!(all.len(), below.len() + 3, "each later instruction is a layer");
    let run = child.config.unwrap_or_default();
    assert!(run.env.unwrap_or_default().contains(&"FROM_PARENT=yes".to_owned()));
    assert_eq!(run.working_dir.as_deref(), Some("/parent"));
    Ok(())
}

// covers R52, R83
#[tokio::test]
async fn engine_a_base_that_does_not_exist_is_named() -> anyhow::Result<()> {
    let (platform, ada, image) = given("vision/tool").await?;
    let absent = format!("{}/vision/absent:v1", platform.registry_host());
    ada.save(&image, &format!("FROM {absent}\n"), None).await?;
    let failed = ada.build(&image).await?;
    assert_eq!(failed.outcome(), BuildOutcome::Failed);
    assert!(failed.cause.contains(&absent), "{}", failed.cause);
    assert_eq!(reason(&ada.resolve(&image).await.unwrap_err()), "NOT_PUBLISHED");
    Ok(())
}

/// Every instruction of the reference, with a directive, comments and both ways to continue a line. `#` begins a
/// comment at the start of a line only.
const ALL: &str = r#"# escape=`
# a comment, where BASE is still unknown
ARG BASE
FROM ${BASE} AS first
MAINTAINER ada
ONBUILD RUN echo triggered > /triggered
ENV GREETING=hello `
    # a comment between the lines
    NAME="wide world"
ARG WHO=nobody
RUN echo $GREETING $WHO > /greeting

FROM first AS unused
RUN exit 1

FROM first
LABEL team="blue" `
      purpose=test
SHELL ["/bin/sh", "-e", "-c"]
WORKDIR /srv
WORKDIR data
COPY own ./
COPY --from=first /greeting /copied
ADD archive.tar /unpacked/
RUN ["/bin/busybox", "touch", "/touched"]
RUN false || echo shell > /shell
VOLUME /data
EXPOSE 8080 53/udp
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD true
USER 1000:1000
ENTRYPOINT ["/bin/sh", "-c"]
CMD cat /greeting # no comment
"#;

// covers R40, R41, R49, R52, R82, R96
#[tokio::test]
async fn engine_every_instruction_of_the_reference_does_what_it_says() -> anyhow::Result<()> {
    let base = busybox().await?;
    let (_platform, ada, image) = given("vision/tool").await?;
    let archive = tests::archive(&[("inside", b"unpacked")])?;
    let context = ada
        .upload(&image, &[("own", image.as_bytes()), ("archive.tar", &archive)])
        .await?;
    ada.save(&image, ALL, Some(context)).await?;
    let request = StartBuildRequest {
        image: image.clone(),
        options: Some(BuildOptions {
            build_args: [("BASE", base), ("WHO", "ada")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..BuildOptions::default()
        }),
        ..StartBuildRequest::default()
    };
    let started = ada
        .builds()
        .start_build(request)
        .await?
        .into_inner()
        .build
        .unwrap_or_default();
    let build = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(build.outcome(), BuildOutcome::Succeeded, "{}", build.cause);

    let reference = ada.resolve(&image).await?;
    let docker = tests::fetch(&reference).await?;
    let files = tests::files(&reference).await?;
    for (path, content) in [
        ("greeting", "hello ada\n"),
        ("copied", "hello ada\n"),
        ("triggered", "triggered\n"),
        ("srv/data/own", &*image),
        ("unpacked/inside", "unpacked"),
        ("touched", ""),
        ("shell", "shell\n"),
    ] {
        let found = files.get(path).map(|found| String::from_utf8_lossy(found).into_owned());
        assert_eq!(found.as_deref(), Some(content), "{path}");
    }
    let image = docker.inspect_image(&reference).await?;
    assert_eq!(image.author.as_deref(), Some("ada"));
    let run = image.config.unwrap_or_default();
    let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    assert_eq!(run.entrypoint, words(&["/bin/sh", "-c"]));
    assert_eq!(
        run.cmd,
        words(&["/bin/sh", "-e", "-c", "cat /greeting # no comment"]),
        "in the form of the shell"
    );
    let env = run.env.unwrap_or_default();
    assert!(
        env.contains(&"GREETING=hello".to_owned()) && env.contains(&"NAME=wide world".to_owned()),
        "{env:?}"
    );
    assert!(
        !env.iter().any(|pair| pair.starts_with("WHO")),
        "an ARG is no ENV: {env:?}"
    );
    assert_eq!(
        (run.working_dir.as_deref(), run.user.as_deref()),
        (Some("/srv/data"), Some("1000:1000"))
    );
    assert_eq!(run.stop_signal.as_deref(), Some("SIGINT"));
    let labels = keys(run.labels);
    assert_eq!((labels["team"].as_str(), labels["purpose"].as_str()), ("blue", "test"));
    let health = run.healthcheck.unwrap_or_default();
    assert_eq!((health.interval, health.retries), (Some(5_000_000_000), Some(2)));
    let described = super::inspect(&ada, "vision/tool", "").await?;
    assert_eq!(described.exposed_ports, ["53/udp", "8080/tcp"]);

    let ran = tests::run(&reference, &["cat /greeting"]).await?;
    assert_eq!((ran.code, ran.output.as_str()), (0, "hello ada\n"));
    Ok(())
}
