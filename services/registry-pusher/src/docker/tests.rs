//! The engine as this service uses it: pushes to a real registry, and what its errors say.

use super::*;
use crate::testbed::{TestImage, TestRegistry};
use futures::TryStreamExt as _;

async fn push(engine: &Engine, artifact: &str, repository: &str, tag: &str) -> Result<Vec<Pushing>, EngineError> {
    engine.tag(artifact, repository, tag).await?;
    engine.push(repository, tag).await?.try_collect().await
}

fn digest(said: &[Pushing]) -> Option<&str> {
    said.iter().find_map(|said| match said {
        Pushing::Digest(digest) => Some(digest.as_str()),
        Pushing::Line(_) | Pushing::Bytes(..) => None,
    })
}

// covers R5, R37, R42
#[tokio::test]
async fn engine_pushes_what_the_registry_then_has() {
    let registry = TestRegistry::start();
    let name = registry.unique();
    let image = TestImage::build(format!("{name}:artifact"), "content").await;
    let engine = Engine::new("");
    let repository = format!("{}/{name}", registry.host());

    let said = push(&engine, &image.name, &repository, "b-1").await.unwrap();
    let pushed = digest(&said).expect("the engine says the digest").to_owned();
    assert_eq!(
        registry.client().digest(&name, "b-1").await.unwrap(),
        Some(pushed.clone()),
        "{said:?}"
    );
    let described = registry.client().inspect(&name, &pushed).await.unwrap();
    assert_eq!(
        (described.digest.as_str(), described.config.os.as_str()),
        (pushed.as_str(), "linux")
    );

    // Unchanged content is the same digest, and moves no bytes.
    let said = push(&engine, &image.name, &repository, "b-2").await.unwrap();
    assert_eq!(digest(&said), Some(pushed.as_str()));
    assert!(
        said.iter()
            .any(|said| matches!(said, Pushing::Line(line) if line.contains("already exists"))),
        "{said:?}"
    );

    for tag in ["b-1", "b-2"] {
        engine.forget(&format!("{repository}:{tag}")).await.unwrap();
        engine.forget(&format!("{repository}:{tag}")).await.unwrap();
    }
    let references = engine.references().await.unwrap();
    assert!(references.contains(&image.name));
    assert!(
        !references.iter().any(|reference| reference.starts_with(&repository)),
        "{references:?}"
    );
    image.remove().await;
}

#[tokio::test]
async fn engine_errors_say_what_can_be_done() {
    let registry = TestRegistry::start();
    let name = registry.unique();
    let image = TestImage::build(format!("{name}:artifact"), "content").await;
    let (engine, host) = (Engine::new(""), registry.host().to_owned());
    let repository = format!("{host}/{name}");

    let gone = push(&engine, &format!("{name}:absent"), &repository, "b-1").await;
    assert!(matches!(gone, Err(EngineError::ArtifactGone)), "{gone:?}");
    let nowhere = push(&Engine::new("unix:///nowhere.sock"), &image.name, &repository, "b-1").await;
    assert!(matches!(nowhere, Err(EngineError::Unreachable(_))), "{nowhere:?}");
    drop(registry);
    let away = push(&engine, &image.name, &repository, "b-1").await;
    assert!(matches!(away, Err(EngineError::RegistryUnreachable(_))), "{away:?}");

    engine.forget(&format!("{repository}:b-1")).await.unwrap();
    image.remove().await;
}

#[test]
fn the_digest_is_read_from_the_last_line() {
    let line = "b-1: digest: sha256:00ff size: 736";
    assert_eq!(digest_in(line), Some("sha256:00ff".to_owned()));
    assert_eq!(digest_in("Pushed"), None);
}
