//! Programs of a platform: its services, its registry, its gateway.

use super::SERVICES;
use crate::{
    Port,
    child::{Child, program},
};
use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

pub(super) fn service(
    name: &'static str,
    data: &Path,
    port: &Port,
    settings: &[(String, String)],
) -> anyhow::Result<Child> {
    let mut command = Command::new(binary(name)?);
    command
        .env("COOPERAGE_LISTEN", port.address().to_string())
        .env("COOPERAGE_DATA", data)
        .envs(settings.iter().cloned());
    Child::spawn(name, &mut command)
}

pub(super) async fn registry(folder: &Path, host: &str, takes_pushes: bool) -> anyhow::Result<Child> {
    let config = folder.join("registry.yml");
    let store = folder.join("registry");
    fs::write(
        &config,
        format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\n  maintenance:\n    readonly:\n      enabled: {}\nhttp:\n  addr: {host}\n",
            store.display(),
            !takes_pushes
        ),
    )?;
    let child = Child::spawn(
        "docker-registry",
        Command::new(program("docker-registry")).arg("serve").arg(&config),
    )?;
    child.says("listening on").await?;
    Ok(child)
}

pub(super) fn gateway(
    folder: &Path,
    listen: &str,
    services: &BTreeMap<&'static str, (Port, Option<Child>)>,
) -> anyhow::Result<Child> {
    let home = folder.join("gateway");
    fs::create_dir_all(&home)?;
    let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/gateway.conf"))?;
    let with_services = SERVICES.iter().fold(template, |text, (name, place)| {
        let address = services.get(name).map(|(port, _)| port.address().to_string());
        text.replace(&format!("${{{place}}}"), &address.unwrap_or_default())
    });
    // Nobody is asked for addresses.
    let whole = with_services
        .replace("${LISTEN}", listen)
        .replace("${RESOLVER}", "127.0.0.1");
    fs::write(home.join("gateway.conf"), whole)?;
    let mut command = Command::new(program("nginx"));
    command
        .arg("-p")
        .arg(&home)
        .args(["-c", "gateway.conf", "-e", "stderr"]);
    Ok(Child::spawn("nginx", &mut command)?.asked_to_end())
}

/// Waits until a gRPC server answers: it does so once its views are there.
pub(super) async fn answers(address: &str) -> anyhow::Result<()> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let asked = async {
            let channel = tonic::transport::Channel::from_shared(format!("http://{address}"))?
                .connect()
                .await?;
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
            health.check(tonic_health::pb::HealthCheckRequest::default()).await?;
            anyhow::Ok(())
        };
        match asked.await {
            Err(_) if Instant::now() < patience => sleep(STEP).await,
            asked => return asked.with_context(|| format!("nothing answers at {address}")),
        }
    }
}

/// A program of this workspace, built beside the tests.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let folder = tests.parent().and_then(Path::parent).context("the tests lie nowhere")?;
    let binary = folder.join(name);
    anyhow::ensure!(
        binary.exists(),
        "{} is not built: cargo build --workspace --bins",
        binary.display()
    );
    Ok(binary)
}
