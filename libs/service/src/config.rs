//! Settings: the compiled-in defaults, then a file, then the environment.

use anyhow::Context as _;
use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// `defaults.toml` says what each of them means.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub reflection: bool,
    pub nats: NatsSettings,
    pub auth: AuthSettings,
    pub registry: RegistrySettings,
    pub engine: EngineSettings,
    pub builder: BuilderSettings,
    pub catalog: CatalogSettings,
    pub editor: EditorSettings,
    pub audit: AuditSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    pub url: String,
    pub passwords: PathBuf,
    pub replicas: usize,
    pub log_bytes_max: i64,
    pub output_bytes_max: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    pub public_key: PathBuf,
    pub issuer: String,
    pub audience: String,
    pub jwks_url: String,
    pub user_claim: String,
    pub admin_claim: String,
    pub lifetime_minutes_max: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySettings {
    pub host: String,
    pub url: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    pub name: String,
    pub host: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct BuilderSettings {
    pub slots: usize,
    pub workspace_slots: usize,
    pub workspace_weights: BTreeMap<String, usize>,
    pub waiting_max: usize,
    pub build_minutes_max: u64,
    pub idle_minutes_max: u64,
    pub log_bytes_max: u64,
    pub log_bytes_per_second: u64,
    pub attempts_max: u32,
    pub lease_seconds: u64,
    pub untrusted_builds: bool,
    pub memory_bytes_max: u64,
    pub pids_max: u64,
    pub disk_free_percent_min: u64,
    pub cache_hours_max: u64,
    pub cache_bytes_max: i64,
    pub git_http: bool,
    pub git_private_hosts: bool,
    pub git_known_hosts: PathBuf,
    pub secrets_key: PathBuf,
    pub syntax_allowed: Vec<String>,
    pub syntax_own: bool,
    pub plain_args: Vec<String>,
}

impl BuilderSettings {
    /// Slots that one workspace may have.
    pub fn workspace_room(&self) -> usize {
        match self.workspace_slots {
            0 => usize::MAX,
            slots => slots,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSettings {
    pub checkpoint_entries: u64,
    pub checkpoint_seconds: u64,
    pub checkpoint_key: PathBuf,
    pub checkpoints_to: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditorSettings {
    pub default_dockerfile: String,
    pub context_bytes_max: u64,
    pub context_entries_max: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSettings {
    pub refusals_seconds: u64,
}

const DEFAULTS: &str = include_str!("../defaults.toml");

/// Variables that are for the command, not for a server.
const OTHERS: [&str; 6] = ["config", "server", "token", "workspace", "tools", "home"];

impl Config {
    /// The settings of this process.
    pub fn load() -> anyhow::Result<Self> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(path) = std::env::var_os("COOPERAGE_CONFIG") {
            figment = figment.merge(Toml::file_exact(path));
        }
        let environment = Env::prefixed("COOPERAGE_").ignore(&OTHERS).split("__");
        figment
            .merge(environment)
            .extract()
            .context("the configuration can't be read")
    }

    /// These settings with some replaced: keys such as `builder.slots`.
    pub fn with(&self, key: &str, value: impl Serialize) -> anyhow::Result<Self> {
        let figment = Figment::from(Serialized::defaults(self)).merge(Serialized::default(key, value));
        figment
            .extract()
            .with_context(|| format!("the setting {key} can't be replaced"))
    }

    /// The defaults alone.
    pub fn defaults() -> anyhow::Result<Self> {
        Ok(Figment::from(Toml::string(DEFAULTS)).extract()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_complete_and_can_be_replaced() {
        let config = Config::defaults().and_then(|config| config.with("builder.slots", 5));
        assert_eq!(config.map(|config| config.builder.slots).ok(), Some(5));
    }
}
