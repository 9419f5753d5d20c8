//! What no engine gets to see, and what is read only by whom it is shared with.

use super::{in_both_shapes, platform, save_hello};
use proto::{
    builder::v1::{BuildOptions, BuildPhase, StartBuildRequest},
    catalog::v1::BuildOutcome,
    editor::v1::{BuildSpec, ContextKind, GitSource},
};
use tests::{Shape, git::GitServer, reason};

in_both_shapes!(
    engine_what_is_forbidden_fails_before_it_begins,
    engine_a_base_of_others_is_as_if_it_were_not_there,
    a_secret_is_no_argument,
);

// covers R25, E9
async fn engine_what_is_forbidden_fails_before_it_begins(shape: Shape) -> anyhow::Result<()> {
    let git = [
        ("COOPERAGE_BUILDER__GIT_HTTP", "true"),
        ("COOPERAGE_BUILDER__GIT_PRIVATE_HOSTS", "true"),
    ];
    let (_platform, ada, image) = platform(shape, &git).await?;
    for (dockerfile, told) in [
        (
            "FROM scratch\nRUN --network=host x\n",
            "Dockerfile line 2: --network=host is not allowed",
        ),
        (
            "FROM scratch\nRUN --security=insecure x\n",
            "Dockerfile line 2: --security=insecure",
        ),
        (
            "# syntax=evil/frontend\nFROM scratch\n",
            "Dockerfile line 1: the frontend `evil/frontend` is not allowed",
        ),
        (
            "FROM scratch\nWORKDIR /proc/self/fd/8\n",
            "Dockerfile line 2: WORKDIR /proc/self/fd/8",
        ),
        (
            "FROM cooperage-artifact/x:1\n",
            "Dockerfile line 1: cooperage-artifact/x:1: no such image",
        ),
    ] {
        ada.save(&image, dockerfile, None).await?;
        let failed = ada.build(&image).await?;
        assert_eq!(
            (failed.outcome(), failed.failed_phase()),
            (BuildOutcome::Failed, BuildPhase::Fetching),
            "{dockerfile}"
        );
        assert!(failed.cause.starts_with(told), "{}", failed.cause);
    }

    let server = GitServer::start();
    server.commit(&[("Dockerfile", "FROM scratch\nRUN --network=host x\n")]);
    let spec = BuildSpec {
        context_kind: ContextKind::GitRepository.into(),
        git: Some(GitSource {
            url: server.url(),
            ..GitSource::default()
        }),
        // Of the other kind of context, and not built now.
        dockerfile: "FROM scratch\n".to_owned(),
        ..BuildSpec::default()
    };
    ada.save_spec(&image, spec).await?;
    let failed = ada.build(&image).await?;
    assert!(
        failed.cause.starts_with("Dockerfile line 2: --network=host"),
        "{}",
        failed.cause
    );

    // What is allowed is read by the engine itself, which fetches nothing.
    let content = ada.upload(&image, &[("hello", b"hello")]).await?;
    let allowed = "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY hello /\n";
    ada.save(&image, allowed, Some(content)).await?;
    let built = ada.build(&image).await?;
    assert_eq!(built.outcome(), BuildOutcome::Succeeded, "{}", built.cause);
    Ok(())
}

// covers R8
async fn engine_a_base_of_others_is_as_if_it_were_not_there(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, secret) = platform(shape, &[]).await?;
    save_hello(&ada, &secret, "one").await?;
    ada.build(&secret).await?;
    let eve = platform.user("eve")?;
    let workspace = eve.workspace("hers").await?;
    let image = eve.image(&workspace, "hers/tool").await?;
    let host = platform.registry_host();
    let port = host.rsplit_once(':').map(|(_, port)| port).unwrap_or_default();
    for dockerfile in [
        format!("FROM {host}/NAME\n"),
        format!("FROM scratch\nCOPY --from=localhost:{port}/NAME /hello /\n"),
        format!("ARG X={host}/NAME\nFROM $X\n"),
    ] {
        let mut told = Vec::new();
        for name in ["vision/tool", "vision/nothing"] {
            eve.save(&image, &dockerfile.replace("NAME", name), None).await?;
            let failed = eve.build(&image).await?;
            assert_eq!(failed.outcome(), BuildOutcome::Failed);
            assert!(
                failed.cause.contains("no such image, or it is not shared with you"),
                "{}",
                failed.cause
            );
            told.push(failed.cause.replace(name, "NAME"));
        }
        assert_eq!(told[0], told[1]);
    }
    Ok(())
}

// covers E9
async fn a_secret_is_no_argument(shape: Shape) -> anyhow::Result<()> {
    let (_platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    for (name, expected) in [
        ("AWS_SECRET_ACCESS_KEY", "BUILD_ARG_LOOKS_SECRET"),
        ("HTTP_PROXY", "INVALID_ARGUMENT"),
        ("BUILDKIT_SYNTAX", "INVALID_ARGUMENT"),
        ("A-B", "INVALID_ARGUMENT"),
    ] {
        let request = StartBuildRequest {
            image: image.clone(),
            options: Some(BuildOptions {
                build_args: [(name.to_owned(), "value".to_owned())].into(),
                ..BuildOptions::default()
            }),
            ..StartBuildRequest::default()
        };
        let refused = ada.builds().start_build(request).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{}", refused.message());
        assert!(refused.message().contains(name), "{}", refused.message());
    }
    Ok(())
}
