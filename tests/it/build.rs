//! From SAVE to something that can be pulled, on the engine of the machine, in both shapes.

mod cancel;
mod engine;
mod forbidden;
mod journal;
mod limits;
mod queue;
mod race;
mod records;
mod secrets;
mod source;
mod trace;
mod workers;

use proto::{
    builder::v1::Build,
    catalog::v1::{AddMemberRequest, BuildOutcome, ImageStatus, Role},
    registry::v1::ListTagsRequest,
};
use tests::{Platform, Shape, User, reason};

/// Every test here runs against `cooper up` and against the five binaries behind the gateway.
macro_rules! in_both_shapes {
    ($($name:ident),+ $(,)?) => {
        mod one {
            $(#[tokio::test] async fn $name() { super::$name(tests::Shape::One).await.unwrap(); })+
        }
        mod many {
            $(#[tokio::test] async fn $name() { super::$name(tests::Shape::Many).await.unwrap(); })+
        }
    };
}
pub(crate) use in_both_shapes;

in_both_shapes!(
    engine_a_click_ends_with_something_to_pull,
    engine_a_failed_build_hides_nothing,
    only_an_owner_builds,
);

const EMPTY: &str = "FROM scratch\nCOPY hello /hello\nCMD [\"/hello\"]\n";

/// A platform with one image in a workspace of ada's.
async fn platform(shape: Shape, settings: &[(&str, &str)]) -> anyhow::Result<(Platform, User, String)> {
    let platform = Platform::with(shape, settings).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let image = ada.image(&workspace, "vision/tool").await?;
    Ok((platform, ada, image))
}

/// Saves a Dockerfile that copies one file of its own. The engine is shared, and what other tests build is not this.
async fn save_hello(ada: &User, image: &str, content: &str) -> anyhow::Result<u32> {
    let content = format!("{content} of {image}");
    let context = ada.upload(image, &[("hello", content.as_bytes())]).await?;
    Ok(ada.save(image, EMPTY, Some(context)).await?.revision)
}

// covers R1, R2, R3, R5, R11, R12, R13, R14, R16, R20, R21, R22, R23, R25, R28, R29, R37, R39, R42, R44, R50, R60, R110
async fn engine_a_click_ends_with_something_to_pull(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, image) = platform(shape, &[]).await?;
    assert_eq!(ada.tile(&image).await?.status(), ImageStatus::NotBuilt);
    assert_eq!(reason(&ada.start(&image).await.unwrap_err()), "NOTHING_SAVED");
    assert_eq!(reason(&ada.resolve(&image).await.unwrap_err()), "NOT_PUBLISHED");

    save_hello(&ada, &image, "one").await?;
    let build = ada.build(&image).await?;
    assert_eq!(build.outcome(), BuildOutcome::Succeeded, "{}", build.cause);
    let tile = ada.tile("vision/tool").await?;
    assert_eq!((tile.status(), tile.built_revision), (ImageStatus::Built, 1));
    assert_eq!(tile.built.unwrap_or_default().actor, "ada");
    let reference = ada.resolve("vision/tool").await?;
    assert_eq!(
        reference,
        format!("{}/vision/tool@{}", platform.registry_host(), build.digest)
    );
    assert_eq!(tile.published.unwrap_or_default().reference, reference);
    tests::pull(&reference).await?;

    let all = ListTagsRequest {
        image: image.clone(),
        ..ListTagsRequest::default()
    };
    let tags = ada.registry().list_tags(all).await?.into_inner().tags;
    let names: Vec<&str> = tags.iter().map(|tag| tag.reference.as_str()).collect();
    assert_eq!(names, [format!("{}/vision/tool:latest", platform.registry_host())]);
    assert_eq!(tags[0].digest, build.digest);

    save_hello(&ada, &image, "two").await?;
    assert_eq!(ada.tile(&image).await?.status(), ImageStatus::Modified);
    assert_eq!(
        ada.resolve(&image).await?,
        reference,
        "a save changes nothing that is published"
    );
    let second = ada.build(&image).await?;
    assert_ne!(second.digest, build.digest);
    assert_eq!(ada.tile(&image).await?.status(), ImageStatus::Built);
    Ok(())
}

// covers R14, R30, R33, R52, E5
async fn engine_a_failed_build_hides_nothing(shape: Shape) -> anyhow::Result<()> {
    let (_platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    ada.build(&image).await?;
    let good = ada.resolve(&image).await?;

    ada.save(&image, "FROM scratch\nCOPPY hello /hello\n", None).await?;
    let failed = ada.build(&image).await?;
    assert_eq!(failed.outcome(), BuildOutcome::Failed);
    assert!(
        failed.cause.contains("line 2") && failed.cause.contains("COPPY"),
        "{}",
        failed.cause
    );
    ada.save(&image, "FROM scratch\nCOPY absent /x\n", None).await?;
    let failed = ada.build(&image).await?;
    assert!(failed.cause.contains("absent"), "{}", failed.cause);
    assert!(
        ada.log(&image, &failed.id, 0).await?.contains("ERROR"),
        "the log tells why"
    );

    let tile = ada.tile(&image).await?;
    assert_eq!(tile.status(), ImageStatus::Modified);
    assert_eq!(tile.last_build.unwrap_or_default().outcome(), BuildOutcome::Failed);
    assert_eq!(ada.resolve(&image).await?, good);
    let outcomes: Vec<BuildOutcome> = ada.journal(&image).await?.iter().map(Build::outcome).collect();
    assert_eq!(
        outcomes,
        [BuildOutcome::Failed, BuildOutcome::Failed, BuildOutcome::Succeeded]
    );
    Ok(())
}

// covers R8, R15
async fn only_an_owner_builds(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    let home = ada.tile(&image).await?.workspace;
    let add = AddMemberRequest {
        workspace: home,
        user: "bob".to_owned(),
        role: Role::Participant.into(),
        ..AddMemberRequest::default()
    };
    let position = ada.workspaces().add_member(add).await?.into_inner().position;

    let bob = platform.user("bob")?;
    bob.saw(position);
    save_hello(&bob, &image, "two").await?;
    assert_eq!(reason(&bob.start(&image).await.unwrap_err()), "OWNER_ONLY");

    let admin = platform.administrator("root")?;
    admin.saw(position);
    assert_eq!(admin.tile(&image).await?.id, image);
    assert_eq!(reason(&admin.start(&image).await.unwrap_err()), "OWNER_ONLY");

    let eve = platform.user("eve")?;
    eve.saw(position);
    let hidden = eve.start(&image).await.unwrap_err();
    let absent = eve.start("img_00000000000000000000000000").await.unwrap_err();
    assert_eq!(
        (hidden.code(), hidden.message(), hidden.details()),
        (absent.code(), absent.message(), absent.details())
    );
    assert_eq!(reason(&hidden), "NO_SUCH_IMAGE");
    Ok(())
}
