//! What there is to choose from in a repository. Runs in the child only.

use git2::Repository;

use super::{GitRefused, Job, Listed, Offer, remote, tree};

/// Of branches, of tags, of directories.
const NAMES_MAX: usize = 500;
/// Longer ones are refused when they are saved.
const NAME_BYTES_MAX: usize = 1024;

pub(super) fn look(job: &Job) -> Result<Offer, GitRefused> {
    let repository = Repository::init_bare(&job.repository)?;
    remote::ask(job, &repository, |heads, fetched| {
        let named = |prefix: &str| {
            let names = heads.iter().filter_map(|head| head.name.strip_prefix(prefix));
            // `v1^{}` is what the tag v1 leads to
            Listed::of(names.filter(|name| !name.ends_with("^{}")))
        };
        let head = heads.iter().find(|head| head.name == "HEAD");
        let default = head.and_then(|head| head.target.as_deref()?.strip_prefix("refs/heads/"));
        let mut offer = Offer {
            source: job.source.clone(),
            default_branch: default.unwrap_or_default().to_owned(),
            branches: named("refs/heads/"),
            tags: named("refs/tags/"),
            commit: String::new(),
            directories: Listed::default(),
            notices: Vec::new(),
        };
        match fetched {
            Ok(commit) => {
                offer.commit = commit.to_string();
                offer.directories =
                    tree::dockerfiles(&repository, commit, &job.source.directory, job.limits.context.entries)?;
            }
            // the branches and tags are of use alone
            Err(GitRefused::TooLarge { limit }) => {
                let notice = format!("the repository is larger than {limit} bytes: its directories are not listed");
                offer.notices.push(notice);
            }
            Err(refused) => return Err(refused),
        }
        Ok(offer)
    })
}

impl Listed {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut listed = Self::default();
        names.for_each(|name| listed.push(name));
        listed
    }

    pub(super) fn push(&mut self, name: &str) {
        if self.names.len() < NAMES_MAX && name.len() <= NAME_BYTES_MAX {
            self.names.push(name.to_owned());
        } else {
            self.has_more = true;
        }
    }
}
