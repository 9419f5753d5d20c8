//! Git's smart protocol over http and https: a question for the refs, and one for each step of the negotiation.

use std::{
    error::Error,
    io::{self, Read, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, LOCATION},
    redirect::{Attempt, Policy},
};
use secrecy::ExposeSecret as _;

use super::{Credential, GitRefused, Host};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Some hosts answer with a web page to what does not look like git.
const USER_AGENT: &str = "git/2.0 (cooperage)";
const REFS: &str = "/info/refs?service=git-upload-pack";
const REDIRECTS: usize = 5;

#[derive(Clone)]
pub(super) struct Http {
    host: Arc<Host>,
    client: Client,
    /// The repository's address, after redirects within the host.
    base: Arc<Mutex<Option<String>>>,
}

impl Http {
    pub(super) fn new(host: Arc<Host>) -> Result<Self, GitRefused> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .resolve_to_addrs(&host.name, &host.addresses)
            .redirect(Policy::custom(|attempt| {
                if stays(&attempt) {
                    attempt.follow()
                } else {
                    attempt.stop()
                }
            }))
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| failed(&host, &error))?;
        Ok(Self {
            host,
            client,
            base: Arc::default(),
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.host.credential {
            Some(Credential::Token { user, token }) => request.basic_auth(user, Some(token.expose_secret())),
            Some(Credential::SshKey { .. }) | None => request,
        }
    }

    fn send(&self, request: RequestBuilder, kind: &str) -> Result<Response, GitRefused> {
        let host = &self.host;
        let sent = host.runtime.block_on(self.authorized(request).send());
        let response = sent.map_err(|error| failed(host, &error))?;
        let has_token = matches!(host.credential, Some(Credential::Token { .. }));
        let url = || host.url.clone();
        match response.status() {
            StatusCode::OK => {
                let found = response.headers().get(CONTENT_TYPE);
                // else a web page, or files without git behind them
                if found.is_some_and(|found| found.as_bytes() == kind.as_bytes()) {
                    Ok(response)
                } else {
                    Err(GitRefused::NotGit { url: url() })
                }
            }
            status if status.is_redirection() => Err(GitRefused::Redirected {
                host: host.name.clone(),
                to: target(&response),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if has_token => Err(GitRefused::LoginRefused {
                host: host.name.clone(),
                login: "token".to_owned(),
            }),
            StatusCode::NOT_FOUND | StatusCode::GONE if has_token => Err(GitRefused::NotFoundWith {
                url: url(),
                login: "token".to_owned(),
            }),
            // hosts do not tell a stranger whether something private exists
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(GitRefused::NotFound { url: url() })
            }
            status => Err(host.unreachable(format!("it answered {status}"))),
        }
    }
}

/// Only an address of the same host leads on: no other one was checked, and none may get the token.
fn stays(attempt: &Attempt<'_>) -> bool {
    let first = attempt.previous().first();
    attempt.previous().len() <= REDIRECTS && first.is_some_and(|first| first.origin() == attempt.url().origin())
}

fn target(response: &Response) -> String {
    let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
    let to = to.and_then(|to| response.url().join(to).ok());
    to.map_or_else(
        || "nowhere".to_owned(),
        |mut to| {
            // whatever the host writes into it, it is shown to people
            let _ = to.set_username("");
            let _ = to.set_password(None);
            to.set_query(None);
            to.to_string().trim_end_matches("/info/refs").to_owned()
        },
    )
}

fn failed(host: &Host, error: &reqwest::Error) -> GitRefused {
    if is_of_certificate(error) {
        return GitRefused::Certificate {
            host: host.name.clone(),
        };
    }
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        cause = match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            None | Some(io::ErrorKind::Other | io::ErrorKind::InvalidData) => error.to_string(),
            Some(kind) => kind.to_string(),
        };
        next = error.source();
    }
    host.unreachable(cause)
}

/// An I/O error that holds another is not its source.
fn is_of_certificate(error: &(dyn Error + 'static)) -> bool {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || held.is_some_and(|held| is_of_certificate(held))
        || error.source().is_some_and(is_of_certificate)
}

impl SmartSubtransport for Http {
    fn action(&self, url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let (request, name) = match service {
            Service::UploadPackLs => {
                *base = None;
                (self.client.get(format!("{url}{REFS}")), "advertisement")
            }
            Service::UploadPack => {
                let url = format!("{}/git-upload-pack", base.as_deref().unwrap_or(url));
                let request = self.client.post(url);
                (
                    request.header(CONTENT_TYPE, "application/x-git-upload-pack-request"),
                    "result",
                )
            }
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(git2::Error::from_str("nothing is pushed from here"));
            }
        };
        let kind = format!("application/x-git-upload-pack-{name}");
        Ok(Box::new(Exchange {
            http: self.clone(),
            request: Some(request.header(ACCEPT, &kind)),
            kind,
            body: Vec::new(),
            response: None,
            rest: Bytes::new(),
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request, which is sent when its answer is read, and the answer.
struct Exchange {
    http: Http,
    request: Option<RequestBuilder>,
    kind: String,
    body: Vec<u8>,
    response: Option<Response>,
    rest: Bytes,
}

impl Exchange {
    fn next(&mut self) -> Result<Bytes, GitRefused> {
        let http = &self.http;
        if let Some(request) = self.request.take() {
            let request = match mem::take(&mut self.body) {
                body if body.is_empty() => request,
                body => request.body(body),
            };
            let response = http.send(request, &self.kind)?;
            if let Some(base) = response.url().as_str().strip_suffix(REFS) {
                *http.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base.to_owned());
            }
            self.response = Some(response);
        }
        let Some(response) = &mut self.response else {
            return Ok(Bytes::new());
        };
        let chunk = http.host.runtime.block_on(response.chunk());
        let chunk = chunk.map_err(|error| failed(&http.host, &error))?;
        Ok(chunk.unwrap_or_default())
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = match self.next() {
                Ok(chunk) => chunk,
                Err(refused) => return Err(self.http.host.fail(refused)),
            };
            self.http.host.receive(self.rest.len())?;
        }
        let bytes = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, Error as TlsError, PeerMisbehaved};

    #[test]
    fn a_certificate_is_told_from_other_failures() {
        let of = |error: TlsError| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let unknown = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(is_of_certificate(&of(unknown)));
        let other = TlsError::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived);
        assert!(!is_of_certificate(&of(other)));
        assert!(!is_of_certificate(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }
}
