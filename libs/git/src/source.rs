//! Where a context lies in a repository, in one normal form: address, ref, directory.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::Allowed;

const URL_MAX: usize = 2048;
const REFERENCE_MAX: usize = 255;
const DIRECTORY_MAX: usize = 1024;
/// Where an ssh address names none.
const SSH_USER: &str = "git";

/// Made by [`normalize`] only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// `https://host/path` or `ssh://user@host/path`, without anything behind.
    pub url: String,
    /// A branch, a tag, a full commit id, or a name that begins with `refs/`; empty: the remote's HEAD.
    pub reference: String,
    /// Relative, with slashes; empty: the root.
    pub directory: String,
}

/// As Docker writes it: `URL#ref:directory`.
impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        if !self.reference.is_empty() || !self.directory.is_empty() {
            write!(f, "#{}", self.reference)?;
        }
        if !self.directory.is_empty() {
            write!(f, ":{}", self.directory)?;
        }
        Ok(())
    }
}

/// Why a text is no source.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum MalformedSource {
    #[error("'{url}' is not the address of a repository; write https://host/path")]
    Address { url: String },
    #[error("'{scheme}' is not allowed for repositories; write an https address")]
    Scheme { scheme: String },
    #[error("the address of the repository contains a user name or a password; leave them out")]
    Userinfo,
    #[error("the {what} is given in the address and beside it; give it once")]
    Twice { what: String },
    #[error("'{reference}' cannot be the name of a branch, a tag or a commit; correct it")]
    Reference { reference: String },
    #[error("'{directory}' leaves the repository; name a directory in it by a relative path without '..'")]
    Directory { directory: String },
}

impl MalformedSource {
    /// A fixed word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } | Self::Scheme { .. } => "GIT_URL_SCHEME",
            Self::Userinfo => "GIT_URL_PASSWORD",
            Self::Twice { .. } => "GIT_URL",
            Self::Reference { .. } => "GIT_REF",
            Self::Directory { .. } => "GIT_SUBDIR",
        }
    }
}

/// Understands `URL#ref:directory` and the `/tree/REF/DIR` address of a forge's page. What stands in the address may
/// not be given beside it as well.
pub fn normalize(
    address: &str,
    reference: &str,
    directory: &str,
    allowed: &Allowed,
) -> Result<GitSource, MalformedSource> {
    let address = address.trim();
    let mut url = parse(address, allowed)?;
    let bad = || MalformedSource::Address {
        url: address.to_owned(),
    };
    let fragment = url.fragment().map(decode).unwrap_or_default();
    let (mut inner_reference, mut inner_directory) = match fragment.split_once(':') {
        Some((reference, directory)) => (reference.to_owned(), directory.to_owned()),
        None => (fragment, String::new()),
    };
    url.set_fragment(None);
    let path = url.path().to_owned();
    if let Some((repository, reference, directory)) = page(&path) {
        if !inner_reference.is_empty() || !inner_directory.is_empty() {
            return Err(bad());
        }
        url.set_query(None);
        url.set_path(repository);
        (inner_reference, inner_directory) = (decode(reference), decode(directory));
    }
    if url.query().is_some() || url.path().trim_matches('/').is_empty() {
        return Err(bad());
    }
    let reference = once("ref", reference, &inner_reference)?;
    let directory = once("directory", directory, &inner_directory)?;
    Ok(GitSource {
        url: url.as_str().trim_end_matches('/').to_owned(),
        reference: checked_reference(reference)?,
        directory: checked_directory(directory)?,
    })
}

fn parse(address: &str, allowed: &Allowed) -> Result<Url, MalformedSource> {
    let bad = || MalformedSource::Address {
        url: address.chars().take(200).collect(),
    };
    if address.len() > URL_MAX || address.chars().any(char::is_control) {
        return Err(bad());
    }
    let mut url = match Url::parse(address) {
        Ok(url) => url,
        // It may be a password that does not fit into an address, and is not repeated.
        Err(_) if address.contains("://") && address.contains('@') => return Err(MalformedSource::Userinfo),
        Err(_) => {
            let (login, path) = short(address).ok_or_else(bad)?;
            Url::parse(&format!("ssh://{login}/{path}")).map_err(|_| bad())?
        }
    };
    let is_ssh = url.scheme() == "ssh";
    let is_allowed = match url.scheme() {
        "https" => true,
        "http" => allowed.http,
        "ssh" => !allowed.known_hosts.as_os_str().is_empty(),
        _ => false,
    };
    if !is_allowed {
        return Err(MalformedSource::Scheme {
            scheme: url.scheme().to_owned(),
        });
    }
    if url.password().is_some() || (!is_ssh && !url.username().is_empty()) {
        return Err(MalformedSource::Userinfo);
    }
    let host = url.host_str().unwrap_or_default().to_lowercase();
    if host.is_empty() {
        return Err(bad());
    }
    if is_ssh {
        let user = if url.username().is_empty() {
            SSH_USER
        } else {
            url.username()
        };
        let user = user.to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if user.starts_with('-') || !user.chars().all(plain) {
            return Err(bad());
        }
        url.set_host(Some(&host)).map_err(|_| bad())?;
        url.set_username(&user).map_err(|()| bad())?;
    }
    Ok(url)
}

/// `git@host:path`, as forges show it for ssh; the path counts from the root, as it does there.
fn short(address: &str) -> Option<(&str, &str)> {
    let (login, path) = address.split_once(':')?;
    let is_login = login.contains('@') && !login.contains('/');
    is_login.then_some((login, path.trim_start_matches('/')))
}

/// `/owner/repository/tree/REF/DIR`, or `/group/.../repository/-/tree/REF/DIR`. A ref with a slash cannot be told from
/// a directory there; the first part is taken.
fn page(path: &str) -> Option<(&str, &str, &str)> {
    let (repository, rest) = match path.split_once("/-/tree/") {
        Some(found) => found,
        None => path
            .split_once("/tree/")
            .filter(|(before, _)| before.matches('/').count() == 2)?,
    };
    let (reference, directory) = rest.split_once('/').unwrap_or((rest, ""));
    (!reference.is_empty()).then_some((repository, reference, directory.trim_end_matches('/')))
}

fn once<'a>(what: &str, beside: &'a str, inside: &'a str) -> Result<&'a str, MalformedSource> {
    let beside = beside.trim();
    if inside.is_empty() {
        Ok(beside)
    } else if beside.is_empty() || beside == inside {
        Ok(inside)
    } else {
        Err(MalformedSource::Twice { what: what.to_owned() })
    }
}

/// The rules of `git check-ref-format` that keep a name from meaning something else.
fn checked_reference(reference: &str) -> Result<String, MalformedSource> {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let bad = reference.len() > REFERENCE_MAX
        || reference.chars().any(forbidden)
        || ["..", "@{", "//"].iter().any(|pair| reference.contains(pair))
        || reference.starts_with(['-', '/'])
        || reference.ends_with(['/', '.']);
    if bad {
        Err(MalformedSource::Reference {
            reference: reference.to_owned(),
        })
    } else {
        Ok(reference.to_owned())
    }
}

fn checked_directory(directory: &str) -> Result<String, MalformedSource> {
    let parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let bad = directory.starts_with('/')
        || directory.len() > DIRECTORY_MAX
        || directory.chars().any(char::is_control)
        || parts.contains(&"..");
    if bad {
        Err(MalformedSource::Directory {
            directory: directory.to_owned(),
        })
    } else {
        Ok(parts.join("/"))
    }
}

/// `%20` -> a space; what is no escape, or no text, stays as it is.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests;
