//! Programs that a test starts, and that end with it.

use crate::registry::Registry;
use eventlog::{ACCOUNTS, Nats, NatsConfig, server_config};
use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};
use tempfile::TempDir;

pub(super) const LOG_BYTES_MAX: i64 = 1 << 30;
pub(super) const OUTPUT_BYTES_MAX: i64 = 1 << 28;

/// A program that says on its standard error where it listens.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(command: &mut Command, listening: &'static str) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`make setup` was run");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, address) = mpsc::channel();
        // It reads on to the end: a program dies of a log that nobody reads.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(listening) {
                    let _ = sender.send(rest.split(['"', ' ']).next().unwrap_or_default().to_owned());
                }
            }
        });
        let address = address.recv().expect("it says where it listens");
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct TestRegistry {
    server: Option<Server>,
    folder: TempDir,
    host: String,
}

impl TestRegistry {
    pub(crate) fn start() -> Self {
        // The HTTP clients are built without a provider of their own; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut registry = Self {
            server: None,
            folder: tempfile::tempdir().unwrap(),
            host: "127.0.0.1:0".to_owned(),
        };
        registry.restart();
        registry
    }

    /// On the address that it had, with what it had stored.
    pub(crate) fn restart(&mut self) {
        self.serve(false);
    }

    /// Under maintenance: it takes no pushes.
    pub(crate) fn restart_read_only(&mut self) {
        self.kill();
        self.serve(true);
    }

    fn serve(&mut self, is_read_only: bool) {
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: {:?}}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: true}}, \
             maintenance: {{readonly: {{enabled: {is_read_only}}}}}}}\n",
            self.host,
            self.folder.path().join("data")
        );
        let file = self.folder.path().join("registry.yml");
        fs::write(&file, settings).unwrap();
        let server = Server::start(Command::new("docker-registry").arg("serve").arg(&file), "listening on ");
        self.host.clone_from(&server.address);
        self.server = Some(server);
    }

    /// kill -9
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn client(&self) -> Registry {
        Registry::open(&format!("http://{}", self.host())).unwrap()
    }

    /// A text that no other test uses.
    pub(crate) fn unique(&self) -> String {
        let name = self.folder.path().file_name().unwrap().to_string_lossy();
        format!("cooperage-test/{}", name.trim_start_matches('.').to_lowercase())
    }
}

pub(crate) struct TestNats {
    server: Server,
    folder: TempDir,
}

impl TestNats {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let settings = server_config("127.0.0.1:-1", &store.to_string_lossy(), str::to_owned);
        fs::create_dir(folder.path().join("keys")).unwrap();
        for account in &ACCOUNTS {
            fs::write(
                folder.path().join(format!("keys/{}.password", account.name)),
                account.name,
            )
            .unwrap();
        }
        let file = folder.path().join("nats.conf");
        fs::write(&file, settings).unwrap();
        let server = Server::start(
            Command::new(nats_server()).arg("-c").arg(&file),
            "Listening for client connections on ",
        );
        Self { server, folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.server.address)
    }

    pub(crate) fn passwords(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// As one of the services.
    pub(crate) async fn connect(&self, account: &str) -> Nats {
        let config = NatsConfig {
            url: self.url(),
            user: account.to_owned(),
            password: account.to_owned(),
            replicas: 1,
            log_bytes_max: LOG_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
        };
        let nats = Nats::connect(&config).await.unwrap();
        nats.prepare(&config).await.unwrap();
        nats
    }
}

/// Where `make setup` puts it, or wherever it is.
fn nats_server() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    if fetched.exists() {
        fetched
    } else {
        "nats-server".into()
    }
}
