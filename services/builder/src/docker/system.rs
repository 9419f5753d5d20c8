//! What the engine says of itself, and its build cache.

use super::{Engine, EngineError};
use bollard::query_parameters::PruneBuildOptions;
use std::{collections::HashMap, path::PathBuf};

/// Since this version of its API an engine can bound its build cache by size.
const CACHE_BYTES_API: (usize, usize) = (1, 48);

/// What an engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// As it calls itself: `28.5.2`.
    pub version: String,
    /// Name and version of what it consists of: `runc`, ...
    pub components: Vec<(String, String)>,
    /// `1` or `2`; empty when it does not say.
    pub cgroup_version: String,
    pub cgroup_driver: String,
    /// How it stores images: `overlay2`, `overlayfs`, ...
    pub store: String,
    /// Where it keeps everything, if it is on this machine.
    pub root: Option<PathBuf>,
    /// Whether its build cache can be bounded by size.
    pub bounds_cache: bool,
}

impl Engine {
    pub async fn facts(&self) -> Result<Facts, EngineError> {
        let version = self.docker.version().await.map_err(|error| self.failed(error))?;
        let info = self.docker.info().await.map_err(|error| self.failed(error))?;
        let said = |value: Option<String>| value.unwrap_or_default();
        let components = version.components.unwrap_or_default();
        let api = self.docker.client_version();
        Ok(Facts {
            version: said(version.version),
            components: components.into_iter().map(|part| (part.name, part.version)).collect(),
            cgroup_version: said(info.cgroup_version.map(|version| version.to_string())),
            cgroup_driver: said(info.cgroup_driver.map(|driver| driver.to_string())),
            store: said(info.driver),
            // Another machine has such a folder, too.
            root: info
                .docker_root_dir
                .map(PathBuf::from)
                .filter(|root| self.host.starts_with("unix://") && root.is_dir()),
            bounds_cache: (api.major_version, api.minor_version) >= CACHE_BYTES_API,
        })
    }

    /// What it builds for unless it is told: `linux/amd64`.
    pub async fn platform(&self) -> Result<String, EngineError> {
        let version = self.docker.version().await.map_err(|error| self.failed(error))?;
        let (os, architecture) = (version.os.unwrap_or_default(), version.arch.unwrap_or_default());
        Ok(format!("{os}/{architecture}"))
    }

    /// Removes what no build has used for so many hours, and more of it until the rest has so many bytes. Answers how
    /// many bytes that freed.
    pub async fn prune_cache(&self, unused_hours: Option<u64>, bytes_max: Option<i64>) -> Result<i64, EngineError> {
        let hours = unused_hours.map(|hours| ("until".to_owned(), vec![format!("{hours}h")]));
        let options = PruneBuildOptions {
            filters: hours.map(|hours| HashMap::from([hours])),
            max_used_space: bytes_max,
            ..PruneBuildOptions::default()
        };
        // It has as long as it takes: an engine that hangs is noticed by others.
        let docker = self.docker.clone().with_timeout(super::PRUNE_TIMEOUT);
        let pruned = docker.prune_build(Some(options)).await;
        Ok(pruned
            .map_err(|error| self.failed(error))?
            .space_reclaimed
            .unwrap_or_default())
    }
}
