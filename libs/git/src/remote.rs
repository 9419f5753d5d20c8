//! Talks to the git host: which commit a ref means, and that commit's objects. Runs in the child only.

use std::cell::Cell;

use git2::{
    AutotagOption, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, RemoteCallbacks, RemoteRedirect, Repository,
};
use url::Url;

use super::{GitRefused, Job, MalformedSource, address};

/// Where the wanted branch or tag is kept.
const FETCHED: &str = "refs/cooperage/fetched";

pub(super) fn fetch(job: &Job) -> Result<(Repository, Oid), GitRefused> {
    let host = Host::open(job)?;
    let repository = Repository::init_bare(&job.repository)?;
    // `connect` takes no such option, and follows to other hosts by default
    repository.config()?.set_bool("http.followRedirects", false)?;
    let heads = host.list(&repository)?;
    let commit = match choose(&heads, &job.source.reference) {
        Some(Choice::Name(name)) => host.fetch_name(&repository, &name)?,
        Some(Choice::Commit(id)) => host.fetch_commit(&repository, id, &heads)?,
        None if heads.is_empty() => Err(GitRefused::Empty {
            url: job.source.url.clone(),
        })?,
        None => None,
    };
    let missing = || GitRefused::NoSuchReference {
        url: job.source.url.clone(),
        reference: if job.source.reference.is_empty() {
            "HEAD".to_owned()
        } else {
            job.source.reference.clone()
        },
    };
    Ok((repository, commit.ok_or_else(missing)?))
}

struct Head {
    name: String,
    id: Oid,
    /// What HEAD stands for.
    target: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Choice {
    Name(String),
    Commit(Oid),
}

/// As Docker chooses: a commit before a branch before a tag.
fn choose(heads: &[Head], reference: &str) -> Option<Choice> {
    let has = |name: &str| {
        heads
            .iter()
            .any(|head| head.name == name)
            .then(|| Choice::Name(name.to_owned()))
    };
    if reference.is_empty() {
        let head = heads.iter().find(|head| head.name == "HEAD")?;
        return head.target.as_deref().and_then(has).or_else(|| has("HEAD"));
    }
    if reference.len() == 40
        && let Ok(id) = Oid::from_str(reference)
    {
        return Some(Choice::Commit(id));
    }
    let partial = reference.strip_prefix("refs/").unwrap_or(reference);
    has(&format!("refs/{partial}"))
        .or_else(|| has(&format!("refs/heads/{reference}")))
        .or_else(|| has(&format!("refs/tags/{reference}")))
}

struct Host<'a> {
    job: &'a Job,
    name: String,
    stopped: Cell<bool>,
}

impl<'a> Host<'a> {
    fn open(job: &'a Job) -> Result<Self, GitRefused> {
        let bad = || MalformedSource::Address {
            url: job.source.url.clone(),
        };
        let url = Url::parse(&job.source.url).map_err(|_| bad())?;
        let name = url.host_str().ok_or_else(bad)?.to_owned();
        let port = url.port_or_known_default().ok_or_else(bad)?;
        address::check(&name, port, job.allow_private)?;
        Ok(Self {
            job,
            name,
            stopped: Cell::new(false),
        })
    }

