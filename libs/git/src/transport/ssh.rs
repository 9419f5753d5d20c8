//! Git's protocol over ssh: `git-upload-pack` on a host whose key is known, with a key that was given for this.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use russh::{
    ChannelStream,
    client::{self, Config, Handle, Handler, Msg},
    keys::{
        PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, decode_secret_key,
        known_hosts::known_host_keys_path,
    },
};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use url::Url;

use super::{Credential, GitRefused, Host};
use crate::source::decode;

pub(super) const SCHEME: &str = "ssh";
pub(super) const PORT: u16 = 22;
/// Until the host has taken the key.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct Ssh {
    host: Arc<Host>,
    user: String,
    path: String,
    key: Arc<PrivateKey>,
    known: Known,
}

impl Ssh {
    pub(super) fn new(host: Arc<Host>, url: &Url, known_hosts: &Path) -> Result<Self, GitRefused> {
        let name = || host.name.clone();
        let known = known_host_keys_path(&host.name, url.port().unwrap_or(PORT), known_hosts);
        let known = known.map_err(|error| GitRefused::Worker {
            cause: format!("{}: {error}", known_hosts.display()),
        })?;
        if known.is_empty() {
            return Err(GitRefused::HostKey { host: name() });
        }
        let Some(Credential::SshKey { key, passphrase }) = &host.credential else {
            return Err(GitRefused::NoKey { host: name() });
        };
        let passphrase = Some(passphrase.expose_secret()).filter(|passphrase| !passphrase.is_empty());
        let key = decode_secret_key(key.expose_secret(), passphrase).map_err(|error| GitRefused::BadKey {
            host: name(),
            cause: error.to_string(),
        })?;
        Ok(Self {
            user: url.username().to_owned(),
            path: decode(url.path()),
            key: Arc::new(key),
            known: Known(known.into_iter().map(|(_, key)| key).collect()),
            host,
        })
    }

    async fn open(&self) -> Result<Connection, GitRefused> {
        let unreachable = |error: russh::Error| self.host.unreachable(error.to_string());
        let socket = TcpStream::connect(&self.host.addresses[..]).await;
        let socket = socket.map_err(|error| self.host.unreachable(error.kind().to_string()))?;
        let mut config = Config::default();
        // a host has several keys, and shows one that is known if it is asked for that kind
        config.preferred.key = self.known.0.iter().map(PublicKey::algorithm).collect();
        let session = client::connect_stream(Arc::new(config), socket, self.known.clone()).await;
        let mut session = session.map_err(|error| match error {
            russh::Error::UnknownKey | russh::Error::NoCommonAlgo { .. } => GitRefused::HostKey {
                host: self.host.name.clone(),
            },
            error => unreachable(error),
        })?;
        let key = PrivateKeyWithHashAlg::new(self.key.clone(), None);
        let answer = session.authenticate_publickey(&self.user, key).await;
        if !answer.map_err(unreachable)?.success() {
            return Err(GitRefused::LoginRefused {
                host: self.host.name.clone(),
                login: "ssh key".to_owned(),
            });
        }
        let channel = session.channel_open_session().await.map_err(unreachable)?;
        let command = format!("git-upload-pack {}", quoted(&self.path));
        channel.exec(true, command).await.map_err(unreachable)?;
        Ok(Connection {
            host: self.host.clone(),
            stream: channel.into_stream(),
            _session: session,
            is_silent: true,
        })
    }
}

/// As a shell takes one word.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The keys of the host.
#[derive(Clone)]
struct Known(Vec<PublicKey>);

impl Handler for Known {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                self.0.iter().any(|known| known.key_data() == key.key_data())
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

impl SmartSubtransport for Ssh {
    fn action(&self, _url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        if service != Service::UploadPackLs {
            return Err(git2::Error::from_str("nothing is pushed from here"));
        }
        let opening = async { timeout(LOGIN_TIMEOUT, self.open()).await };
        let opened = self.host.runtime.block_on(opening);
        let opened = opened.unwrap_or_else(|_| Err(self.host.unreachable("it does not answer")));
        match opened {
            Ok(connection) => Ok(Box::new(connection)),
            Err(refused) => Err(git2::Error::from_str(&self.host.fail(refused).to_string())),
        }
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One run of `git-upload-pack`, for the refs and for what follows.
struct Connection {
    host: Arc<Host>,
    stream: ChannelStream<Msg>,
    /// Ends the connection when it is dropped.
    _session: Handle<Known>,
    is_silent: bool,
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.host.runtime.block_on(self.stream.read(buffer));
        match read {
            // it said why to stderr, each host in its own words
            Ok(0) if self.is_silent => Err(self.host.fail(GitRefused::NotFoundWith {
                url: self.host.url.clone(),
                login: "ssh key".to_owned(),
            })),
            Ok(bytes) => {
                self.is_silent = false;
                self.host.receive(bytes)
            }
            Err(error) => Err(self.host.fail(self.host.unreachable(error.to_string()))),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.host.runtime.block_on(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.host.runtime.block_on(self.stream.flush())
    }
}
