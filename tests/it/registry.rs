//! What lies in the registry: what it is, what it is called, and how it gets there in the end.

mod content;
mod retry;

use proto::{
    builder::v1::{Build, BuildOptions, StartBuildRequest},
    catalog::v1::BuildOutcome,
    registry::v1::{InspectImageRequest, InspectImageResponse, ListTagsRequest, Tag},
};
use std::collections::BTreeMap;
use tests::{Platform, Shape, User, busybox, reason};
use tonic::{Code, Status};

use crate::build::in_both_shapes;

in_both_shapes!(engine_what_is_published_can_be_listed_inspected_and_pulled_by_each_name);

async fn inspect(user: &User, image: &str, reference: &str) -> Result<InspectImageResponse, Status> {
    let request = InspectImageRequest {
        image: image.to_owned(),
        reference: reference.to_owned(),
    };
    Ok(user.registry().inspect_image(request).await?.into_inner())
}

async fn tags(user: &User, image: &str) -> Result<Vec<Tag>, Status> {
    let request = ListTagsRequest {
        image: image.to_owned(),
        ..ListTagsRequest::default()
    };
    Ok(user.registry().list_tags(request).await?.into_inner().tags)
}

/// Saves a Dockerfile and a file of the image's own, and builds it. The engine is shared, and what other tests build
/// is not this.
async fn built(user: &User, image: &str, dockerfile: &str, tags: &[&str]) -> anyhow::Result<Build> {
    let own = format!("of {image}");
    let context = user.upload(image, &[("own", own.as_bytes())]).await?;
    user.save(image, dockerfile, Some(context)).await?;
    let request = StartBuildRequest {
        image: image.to_owned(),
        options: Some(BuildOptions {
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..BuildOptions::default()
        }),
        ..StartBuildRequest::default()
    };
    let started = user.builds().start_build(request).await?.into_inner();
    user.saw(started.position);
    let ended = user
        .until(image, &started.build.unwrap_or_default().id, |_| false)
        .await?;
    assert_eq!(ended.outcome(), BuildOutcome::Succeeded, "{}", ended.cause);
    Ok(ended)
}

const TOOL: &str = r#"
LABEL team=blue
ENV GREETING=hello
WORKDIR /srv
COPY own /own
EXPOSE 8080 53/udp
USER 1000:1000
ENTRYPOINT ["/bin/cat"]
CMD ["/own"]
"#;

