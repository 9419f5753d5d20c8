//! Repositories over ssh, from git's own `upload-pack` behind a real ssh server.

use super::*;
use git::{Credential, look};
use russh::{
    Channel, ChannelId,
    keys::{
        PrivateKey, PublicKey,
        ssh_key::{
            Cipher, Kdf, LineEnding,
            private::{Ed25519Keypair, KeypairData},
        },
    },
    server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey},
};
use std::sync::Arc;
use tokio::{process::Command, task::JoinSet};

fn key(seed: u8) -> PrivateKey {
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32]));
    PrivateKey::new(pair, "").unwrap()
}

fn credential(key: &PrivateKey, passphrase: &str) -> Option<Credential> {
    let text = key.to_openssh(LineEnding::LF).unwrap().to_string();
    Credential::given(String::new(), String::new(), text, passphrase.to_owned())
}

/// Serves the repositories of a folder until it is dropped.
struct Ssh {
    port: u16,
    _served: JoinSet<()>,
}

impl Ssh {
    /// Shows one key, and lets the user `git` in with another.
    async fn start(root: PathBuf, host: PrivateKey, user: PublicKey) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(server::Config {
            keys: vec![host],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        });
        let mut served = JoinSet::new();
        served.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let visitor = Visitor {
                    root: root.clone(),
                    user: user.clone(),
                    channel: None,
                    runs: JoinSet::new(),
                };
                let config = config.clone();
                sessions.spawn(async move {
                    if let Ok(session) = server::run_stream(config, socket, visitor).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Self { port, _served: served }
    }

    fn url(&self) -> String {
        format!("ssh://git@127.0.0.1:{}/repository", self.port)
    }
}

struct Visitor {
    root: PathBuf,
    user: PublicKey,
    channel: Option<Channel<Msg>>,
    runs: JoinSet<()>,
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let is_known = user == "git" && key.public_key.key_data() == self.user.key_data();
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        let command = String::from_utf8_lossy(command).into_owned();
        let path = command.strip_prefix("git-upload-pack '/").unwrap();
        let path = self.root.join(path.strip_suffix('\'').unwrap());
        let channel = self.channel.take().unwrap();
        let handle = session.handle();
        self.runs.spawn(async move {
            let mut run = Command::from(git(Path::new("/")))
                .arg("upload-pack")
                .arg(path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let (mut input, mut output) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
            let (mut from, mut to) = tokio::io::split(channel.into_stream());
            let asked = async {
                let _ = tokio::io::copy(&mut from, &mut input).await;
            };
            let answered = async {
                let _ = tokio::io::copy(&mut output, &mut to).await;
            };
            tokio::select! { () = asked => (), () = answered => () }
            let _ = handle.exit_status_request(id, 0).await;
            let _ = handle.eof(id).await;
            let _ = handle.close(id).await;
        });
        Ok(())
    }
}

struct Keys {
    fetch: Fetch,
    server: Ssh,
    known_hosts: PathBuf,
}

impl Keys {
    async fn new() -> Self {
        let fetch = Fetch::new();
        let root = fetch.git.directory.path().to_owned();
        let server = Ssh::start(root, key(1), key(2).public_key().clone()).await;
        let known_hosts = fetch.git.directory.path().join("known_hosts");
        let keys = Self {
            fetch,
            server,
            known_hosts,
        };
        keys.know(&key(1));
        keys
    }

    /// From now on this is the key of the host.
    fn know(&self, host: &PrivateKey) {
        let line = format!(
            "[127.0.0.1]:{} {}\n",
            self.server.port,
            host.public_key().to_openssh().unwrap()
        );
        fs::write(&self.known_hosts, line).unwrap();
    }

    fn request(&self, url: &str, credential: Option<Credential>) -> GitRequest {
        let mut request = self.fetch.request(&self.fetch.git.url());
        request.allowed.known_hosts.clone_from(&self.known_hosts);
        GitRequest {
            source: normalize(url, "", "", &request.allowed).unwrap(),
            credential,
            ..request
        }
    }

    async fn refused(&self, credential: Option<Credential>) -> String {
        let request = self.request(&self.server.url(), credential);
        git::fetch(request).await.err().unwrap().to_string()
    }
}

// covers R35
#[tokio::test]
async fn a_repository_over_ssh_is_read_with_its_key() {
    let keys = Keys::new().await;
    let first = keys.fetch.git.commit(&[("Dockerfile", "FROM scratch"), ("f", "1")]);
    let second = keys.fetch.git.commit(&[("f", "2")]);
    let mine = credential(&key(2), "");
    for (reference, commit, content) in [("", &second, "2"), (&*format!("#{first}"), &first, "1")] {
        let url = format!("{}{reference}", keys.server.url());
        let context = git::fetch(keys.request(&url, mine.clone())).await.unwrap();
        assert_eq!(&context.commit, commit);
        assert_eq!(files(context).await["f"], content);
    }
    let offer = look(keys.request(&keys.server.url(), mine)).await.unwrap();
    assert_eq!((offer.default_branch.as_str(), &offer.commit), ("main", &second));
    assert_eq!(offer.directories.names, [""]);

    let salt = Kdf::Bcrypt {
        salt: vec![7; 16],
        rounds: 1,
    };
    let encrypted = key(2).encrypt_with(Cipher::Aes256Ctr, salt, 7, "sesame").unwrap();
    let opened = git::fetch(keys.request(&keys.server.url(), credential(&encrypted, "sesame"))).await;
    assert_eq!(opened.unwrap().commit, second);
    let closed = keys.refused(credential(&encrypted, "wrong")).await;
    assert!(
        closed.starts_with("the ssh key for the git host 127.0.0.1 can't be read: "),
        "{closed}"
    );
    assert_eq!(keys.fetch.leftovers(), 0);
}

#[tokio::test]
async fn what_does_not_open_over_ssh_is_told_apart() {
    let keys = Keys::new().await;
    keys.fetch.git.commit(&[("Dockerfile", "FROM scratch")]);
    assert_eq!(
        keys.refused(credential(&key(3), "")).await,
        "the git host 127.0.0.1 refused the ssh key; give one that may read the repository"
    );
    assert_eq!(
        keys.refused(None).await,
        "the git host 127.0.0.1 is read over ssh, and that takes a key; give one that may read the repository"
    );
    let missing = keys.request(&format!("{}-missing", keys.server.url()), credential(&key(2), ""));
    let missing = git::fetch(missing).await.err().unwrap();
    assert!(
        missing.to_string().contains("that the given ssh key may read"),
        "{missing}"
    );

    // a host that took the place of the known one, and one that nobody knows
    keys.know(&key(4));
    let told = "the key of the git host 127.0.0.1 is not among the known ones of this platform; ask its operators to add it, if it is the right one";
    assert_eq!(keys.refused(credential(&key(2), "")).await, told);
    fs::write(&keys.known_hosts, "").unwrap();
    assert_eq!(keys.refused(credential(&key(2), "")).await, told);
    assert_eq!(keys.fetch.leftovers(), 0);
}
