//! `cooper image check-git`: what there is to choose from in a git repository.

use crate::{
    cli::{CheckGitArgs, GitLogin},
    client::Shell,
    failure::{Exit, Failure},
    output::{Cell, Table, Tone},
};
use proto::editor::v1::{CheckRepositoryRequest, CheckRepositoryResponse, GitCredential, GitSource};
use std::{
    fs,
    io::{self, Read as _},
};

pub(crate) async fn check_git(shell: &Shell, args: CheckGitArgs) -> Result<(), Failure> {
    let credential = args.login.read()?;
    let session = shell.session().await?;
    let request = CheckRepositoryRequest {
        git: Some(GitSource {
            url: args.url,
            r#ref: args.reference,
            directory: args.directory,
        }),
        credential,
    };
    let found = session
        .call(async || session.editor().check_repository(request.clone()).await)
        .await?;
    for notice in &found.notices {
        shell.output.notice(notice);
    }
    if shell.output.is_json() {
        return shell.output.json(&found);
    }
    if shell.output.quiet {
        let mut directories = found.directories.iter();
        return directories.try_for_each(|directory| shell.output.line(shown(directory)));
    }
    shell.output.facts(&facts(&found))
}

impl GitLogin {
    pub(super) fn read(&self) -> Result<Option<GitCredential>, Failure> {
        let mut given = GitCredential::default();
        if self.token_stdin {
            let read = io::stdin().lock().read_to_string(&mut given.token);
            read.map_err(|error| Failure::new(Exit::Invalid, format!("the token can't be read: {error}")))?;
            given.token = given.token.trim().to_owned();
        } else if let Some(file) = &self.ssh_key {
            given.ssh_key = fs::read_to_string(file).map_err(|error| {
                Failure::new(
                    Exit::Invalid,
                    format!("the key {} can't be read: {error}", file.display()),
                )
            })?;
        } else {
            return Ok(None);
        }
        Ok(Some(given))
    }
}

fn facts(found: &CheckRepositoryResponse) -> Table {
    let mut facts = Table::new(&[]);
    let mut fact = |title: &str, value: String| facts.row("", [Cell::new(Tone::Faint, title), value.into()]);
    fact(
        "repository",
        found.git.as_ref().map(|git| git.url.clone()).unwrap_or_default(),
    );
    fact("default branch", found.default_branch.clone());
    fact("commit", found.commit.clone());
    let mut list = |title: &str, names: &[String], has_more: bool| {
        let more = has_more.then(|| "...".to_owned());
        for (number, name) in names.iter().cloned().chain(more).enumerate() {
            fact(if number == 0 { title } else { "" }, name);
        }
    };
    list("branches", &found.branches, found.has_more_branches);
    list("tags", &found.tags, found.has_more_tags);
    let directories: Vec<String> = found
        .directories
        .iter()
        .map(|directory| shown(directory).to_owned())
        .collect();
    list("with a Dockerfile", &directories, found.has_more_directories);
    facts
}

/// The root has no name.
fn shown(directory: &str) -> &str {
    if directory.is_empty() { "." } else { directory }
}
