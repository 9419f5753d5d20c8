//! The machine's container engine, as a node uses it, and a base image that needs no registry.

use anyhow::Context as _;
use bollard::{
    Docker, body_full,
    query_parameters::{CreateImageOptionsBuilder, ListImagesOptions, RemoveImageOptionsBuilder},
};
use futures::TryStreamExt as _;
use std::fs;

/// A statically linked shell with the usual commands; made once, and kept, as base images are.
pub const BUSYBOX: &str = "cooperage-test-busybox:1";

/// Connects to the engine that the tests run on.
pub async fn engine() -> anyhow::Result<Docker> {
    let docker = Docker::connect_with_defaults()?;
    docker
        .negotiate_version()
        .await
        .context("no Docker Engine answers, `make setup` starts one")
}

/// [`BUSYBOX`], in the engine.
pub async fn busybox() -> anyhow::Result<&'static str> {
    let docker = engine().await?;
    if docker.inspect_image(BUSYBOX).await.is_ok() {
        return Ok(BUSYBOX);
    }
    let program = fs::read("/bin/busybox").context("/bin/busybox is missing, `make setup` installs it")?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    archive.append_data(&mut header, "bin/busybox", &program[..])?;
    for command in ["sh", "sleep", "echo", "true", "false", "cat", "date", "seq", "yes"] {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        link.set_cksum();
        archive.append_link(&mut link, format!("bin/{command}"), "busybox")?;
    }
    let (name, tag) = BUSYBOX.split_once(':').unwrap_or((BUSYBOX, "latest"));
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(name)
        .tag(tag)
        .build();
    let body = body_full(archive.into_inner()?.into());
    docker
        .create_image(Some(options), Some(body), None)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(BUSYBOX)
}

/// Takes everything that was pushed to a registry out of the engine, whatever else it is called there.
pub(crate) async fn forget(registry_host: &str) -> anyhow::Result<()> {
    let docker = engine().await?;
    let prefix = format!("{registry_host}/");
    for image in docker.list_images(None::<ListImagesOptions>).await? {
        let mut names = image.repo_tags.iter().chain(&image.repo_digests);
        if names.any(|name| name.starts_with(&prefix)) {
            let force = RemoveImageOptionsBuilder::default().force(true).build();
            // Another test may have the same content under another name, and be faster.
            let _ = docker.remove_image(&image.id, Some(force), None).await;
        }
    }
    Ok(())
}

/// Pulls a reference by digest, as a node does, and takes it away again.
pub async fn pull(reference: &str) -> anyhow::Result<()> {
    let docker = engine().await?;
    let options = CreateImageOptionsBuilder::default().from_image(reference).build();
    docker
        .create_image(Some(options), None, None)
        .try_collect::<Vec<_>>()
        .await?;
    docker.inspect_image(reference).await?;
    let force = RemoveImageOptionsBuilder::default().force(true).build();
    docker.remove_image(reference, Some(force), None).await?;
    Ok(())
}
