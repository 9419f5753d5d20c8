//! The machine's container engine, as a node uses it, and a base image that needs no registry.

use anyhow::{Context as _, bail};
use bollard::{
    Docker, body_full,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptions, CreateImageOptionsBuilder, ListImagesOptions, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, StartContainerOptions, WaitContainerOptions,
    },
};
use futures::TryStreamExt as _;
use std::{collections::BTreeMap, env, fs, io::Read as _, time::Duration};
use tokio::time::sleep;

/// A statically linked shell with the usual commands; made once, and kept, as base images are.
pub const BUSYBOX: &str = "cooperage-test-busybox:1";

const PULLS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

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
    // Tests are processes: one of them makes it, and the others wait. It ends with the file.
    let making = fs::File::create(env::temp_dir().join("cooperage-test-busybox.lock"))?;
    making.lock()?;
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
    let docker = fetch(reference).await?;
    docker.inspect_image(reference).await?;
    let force = RemoveImageOptionsBuilder::default().force(true).build();
    docker.remove_image(reference, Some(force), None).await?;
    Ok(())
}

/// Pulls a reference, which stays until its platform goes.
///
/// As nodes do, it asks again after a 500: docker-registry 2.8 writes the link of a manifest anew in place while that
/// gets another tag, as it does right after a build, and whoever reads it in that moment finds an empty file.
pub async fn fetch(reference: &str) -> anyhow::Result<Docker> {
    let docker = engine().await?;
    for _ in 0..PULLS {
        match create(&docker, reference).await {
            Err(error) if error.to_string().contains("500 Internal Server Error") => sleep(PAUSE).await,
            pulled => return Ok(pulled.map(|()| docker)?),
        }
    }
    bail!("the registry answers 500 to every pull of {reference}")
}

async fn create(docker: &Docker, reference: &str) -> Result<(), bollard::errors::Error> {
    let options = CreateImageOptionsBuilder::default().from_image(reference).build();
    let said = docker.create_image(Some(options), None, None);
    said.try_collect::<Vec<_>>().await.map(drop)
}

/// How a container ended, what it printed, and its files at the end, by their paths from the root.
#[derive(Debug)]
pub struct Ran {
    pub code: i64,
    pub output: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Runs a container of an image that is in the engine. Without a command, with the image's own.
pub async fn run(reference: &str, command: &[&str]) -> anyhow::Result<Ran> {
    contained(reference, command, true).await
}

/// The files of an image, as a container begins with them.
pub async fn files(reference: &str) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    Ok(contained(reference, &["/nothing"], false).await?.files)
}

async fn contained(reference: &str, command: &[&str], is_run: bool) -> anyhow::Result<Ran> {
    let docker = engine().await?;
    let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
    let body = ContainerCreateBody {
        image: Some(reference.to_owned()),
        cmd: Some(command).filter(|command| !command.is_empty()),
        network_disabled: Some(true),
        ..ContainerCreateBody::default()
    };
    let container = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    let ran = async {
        let code = if is_run { end_of(&docker, &container).await? } else { 0 };
        let all = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let said: Vec<_> = docker.logs(&container, Some(all)).try_collect().await?;
        let exported: Vec<_> = docker.export_container(&container).try_collect().await?;
        Ok(Ran {
            code,
            output: said.iter().map(ToString::to_string).collect(),
            files: files_in(&exported.concat())?,
        })
    };
    let ran = ran.await;
    let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(&container, Some(force)).await?;
    ran
}

async fn end_of(docker: &Docker, container: &str) -> anyhow::Result<i64> {
    docker.start_container(container, None::<StartContainerOptions>).await?;
    let waited: Result<Vec<_>, _> = docker
        .wait_container(container, None::<WaitContainerOptions>)
        .try_collect()
        .await;
    match waited {
        Ok(_) => Ok(0),
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => Ok(code),
        Err(error) => Err(error.into()),
    }
}

fn files_in(archive: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(entry.path()?.to_string_lossy().into_owned(), content);
        }
    }
    Ok(files)
}
