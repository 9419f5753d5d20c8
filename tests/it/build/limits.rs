//! What a build may not do, or not for long; and that its log is there afterwards.

use super::{in_both_shapes, platform};
use proto::catalog::v1::BuildOutcome;
use tests::{BUSYBOX, Child, Platform, Shape, binary, busybox, detail, engine, reason};
use tonic::Code;

in_both_shapes!(
    engine_a_log_gives_a_terminal_nothing_but_text_and_colours,
    engine_a_build_that_takes_too_long_keeps_its_log,
    engine_a_log_that_made_room_for_others_says_so,
);

fn now() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos()
}

// covers R31, E3
async fn engine_a_log_gives_a_terminal_nothing_but_text_and_colours(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    let dockerfile = format!(
        "FROM {BUSYBOX}\n\
         RUN printf 'A\\033]52;c;c2VjcmV0\\007B\\033[2JC\\302\\2332JD\\342\\200\\256E\\033[31mred\\033[0m<script>{}\\n'\n\
         RUN echo 'F\u{202e}G' && printf '\\033]0;never ended\\nnext\\n' && false\n",
        now()
    );
    ada.save(&image, &dockerfile, None).await?;
    let failed = ada.build(&image).await?;
    assert_eq!(failed.outcome(), BuildOutcome::Failed);
    let log = ada.log(&image, &failed.id, 0).await?;
    assert!(log.contains("ABCDE\u{1b}[31mred\u{1b}[0m<script>"), "{log}");
    assert!(log.contains(" FG\n") && log.contains(" next\n"), "{log}");
    let rest = log.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
    let is_bad = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
    assert_eq!(rest.chars().find(is_bad), None, "{log:?}");
    let told = failed.steps.iter().map(|step| &step.name).chain([&failed.cause]);
    for text in told {
        assert_eq!(text.chars().find(is_bad), None, "{text:?}");
    }
    Ok(())
}

// covers R31, E3
async fn engine_a_build_that_takes_too_long_keeps_its_log(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[("COOPERAGE_BUILDER__IDLE_MINUTES_MAX", "0")]).await?;
    ada.save(
        &image,
        &format!("FROM {BUSYBOX}\nRUN echo {} && sleep 600\n", now()),
        None,
    )
    .await?;
    let failed = ada.build(&image).await?;
    assert_eq!(failed.outcome(), BuildOutcome::Failed);
    assert_eq!(failed.cause, "no output for 0 minutes (builder.idle_minutes_max)");
    let log = ada.log(&image, &failed.id, 0).await?;
    assert!(
        log.starts_with("#0 building revision 1") && log.ends_with(&format!("ERROR: {}\n", failed.cause)),
        "{log}"
    );
    Ok(())
}

// covers E3
async fn engine_a_log_that_made_room_for_others_says_so(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (platform, ada, image) = platform(shape, &[("COOPERAGE_NATS__OUTPUT_BYTES_MAX", "150000")]).await?;
    // More slowly than the engine cuts it.
    let prints = |seconds: u32| {
        let line = "x".repeat(100);
        format!(
            "FROM {BUSYBOX}\nRUN echo {} && for s in $(seq {seconds}); do \
             for n in $(seq 700); do echo \"line $s-$n {line}\"; done; sleep 1; done\n",
            now()
        )
    };
    ada.save(&image, "FROM scratch\n", None).await?;
    let short = ada.build(&image).await?;
    ada.save(&image, &prints(4), None).await?;
    let long = ada.build(&image).await?;

    let gone = ada.log(&image, &short.id, 0).await.unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone).as_str()),
        (Code::OutOfRange, "POSITION_GONE")
    );
    assert!(
        gone.message().starts_with("nothing is kept of this build's log"),
        "{gone:?}"
    );
    for follow in [true, false] {
        let gone = if follow {
            ada.log(&image, &long.id, 0).await
        } else {
            ada.log_so_far(&image, &long.id).await
        };
        let gone = gone.unwrap_err();
        assert_eq!(
            (gone.code(), reason(&gone).as_str()),
            (Code::OutOfRange, "POSITION_GONE")
        );
        let first: i64 = detail(&gone, "first").parse()?;
        let rest = ada.log(&image, &long.id, first).await?;
        assert!(rest.contains("line 4-700 ") && !rest.contains("line 1-1 "), "{rest}");
    }
    let mut logs = platform.cooper("ada")?;
    logs.args(["image", "logs", &image, &long.id]);
    let said = logs.output()?;
    assert!(said.status.success());
    let notice = String::from_utf8(said.stderr)?;
    assert!(notice.contains("are not kept any more"), "{notice}");
    assert!(String::from_utf8(said.stdout)?.contains("line 4-700 "));
    Ok(())
}

#[tokio::test]
async fn engine_that_lets_builds_out_is_none_for_people_who_do_not_trust_each_other() -> anyhow::Result<()> {
    let version = engine().await?.version().await?.version.unwrap_or_default();
    let major: u32 = version.split('.').next().unwrap_or_default().parse()?;
    let untrusted = [("COOPERAGE_BUILDER__UNTRUSTED_BUILDS", "true")];
    if major > 25 {
        Platform::with(Shape::One, &untrusted).await?;
        return Ok(());
    }
    let data = tempfile::tempdir()?;
    let mut command = std::process::Command::new(binary("cooper")?);
    command
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .env("COOPERAGE_REGISTRY__HOST", "127.0.0.1:0")
        .envs(untrusted);
    let mut refused = Child::spawn("cooper up", &mut command)?;
    assert!(!refused.ends().await?.success());
    let said = refused.said().join("\n");
    let sentence =
        format!("engine {version} is below 25.0.2 (CVE-2024-24557); set builder.untrusted_builds = false or upgrade");
    assert!(said.contains(&sentence), "{said}");
    Ok(())
}
