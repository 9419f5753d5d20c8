//! What is recorded of a build, so that it can be told apart from another, and repeated.

use super::{in_both_shapes, platform, save_hello};
use proto::builder::v1::BaseImage;
use tests::Shape;

in_both_shapes!(engine_the_images_that_a_build_is_made_from_are_recorded);

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
