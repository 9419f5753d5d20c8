//! The registry as this service uses it: manifests, tags, mounts, on a real one.

use super::{manifest::ATTESTATION, *};
use crate::{
    docker::{Engine, Pushing},
    testbed::{TestImage, TestRegistry},
};

/// Pushes a small image and answers its digest.
async fn publish(registry: &TestRegistry, path: &str, tag: &str, content: &str) -> String {
    let image = TestImage::build(format!("{}:{tag}", registry.unique()), content).await;
    let repository = format!("{}/{path}", registry.host());
    let engine = Engine::new("");
    engine.tag(&image.name, &repository, tag).await.unwrap();
    let said: Vec<_> = engine
        .push(&repository, tag)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    engine.forget(&format!("{repository}:{tag}")).await.unwrap();
    image.remove().await;
    let digest = said.into_iter().find_map(|said| match said {
        Pushing::Digest(digest) => Some(digest),
        Pushing::Line(_) | Pushing::Bytes(..) => None,
    });
    digest.unwrap()
}

// covers R39, R40, R41, R42, R43, R78
#[tokio::test]
async fn engine_image_is_described_by_the_registry_alone() {
    let server = TestRegistry::start();
    let registry = server.client();
    let digest = publish(&server, "team/tool", "one", "content").await;
    let image = registry.inspect("team/tool", &digest).await.unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(image.config.os, "linux");
    assert!(!image.config.architecture.is_empty());
    assert_eq!(image.layers.len(), 3, "two files and a folder: {:?}", image.layers);
    assert!(image.size_bytes > image.layers.iter().map(|layer| layer.size).sum());
    let run = image.config.config.unwrap();
    assert_eq!(run.entrypoint.unwrap(), ["/file"]);
    assert_eq!(run.cmd.unwrap(), ["--help"]);
    assert!(run.env.unwrap().contains(&"GREETING=hello".to_owned()));
    assert_eq!(run.working_dir.unwrap(), "/srv");
    assert_eq!(run.user.unwrap(), "1000:1000");
    assert!(run.exposed_ports.unwrap().contains_key("8080/tcp"));
    assert_eq!(run.labels.unwrap()["team"], "blue");
}

// covers R37, R50
#[tokio::test]
async fn engine_image_gets_tags_and_loses_them_one_by_one() {
    let server = TestRegistry::start();
    let registry = server.client();
    let digest = publish(&server, "team/tool", "one", "content").await;
    let manifest = registry.manifest("team/tool", &digest).await.unwrap();
    registry.put("team/tool", "two", &manifest).await.unwrap();
    assert_eq!(registry.digest("team/tool", "two").await.unwrap(), Some(digest.clone()));

    registry.untag("team/tool", "one", "unique").await.unwrap();
    assert_eq!(registry.tags("team/tool").await.unwrap(), ["two"]);
    assert_eq!(
        registry.digest("team/tool", &digest).await.unwrap(),
        Some(digest.clone()),
        "the content stays"
    );

    registry.remove("team/tool", &digest).await.unwrap();
    registry.remove("team/tool", &digest).await.unwrap();
    assert_eq!(registry.tags("team/tool").await.unwrap(), [""; 0]);
    assert_eq!(registry.digest("team/tool", &digest).await.unwrap(), None);
}

#[tokio::test]
async fn engine_image_is_mounted_under_another_path_with_the_same_digest() {
    let server = TestRegistry::start();
    let registry = server.client();
    let digest = publish(&server, "team/tool", "one", "content").await;
    let manifest = registry.mount("team/tool", "team/renamed/tool", &digest).await.unwrap();
    registry.put("team/renamed/tool", "one", &manifest).await.unwrap();
    registry.remove("team/tool", &digest).await.unwrap();

    let image = registry.inspect("team/renamed/tool", "one").await.unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(registry.tags("team/renamed/tool").await.unwrap(), ["one"]);
}

#[tokio::test]
async fn an_index_goes_and_comes_with_its_parts() {
    let server = TestRegistry::start();
    let registry = server.client();
    let part = publish(&server, "team/tool", "part", "content").await;
    let size = registry.manifest("team/tool", &part).await.unwrap().bytes.len();
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": MANIFESTS[0], "digest": part, "size": size,
          "platform": { "os": "unknown", "architecture": "unknown" }, "annotations": { ATTESTATION: "x" } },
        { "mediaType": MANIFESTS[0], "digest": part, "size": size,
          "platform": { "os": "linux", "architecture": "amd64" } },
    ] });
    registry
        .upload("team/tool", "whole", index.to_string().into(), INDEX)
        .await
        .unwrap();
    let whole = registry.digest("team/tool", "whole").await.unwrap().unwrap();
    let described = registry.inspect("team/tool", "whole").await.unwrap();
    assert_eq!(
        (described.digest.as_str(), described.config.os.as_str()),
        (whole.as_str(), "linux")
    );

    registry.mount("team/tool", "team/other", &whole).await.unwrap();
    registry.remove("team/tool", &whole).await.unwrap();
    assert_eq!(registry.tags("team/tool").await.unwrap(), [""; 0]);
    assert_eq!(registry.digest("team/tool", &part).await.unwrap(), None);
    assert_eq!(registry.inspect("team/other", &whole).await.unwrap().config.os, "linux");
}

#[tokio::test]
async fn what_is_not_there_and_who_does_not_answer_are_told_apart() {
    let server = TestRegistry::start();
    let registry = server.client();
    assert_eq!(registry.tags("never/pushed").await.unwrap(), [""; 0]);
    assert_eq!(registry.digest("never/pushed", "latest").await.unwrap(), None);
    let absent = registry.inspect("never/pushed", "latest").await;
    assert!(matches!(absent, Err(RegistryError::Absent(_))), "{absent:?}");
    drop(server);
    let silent = registry.digest("never/pushed", "latest").await;
    assert!(matches!(silent, Err(RegistryError::Unreachable(_))), "{silent:?}");
}

#[test]
fn plain_http_is_used_only_where_it_is_asked_for() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert!(Registry::open("registry.example").is_err());
    assert!(Registry::open("ftp://registry.example").is_err());
    assert!(Registry::open("https://registry.example/").is_ok());
}