// covers R5, R37, R39, R40, R41, R42, R43, R50, R60, R110
async fn engine_what_is_published_can_be_listed_inspected_and_pulled_by_each_name(shape: Shape) -> anyhow::Result<()> {
    let base = busybox().await?;
    let platform = Platform::start(shape).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let image = ada.image(&workspace, "vision/tool").await?;
    let none = inspect(&ada, "vision/tool", "").await.unwrap_err();
    assert_eq!(
        (none.code(), reason(&none).as_str()),
        (Code::FailedPrecondition, "NOT_PUBLISHED")
    );
    assert_eq!(tags(&ada, "vision/tool").await?, []);

    let first = built(&ada, &image, &format!("FROM {base}{TOOL}"), &["v1"]).await?;
    let second = built(&ada, &image, &format!("FROM {base}{TOOL}LABEL team=red\n"), &[]).await?;
    assert_ne!(first.digest, second.digest);

    // One full reference per tag, each with its digest; a build moves the tags that it names, and the primary one.
    let host = platform.registry_host();
    let all = tags(&ada, "vision/tool").await?;
    let told: Vec<_> = all
        .iter()
        .map(|tag| (tag.reference.as_str(), tag.digest.as_str()))
        .collect();
    let references = [format!("{host}/vision/tool:latest"), format!("{host}/vision/tool:v1")];
    assert_eq!(
        told,
        [
            (references[0].as_str(), second.digest.as_str()),
            (references[1].as_str(), first.digest.as_str())
        ]
    );
    for tag in &all {
        assert_eq!((tag.actor.as_str(), tag.immutable), ("ada", false));
        assert!(tag.size_bytes > 0 && tag.time.is_some() && tag.version > 0, "{tag:?}");
        assert_eq!(tag.platforms.len(), 1);
    }

    // By each name: the same content, as the engine tells it too.
    let docker = tests::fetch(&format!("{host}/vision/tool@{}", first.digest)).await?;
    for (name, reference) in [
        ("vision/tool", "v1"),
        ("vision/tool:v1", ""),
        (&*image, &*first.digest),
        (&*format!("vision/tool@{}", first.digest), ""),
    ] {
        let told = inspect(&ada, name, reference).await?;
        assert_eq!(
            told.reference,
            format!("{host}/vision/tool@{}", first.digest),
            "{name} {reference}"
        );
        let pulled = docker.inspect_image(&told.reference).await?;
        assert_eq!(
            (Some(&told.os), Some(&told.architecture)),
            (pulled.os.as_ref(), pulled.architecture.as_ref())
        );
        assert_eq!(vec![format!("{}/{}", told.os, told.architecture)], all[1].platforms);
        assert_eq!(
            told.layers.len(),
            pulled.root_fs.and_then(|files| files.layers).unwrap_or_default().len()
        );
        assert_eq!(
            (told.entrypoint, told.cmd),
            (vec!["/bin/cat".to_owned()], vec!["/own".to_owned()])
        );
        assert!(told.env.contains(&"GREETING=hello".to_owned()), "{:?}", told.env);
        assert_eq!((told.working_dir.as_str(), told.user.as_str()), ("/srv", "1000:1000"));
        assert_eq!(told.exposed_ports, ["53/udp", "8080/tcp"]);
        assert_eq!(told.labels, [("team".to_owned(), "blue".to_owned())].into());
        assert!(told.created.is_some());
        assert_eq!(told.size_bytes, all[1].size_bytes);
        assert!(
            told.layers
                .iter()
                .all(|layer| layer.digest.starts_with("sha256:") && layer.size_bytes > 0)
        );
    }
    let newest = inspect(&ada, "vision/tool", "").await?;
    assert_eq!(
        (newest.digest.as_str(), newest.labels["team"].as_str()),
        (second.digest.as_str(), "red")
    );

    let absent = inspect(&ada, "vision/tool", "v9").await.unwrap_err();
    assert_eq!(
        (absent.code(), reason(&absent).as_str()),
        (Code::FailedPrecondition, "NOT_PUBLISHED")
    );
    let malformed = inspect(&ada, "vision/tool", "sha256:12").await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let eve = platform.user("eve")?;
    eve.saw(ada.saw(0));
    let hidden = inspect(&eve, "vision/tool", "").await.unwrap_err();
    let nowhere = inspect(&eve, "vision/nothing", "").await.unwrap_err();
    assert_eq!(reason(&hidden), "NO_SUCH_IMAGE");
    assert_eq!(
        (hidden.message(), hidden.details()),
        (nowhere.message(), nowhere.details())
    );
    assert_eq!(reason(&tags(&eve, "vision/tool").await.unwrap_err()), "NO_SUCH_IMAGE");
    Ok(())
}

// covers R4, R7
#[tokio::test]
async fn a_name_in_another_registry_is_refused_with_one_sentence() {
    let platform = Platform::start(Shape::One).await.unwrap();
    let cooper = |words: &[&str]| {
        let mut command = platform.cooper("ada").unwrap();
        command.args(words).output().unwrap()
    };
    for words in [
        &["workspace", "create", "vision"][..],
        &["image", "create", "vision/tool", "--workspace", "vision"],
    ] {
        assert!(cooper(words).status.success());
    }
    for words in [
        &["image", "create", "ghcr.io/vision/tool", "--workspace", "vision"][..],
        &["image", "rename", "vision/tool", "ghcr.io/vision/tool"],
        &["image", "check", "ghcr.io/vision/tool"],
    ] {
        let ended = cooper(words);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(75), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(said.contains("ghcr.io"), "{words:?}: {said}");
    }
    let resolved = cooper(&["resolve", "vision/tool"]);
    let said = String::from_utf8(resolved.stderr).unwrap();
    assert!(
        said.contains("nothing is published under `vision/tool` yet"),
        "it has its name still: {said}"
    );
}

/// A map of what an engine's answer has as one.
fn keys<V>(map: Option<std::collections::HashMap<String, V>>) -> BTreeMap<String, V> {
    map.unwrap_or_default().into_iter().collect()
}
