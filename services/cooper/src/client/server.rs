//! The address of a server.

use crate::failure::{Exit, Failure};
use std::fmt;
use tonic::transport::Uri;

/// `http://HOST:PORT`, as it was given or completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    uri: Uri,
    /// `host:port`: the same server, however its address was written.
    key: String,
}

impl Server {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            let sentence = format!("`{text}` is not the address of a server: write it like http://127.0.0.1:7070");
            Failure::new(Exit::Usage, sentence)
        };
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: Uri = whole.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(wrong()),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?
            .to_lowercase();
        let key = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        Ok(Self { uri, key })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether it runs on this machine, so that this machine's own token is for it.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    pub(crate) fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let start = if self.is_local() {
            "start one with `cooper up`"
        } else {
            "see whether it runs"
        };
        let sentence = format!(
            "no server answers at {self} ({}): {start}, or name another with --server or COOPERAGE_SERVER",
            innermost(error)
        );
        Failure::new(Exit::Unavailable, sentence)
    }
}

/// The cause behind the causes: `connection refused` rather than `transport error`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_has_one_key_however_it_is_written() {
        for text in ["http://127.0.0.1:7070", "127.0.0.1:7070", "http://127.0.0.1:7070/"] {
            let server = Server::parse(text).unwrap();
            assert_eq!(
                (server.key(), server.to_string().as_str()),
                ("127.0.0.1:7070", "http://127.0.0.1:7070")
            );
        }
        assert_eq!(
            Server::parse("https://Build.Example.org").unwrap().key(),
            "build.example.org:443"
        );
    }

    #[test]
    fn only_this_machine_is_local() {
        for (text, local) in [
            ("localhost:7070", true),
            ("http://127.0.0.2:1", true),
            ("http://[::1]:7070", true),
            ("http://10.0.0.1:7070", false),
            ("https://localhost.example.org", false),
        ] {
            assert_eq!(Server::parse(text).unwrap().is_local(), local, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_wrong_usage() {
        for text in ["", "nats://127.0.0.1:4222", "http://", "not an address"] {
            assert_eq!(Server::parse(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }
}
