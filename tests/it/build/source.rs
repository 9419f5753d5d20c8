//! Contexts from git, and names that change under a published image.

use super::{in_both_shapes, platform, save_hello};
use proto::{
    catalog::v1::{BuildOutcome, CheckNameRequest, DeleteImageRequest, GetImageHistoryRequest, RenameImageRequest},
    editor::v1::{BuildSpec, ContextKind, GitSource},
};
use tests::{Shape, git::GitServer, reason};

in_both_shapes!(
    engine_a_repository_is_built_from_a_commit,
    engine_a_renamed_image_is_pulled_by_its_new_name,
    engine_what_is_purged_frees_its_name,
);

const GIT: [(&str, &str); 2] = [
    ("COOPERAGE_BUILDER__GIT_HTTP", "true"),
    ("COOPERAGE_BUILDER__GIT_PRIVATE_HOSTS", "true"),
];

fn from_git(url: &str, directory: &str, reference: &str) -> BuildSpec {
    BuildSpec {
        context_kind: ContextKind::GitRepository.into(),
        git: Some(GitSource {
            url: url.to_owned(),
            r#ref: reference.to_owned(),
            directory: directory.to_owned(),
        }),
        ..BuildSpec::default()
    }
}

// covers R24, R26, R35, R36
async fn engine_a_repository_is_built_from_a_commit(shape: Shape) -> anyhow::Result<()> {
    let (_platform, ada, image) = platform(shape, &GIT).await?;
    let server = GitServer::start();
    let commit = server.commit(&[
        ("app/Dockerfile", "FROM scratch\nCOPY file /file\n"),
        ("app/file", "content"),
    ]);
    ada.save_spec(&image, from_git(&server.url(), "app", "")).await?;
    let build = ada.build(&image).await?;
    assert_eq!(
        (build.outcome(), build.commit.as_str()),
        (BuildOutcome::Succeeded, commit.as_str()),
        "{}",
        build.cause
    );

    for (directory, reference, told) in [("nowhere", "", "nowhere"), ("app", "no-such-branch", "no-such-branch")] {
        ada.save_spec(&image, from_git(&server.url(), directory, reference))
            .await?;
        let failed = ada.build(&image).await?;
        assert_eq!(failed.outcome(), BuildOutcome::Failed);
        assert!(failed.cause.contains(told), "{}", failed.cause);
    }
    Ok(())
}

// covers R7, R17, R47
async fn engine_a_renamed_image_is_pulled_by_its_new_name(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    let build = ada.build(&image).await?;
    let rename = RenameImageRequest {
        image: image.clone(),
        name: "vision/renamed".to_owned(),
        ..RenameImageRequest::default()
    };
    ada.saw(ada.images().rename_image(rename).await?.into_inner().position);
    let reference = format!("{}/vision/renamed@{}", platform.registry_host(), build.digest);
    until_free(&ada, "vision/tool").await?;
    assert_eq!(ada.resolve("vision/renamed").await?, reference);
    tests::pull(&reference).await?;
    Ok(())
}

// covers R15, R18, R84, E17
async fn engine_what_is_purged_frees_its_name(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    ada.build(&image).await?;
    let reference = ada.resolve(&image).await?;
    let delete = async |purge| {
        let delete = DeleteImageRequest {
            image: image.clone(),
            purge,
            ..DeleteImageRequest::default()
        };
        let position = ada.images().delete_image(delete).await?.into_inner().position;
        anyhow::Ok(ada.saw(position))
    };
    delete(false).await?;
    assert_eq!(reason(&ada.tile(&image).await.unwrap_err()), "NO_SUCH_IMAGE");
    let purged = delete(true).await?;
    assert_eq!(delete(true).await?, purged);
    until_free(&ada, "vision/tool").await?;
    assert!(
        tests::pull(&reference).await.is_err(),
        "purged content can still be pulled"
    );

    let all = GetImageHistoryRequest {
        image: image.clone(),
        ..GetImageHistoryRequest::default()
    };
    let entries = ada.history().get_image_history(all).await?.into_inner().entries;
    let types: Vec<String> = entries.into_iter().map(|entry| entry.r#type).collect();
    assert!(
        ["image.created", "image.deleted", "image.purged"]
            .iter()
            .all(|told| types.contains(&(*told).to_owned()))
    );

    let bob = platform.user("bob")?;
    let workspace = bob.workspace("other").await?;
    bob.image(&workspace, "vision/tool").await?;
    Ok(())
}

/// The watch of the tiles tells of each change; whether the name is free is asked after each.
async fn until_free(ada: &tests::User, name: &str) -> anyhow::Result<()> {
    let mut events = ada
        .events()
        .subscribe(proto::notifier::v1::SubscribeRequest {
            after_position: Some(0),
            follow: true,
            ..Default::default()
        })
        .await?
        .into_inner();
    loop {
        let check = CheckNameRequest {
            name: name.to_owned(),
            ..CheckNameRequest::default()
        };
        if ada.images().check_name(check).await?.into_inner().free {
            return Ok(());
        }
        let next = tokio::time::timeout(std::time::Duration::from_millis(200), events.message()).await;
        if let Ok(event) = next {
            ada.saw(event?.unwrap_or_default().position);
        }
    }
}
