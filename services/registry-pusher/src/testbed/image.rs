//! A small image in the engine that answers on this machine, or that `DOCKER_HOST` names.

use crate::docker::Engine;
use bollard::{
    Docker, body_full,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion},
};
use futures::TryStreamExt as _;

pub(crate) struct TestImage {
    pub(crate) name: String,
}

impl TestImage {
    pub(crate) async fn build(name: String, content: &str) -> Self {
        let dockerfile = "FROM scratch\nCOPY file /file\nCOPY file /again\nENV GREETING=hello PATH=/bin\nWORKDIR /srv\n\
             USER 1000:1000\nEXPOSE 8080/tcp\nLABEL team=blue\nENTRYPOINT [\"/file\"]\nCMD [\"--help\"]\n";
        // Of its own: an engine may take an image away that is built and removed at the same moment.
        let content = format!("{name}\n{content}");
        let mut context = tar::Builder::new(Vec::new());
        for (path, bytes) in [("Dockerfile", dockerfile), ("file", &content)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            context.append_data(&mut header, path, bytes.as_bytes()).unwrap();
        }
        let options = BuildImageOptionsBuilder::default()
            .t(&name)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&name.replace(['/', ':'], "-"))
            .build();
        let context = body_full(context.into_inner().unwrap().into());
        let docker = Docker::connect_with_defaults()
            .unwrap()
            .negotiate_version()
            .await
            .unwrap();
        docker
            .build_image(options, None, Some(context))
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        Self { name }
    }

    pub(crate) async fn remove(self) {
        Engine::new("").forget(&self.name).await.unwrap();
    }
}