    fn list(&self, repository: &Repository) -> Result<Vec<Head>, GitRefused> {
        let mut remote = repository.remote_anonymous(&self.job.source.url)?;
        let connection = remote.connect_auth(Direction::Fetch, Some(self.callbacks()), None);
        let connection = connection.map_err(|error| self.refused(&error))?;
        let heads = connection.list().map_err(|error| self.refused(&error))?;
        let head = |head: &git2::RemoteHead<'_>| Head {
            name: head.name().to_owned(),
            id: head.oid(),
            target: head.symref_target().map(str::to_owned),
        };
        Ok(heads.iter().map(head).collect())
    }

    fn fetch_name(&self, repository: &Repository, name: &str) -> Result<Option<Oid>, GitRefused> {
        let refspec = format!("+{name}:{FETCHED}");
        match self.download(repository, &[&refspec], 1) {
            // a host that cannot send a commit without its history
            Err(error) if self.may_go_on(&error) => self.download(repository, &[&refspec], 0),
            done => done,
        }
        .map_err(|error| self.refused(&error))?;
        let commit = repository
            .find_reference(FETCHED)
            .and_then(|found| found.peel_to_commit());
        Ok(commit.ok().map(|commit| commit.id()))
    }

    fn fetch_commit(&self, repository: &Repository, id: Oid, heads: &[Head]) -> Result<Option<Oid>, GitRefused> {
        if let Some(head) = heads.iter().find(|head| head.id == id) {
            // `refs/tags/v1^{}` is what the tag v1 leads to
            let fetched = self.fetch_name(repository, head.name.trim_end_matches("^{}"))?;
            return Ok(fetched.filter(|fetched| *fetched == id));
        }
        // few hosts give a commit by its id; the others have to give everything
        let done = match self.download(repository, &[&id.to_string()], 1) {
            Err(error) if self.may_go_on(&error) => self.download(
                repository,
                &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"],
                0,
            ),
            done => done,
        };
        done.map_err(|error| self.refused(&error))?;
        Ok(repository.find_commit(id).ok().map(|commit| commit.id()))
    }

    fn download(&self, repository: &Repository, refspecs: &[&str], depth: i32) -> Result<(), git2::Error> {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .update_fetchhead(false)
            .depth(depth);
        repository
            .remote_anonymous(&self.job.source.url)?
            .fetch(refspecs, Some(&mut options), None)
    }

    fn callbacks(&self) -> RemoteCallbacks<'_> {
        let limit = self.job.limits.repository_bytes;
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(move |progress| {
            // libgit2 does not pass on why it was stopped
            self.stopped.set(progress.received_bytes() as u64 > limit);
            !self.stopped.get()
        });
        callbacks
    }

    /// Whether another way of asking the same host may do.
    fn may_go_on(&self, error: &git2::Error) -> bool {
        let network = matches!(error.class(), ErrorClass::Http | ErrorClass::Os | ErrorClass::Ssl);
        !self.stopped.get() && !network
    }

    fn refused(&self, error: &git2::Error) -> GitRefused {
        let url = || self.job.source.url.clone();
        let cause = error.message().to_owned();
        let says = |words: &str| cause.contains(words);
        if self.stopped.get() {
            GitRefused::TooLarge {
                limit: self.job.limits.repository_bytes,
            }
        } else if says("cannot redirect") {
            GitRefused::Redirected {
                cause: cause.replace("cannot redirect ", ""),
            }
        } else if error.code() == ErrorCode::Certificate {
            GitRefused::Certificate {
                host: self.name.clone(),
            }
        } else if error.code() == ErrorCode::Auth
            || ["401", "403", "404", "410"]
                .iter()
                .any(|status| says(&format!("status code: {status}")))
        {
            // hosts do not tell a stranger whether something private exists
            GitRefused::NotFound { url: url() }
        } else if says("content-type") || says("invalid response") {
            // a web page, or files without git behind them
            GitRefused::NotGit { url: url() }
        } else if matches!(
            error.class(),
            ErrorClass::Net | ErrorClass::Http | ErrorClass::Os | ErrorClass::Ssl
        ) {
            GitRefused::Unreachable {
                host: self.name.clone(),
                cause,
            }
        } else {
            GitRefused::Broken { cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_what_it_means_to_docker() {
        let id = |digit: char| Oid::from_str(&digit.to_string().repeat(40)).unwrap();
        let head = |name: &str, digit, target: Option<&str>| Head {
            name: name.to_owned(),
            id: id(digit),
            target: target.map(str::to_owned),
        };
        let heads = [
            head("HEAD", 'a', Some("refs/heads/main")),
            head("refs/heads/main", 'a', None),
            head("refs/heads/both", 'b', None),
            head("refs/tags/both", 'c', None),
            head("refs/tags/v1", 'd', None),
            head("refs/pull/1/head", 'e', None),
        ];
        let name = |name: &str| Some(Choice::Name(name.to_owned()));
        assert_eq!(choose(&heads, ""), name("refs/heads/main"));
        assert_eq!(choose(&heads, "main"), name("refs/heads/main"));
        assert_eq!(choose(&heads, "both"), name("refs/heads/both"));
        assert_eq!(choose(&heads, "tags/both"), name("refs/tags/both"));
        assert_eq!(choose(&heads, "refs/tags/both"), name("refs/tags/both"));
        assert_eq!(choose(&heads, "v1"), name("refs/tags/v1"));
        assert_eq!(choose(&heads, "pull/1/head"), name("refs/pull/1/head"));
        assert_eq!(choose(&heads, &"f".repeat(40)), Some(Choice::Commit(id('f'))));
        assert_eq!(choose(&heads, "ffffff"), None);
        assert_eq!(choose(&[], ""), None);
    }
}
