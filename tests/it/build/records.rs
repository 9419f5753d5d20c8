//! What is recorded of a build, so that it can be told apart from another, and repeated.

use super::{in_both_shapes, platform, save_hello};
use proto::{
    builder::v1::{BaseImage, RepeatBuildRequest, StartBuildRequest},
    catalog::v1::BuildOutcome,
};
use tests::Shape;

in_both_shapes!(
    engine_the_images_that_a_build_is_made_from_are_recorded,
    engine_a_build_is_made_again_from_what_it_was_made_of,
);

// covers E12
async fn engine_the_images_that_a_build_is_made_from_are_recorded(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, base) = platform(shape, &[]).await?;
    save_hello(&ada, &base, "base").await?;
    let digest = ada.build(&base).await?.digest;
    let reference = format!("{}/vision/tool:latest", platform.registry_host());

    let workspace = ada.tile(&base).await?.workspace;
    let image = ada.image(&workspace, "vision/app").await?;
    let dockerfile = format!(
        "FROM {reference} AS one\nFROM scratch\nCOPY --from=one /hello /one\nCOPY --from={reference} /hello /two\n"
    );
    ada.save(&image, &dockerfile, None).await?;
    let build = ada.build(&image).await?;
    assert_eq!(build.bases, [BaseImage { reference, digest }], "{}", build.cause);
    assert!(
        ada.journal(&image).await?[0].bases.is_empty(),
        "a list goes without them"
    );
    Ok(())
}

// covers E12
async fn engine_a_build_is_made_again_from_what_it_was_made_of(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, base) = platform(shape, &[]).await?;
    save_hello(&ada, &base, "one").await?;
    let first_base = ada.build(&base).await?;
    let reference = format!("{}/vision/tool", platform.registry_host());
    let workspace = ada.tile(&base).await?.workspace;
    let image = ada.image(&workspace, "vision/app").await?;
    ada.save(&image, &format!("FROM {reference}\nLABEL made=once\n"), None)
        .await?;
    let first = ada.build(&image).await?;
    assert_eq!(first.bases[0].digest, first_base.digest, "{}", first.cause);

    let same = StartBuildRequest {
        image: image.clone(),
        if_changed: true,
        ..StartBuildRequest::default()
    };
    let answer = ada.builds().start_build(same.clone()).await?.into_inner();
    assert!(answer.unchanged);
    assert_eq!(answer.build.unwrap_or_default().reference, first.reference);

    // The base moves on: what is built now has the new one, and what is built again has the old one.
    save_hello(&ada, &base, "two").await?;
    let second_base = ada.build(&base).await?;
    assert_ne!(second_base.digest, first_base.digest);
    let repeat = RepeatBuildRequest {
        image: image.clone(),
        build: first.id.clone(),
        ..RepeatBuildRequest::default()
    };
    let repeated = ada.builds().repeat_build(repeat).await?.into_inner();
    ada.saw(repeated.position);
    let again = ada
        .until(&image, &repeated.build.unwrap_or_default().id, |_| false)
        .await?;
    assert_eq!(
        (again.outcome(), &again.repeats),
        (BuildOutcome::Succeeded, &first.id),
        "{}",
        again.cause
    );
    assert_eq!(again.bases[0].digest, first_base.digest, "{:?}", again.bases);

    let changed = ada.builds().start_build(same).await?.into_inner();
    assert!(!changed.unchanged);
    ada.saw(changed.position);
    let newer = ada
        .until(&image, &changed.build.unwrap_or_default().id, |_| false)
        .await?;
    assert_eq!(newer.bases[0].digest, second_base.digest, "{}", newer.cause);
    Ok(())
}
