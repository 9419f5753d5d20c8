//! A registry that wants a login, with the base image that the tests have.

use crate::{BUSYBOX, Child, Port, busybox, engine, program};
use bollard::{
    auth::DockerCredentials,
    query_parameters::{PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder},
};
use futures::TryStreamExt as _;
use std::{fs, process::Command};
use tempfile::TempDir;

pub struct LockedRegistry {
    _child: Child,
    _folder: TempDir,
    port: Port,
}

impl LockedRegistry {
    pub const USER: &str = "robot";
    pub const PASSWORD: &str = "canary-registry-pw";
    /// Its bcrypt.
    const KNOWN: &str = "robot:$2b$04$abcdefghijklmnopqrstuulOQq03/8oXGYoTPBrt5IIJAOuBzl.SG\n";

    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cooperage-locked-").tempdir()?;
        let (config, known) = (folder.path().join("config.yml"), folder.path().join("known"));
        let port = Port::pick()?;
        fs::write(&known, Self::KNOWN)?;
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {}\n\
                 auth:\n  htpasswd:\n    realm: locked\n    path: {}\n",
                folder.path().join("store").display(),
                port.address(),
                known.display(),
            ),
        )?;
        let mut command = Command::new(program("docker-registry"));
        let child = Child::spawn("docker-registry", command.arg("serve").arg(&config))?;
        child.says("listening on").await?;
        let locked = Self {
            _child: child,
            _folder: folder,
            port,
        };
        locked.fill().await?;
        Ok(locked)
    }

    pub fn host(&self) -> String {
        self.port.address().to_string()
    }

    /// The reference of the base image.
    pub fn base(&self) -> String {
        format!("{}/base:1", self.host())
    }

    async fn fill(&self) -> anyhow::Result<()> {
        busybox().await?;
        let docker = engine().await?;
        let name = format!("{}/base", self.host());
        let named = TagImageOptionsBuilder::default().repo(&name).tag("1").build();
        docker.tag_image(BUSYBOX, Some(named)).await?;
        let login = DockerCredentials {
            username: Some(Self::USER.to_owned()),
            password: Some(Self::PASSWORD.to_owned()),
            ..DockerCredentials::default()
        };
        let options = PushImageOptionsBuilder::default().tag("1").build();
        let pushed: Result<Vec<_>, _> = docker.push_image(&name, Some(options), Some(login)).try_collect().await;
        let force = RemoveImageOptionsBuilder::default().force(true).build();
        docker.remove_image(&self.base(), Some(force), None).await?;
        pushed?;
        Ok(())
    }
}
