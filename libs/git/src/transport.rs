//! How libgit2 reaches the git host: over connections of our own, to addresses that were checked, and with a login that
//! goes nowhere else. Runs in the child only.
//!
//! libgit2's own connections look the name up once more, follow redirects to other hosts, and tell causes as text only.

mod http;
mod ssh;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use git2::transport::{SmartSubtransport, Transport};
use tokio::runtime::{Builder, EnterGuard, Runtime};
use url::Url;

use super::{Credential, GitRefused, Job, address};

/// Where the job's repository is, and how.
pub(super) struct Connections(Arc<Host>);

/// What all connections of a job share.
struct Host {
    runtime: Runtime,
    url: String,
    name: String,
    addresses: Vec<SocketAddr>,
    credential: Option<Credential>,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    received: u64,
    /// Why a connection failed; libgit2 passes on a text at most.
    refused: Option<GitRefused>,
}

impl Connections {
    /// Checks the host's address, and has libgit2 use it from now on.
    pub(super) fn open(job: &Job) -> Result<Self, GitRefused> {
        let broken = |error: io::Error| GitRefused::Worker {
            cause: error.to_string(),
        };
        let url = Url::parse(&job.source.url).map_err(|error| broken(io::Error::other(error)))?;
        let name = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(ssh::PORT);
        let allowed = &job.allowed;
        let host = Arc::new(Host {
            runtime: Builder::new_current_thread().enable_all().build().map_err(broken)?,
            addresses: address::resolve(&name, port, allowed.private_hosts)?,
            url: job.source.url.clone(),
            name,
            credential: job.credential.clone(),
            limit: job.limits.repository_bytes,
            state: Mutex::default(),
        });
        if url.scheme() == ssh::SCHEME {
            let ssh = ssh::Ssh::new(host.clone(), &url, &allowed.known_hosts)?;
            register(ssh::SCHEME, false, move || ssh.clone())?;
        } else {
            let http = http::Http::new(host.clone())?;
            register(url.scheme(), true, move || http.clone())?;
        }
        Ok(Self(host))
    }

    /// An ssh channel tells its connection when it is dropped, wherever that is.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.0.runtime.enter()
    }

    /// Why it went wrong: what a connection noted, or what libgit2 says.
    pub(super) fn refused(&self, error: &git2::Error) -> GitRefused {
        self.0.lock().refused.take().unwrap_or_else(|| GitRefused::Broken {
            cause: error.message().to_owned(),
        })
    }

    /// Whether only the host said no, so that another way of asking may do.
    pub(super) fn are_well(&self) -> bool {
        self.0.lock().refused.is_none()
    }
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the reason, and answers what libgit2 gets.
    fn fail(&self, refused: GitRefused) -> io::Error {
        let error = io::Error::other(refused.to_string());
        self.lock().refused.get_or_insert(refused);
        error
    }

    fn unreachable(&self, cause: impl Into<String>) -> GitRefused {
        GitRefused::Unreachable {
            host: self.name.clone(),
            cause: cause.into(),
        }
    }

    /// Counts what the host sends, in all answers together.
    fn receive(&self, bytes: usize) -> io::Result<usize> {
        let received = {
            let mut state = self.lock();
            state.received += bytes as u64;
            state.received
        };
        if received > self.limit {
            return Err(self.fail(GitRefused::TooLarge { limit: self.limit }));
        }
        Ok(bytes)
    }
}

#[expect(unsafe_code, reason = "libgit2's table of transports has no lock")]
fn register<S: SmartSubtransport>(
    scheme: &str,
    is_rpc: bool,
    make: impl Fn() -> S + Send + Sync + 'static,
) -> Result<(), git2::Error> {
    // SAFETY: the child has one job, on one thread, and no repository is open yet.
    unsafe { git2::transport::register(scheme, move |remote| Transport::smart(remote, is_rpc, make())) }
}
