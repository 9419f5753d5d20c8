//! Asks the git host: which commit a ref means, and that commit's objects. Runs in the child only.

use git2::{AutotagOption, Direction, FetchOptions, Oid, Remote, Repository};

use super::{GitRefused, Job, transport::Connections};

/// Where the wanted branch or tag is kept.
const FETCHED: &str = "refs/cooperage/fetched";

/// Fetches what the job asks for, and answers its commit.
pub(super) fn fetch(job: &Job, repository: &Repository) -> Result<Oid, GitRefused> {
    ask(job, repository, |_, fetched| fetched)
}

/// The same with what the host tells of its refs. They may be of use also when nothing was fetched.
pub(super) fn ask<T>(
    job: &Job,
    repository: &Repository,
    then: impl FnOnce(&[Head], Result<Oid, GitRefused>) -> Result<T, GitRefused>,
) -> Result<T, GitRefused> {
    let connections = Connections::open(job)?;
    let _context = connections.enter();
    let refused = |error: git2::Error| connections.refused(&error);
    let mut remote = repository.remote_anonymous(&job.source.url)?;
    let mut connection = remote.connect_auth(Direction::Fetch, None, None).map_err(refused)?;
    let heads = connection
        .list()
        .map_err(refused)?
        .iter()
        .map(Head::new)
        .collect::<Vec<_>>();
    let mut host = Host {
        job,
        connections: &connections,
        repository,
        remote: connection.remote(),
    };
    let fetched = host.fetch(&heads);
    then(&heads, fetched)
}

pub(super) struct Head {
    pub(super) name: String,
    id: Oid,
    /// What HEAD stands for.
    pub(super) target: Option<String>,
}

impl Head {
    fn new(head: &git2::RemoteHead<'_>) -> Self {
        Self {
            name: head.name().to_owned(),
            id: head.oid(),
            target: head.symref_target().map(str::to_owned),
        }
    }
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

struct Host<'a, 'repository> {
    job: &'a Job,
    connections: &'a Connections,
    repository: &'a Repository,
    /// Connected, until the first download is over.
    remote: &'a mut Remote<'repository>,
}

impl Host<'_, '_> {
    fn fetch(&mut self, heads: &[Head]) -> Result<Oid, GitRefused> {
        let source = &self.job.source;
        let commit = match choose(heads, &source.reference) {
            Some(Choice::Name(name)) => self.fetch_name(&name)?,
            Some(Choice::Commit(id)) => self.fetch_commit(id, heads)?,
            None if heads.is_empty() => Err(GitRefused::Empty {
                url: source.url.clone(),
            })?,
            None => None,
        };
        commit.ok_or_else(|| GitRefused::NoSuchReference {
            url: source.url.clone(),
            reference: if source.reference.is_empty() {
                "HEAD".to_owned()
            } else {
                source.reference.clone()
            },
        })
    }

    fn fetch_name(&mut self, name: &str) -> Result<Option<Oid>, GitRefused> {
        let refspec = format!("+{name}:{FETCHED}");
        // the second way: a host that cannot send a commit without its history
        self.download(&[&refspec], &[&refspec])?;
        let found = self.repository.find_reference(FETCHED);
        let commit = found.and_then(|found| found.peel_to_commit());
        Ok(commit.ok().map(|commit| commit.id()))
    }

    fn fetch_commit(&mut self, id: Oid, heads: &[Head]) -> Result<Option<Oid>, GitRefused> {
        if let Some(head) = heads.iter().find(|head| head.id == id) {
            // `refs/tags/v1^{}` is what the tag v1 leads to
            let fetched = self.fetch_name(head.name.trim_end_matches("^{}"))?;
            return Ok(fetched.filter(|fetched| *fetched == id));
        }
        // few hosts give a commit by its id; the others have to give everything
        self.download(
            &[&id.to_string()],
            &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"],
        )?;
        Ok(self.repository.find_commit(id).ok().map(|commit| commit.id()))
    }

    /// Without history; and where the host refuses that, what else may do, with it.
    fn download(&mut self, shallow: &[&str], whole: &[&str]) -> Result<(), GitRefused> {
        let mut options = FetchOptions::new();
        options
            .download_tags(AutotagOption::None)
            .update_fetchhead(false)
            .depth(1);
        let mut done = self.remote.fetch(shallow, Some(&mut options), None);
        if done.is_err() && self.connections.are_well() {
            self.remote.disconnect()?;
            done = self.remote.fetch(whole, Some(options.depth(0)), None);
        }
        done.map_err(|error| self.connections.refused(&error))
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
