//! Manifests and configurations as registries have them, whoever wrote them.

use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFESTS: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    INDEX,
];
/// An attestation beside an image in an index, which is no platform of it.
pub(super) const ATTESTATION: &str = "vnd.docker.reference.type";

/// A manifest as the registry has it.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(super) bytes: Bytes,
    pub(super) parsed: Parsed,
}

/// An image manifest or an index of them: each has only some of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parsed {
    #[serde(default)]
    media_type: String,
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: i64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    os: String,
}

/// What an image is: its layers and its configuration.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Of the manifest or index that was asked for.
    pub(crate) digest: String,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) config: ImageConfig,
    /// Layers and configuration, compressed.
    pub(crate) size_bytes: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    pub(crate) created: Option<String>,
    pub(crate) config: Option<RunConfig>,
}

/// Docker writes `null` where nothing was said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) working_dir: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl Manifest {
    pub(super) fn size_bytes(&self) -> i64 {
        self.parsed
            .config
            .iter()
            .chain(&self.parsed.layers)
            .map(|blob| blob.size)
            .sum()
    }

    pub(super) fn media_type(&self) -> &str {
        match self.parsed.media_type.as_str() {
            "" if self.parsed.config.is_some() => MANIFESTS[2],
            "" => INDEX,
            stated => stated,
        }
    }

    /// The first image of an index.
    pub(super) fn platform(&self) -> Option<&Descriptor> {
        let is_image = |part: &&Descriptor| {
            !part.annotations.contains_key(ATTESTATION)
                && part.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
        };
        self.parsed.manifests.iter().find(is_image)
    }
}
