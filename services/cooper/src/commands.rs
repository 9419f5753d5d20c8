//! What each command does, one file per group.

mod access;
mod admin;
mod as_of;
mod audit;
mod build;
mod build_directory;
mod check_git;
mod credentials;
mod diff;
mod edit;
mod events;
mod history;
mod image;
mod journal;
mod lint;
mod locate;
mod login;
mod nats_config;
mod rebuild;
mod registry;
mod revisions;
mod save;
mod show;
mod tiles;
mod token;
mod verify;
mod views;
mod workspace;

use crate::{
    cli::{Command, ImageCommand, Newest},
    client::Shell,
    failure::Failure,
    up,
};

pub(crate) async fn run(shell: &Shell, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(options) => Box::pin(up::run(&shell.output, options)).await,
        Command::Build(args) => Box::pin(build_directory::build(shell, *args)).await,
        Command::Image(command) => image(shell, *command).await,
        Command::Workspace(command) => workspace::run(shell, command).await,
        Command::Share(args) => access::share(shell, args).await,
        Command::Acl(command) => access::run(shell, command).await,
        Command::Resolve(args) => registry::resolve(shell, &args.image).await,
        Command::History(args) => history::history(shell, args).await,
        Command::Verify(args) => Box::pin(verify::verify(shell, args)).await,
        Command::Audit(args) => audit::audit(shell, args).await,
        Command::Events(args) => events::events(shell, args).await,
        Command::Login(args) => login::login(shell, &args).await,
        Command::Logout => login::logout(shell),
        Command::Whoami => login::whoami(shell).await,
        Command::Token(command) => token::run(shell, command),
        Command::Admin(command) => admin::run(shell, &command).await,
    }
}

async fn image(shell: &Shell, command: ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::Create(args) => Box::pin(image::create(shell, *args)).await,
        ImageCommand::Ls(args) => tiles::ls(shell, args).await,
        ImageCommand::Show(args) => show::show(shell, &args.image).await,
        ImageCommand::Rename { image, name } => image::rename(shell, &image, name).await,
        ImageCommand::Describe { image, text } => image::describe(shell, &image, text).await,
        ImageCommand::Delete { image, purge } => image::delete(shell, &image, purge).await,
        ImageCommand::Check { name } => image::check(shell, name).await,
        ImageCommand::CheckGit(args) => check_git::check_git(shell, args).await,

        ImageCommand::Save(args) => Box::pin(save::save(shell, *args)).await,
        ImageCommand::Edit(args) => Box::pin(edit::edit(shell, &args.image)).await,
        ImageCommand::Lint(args) => lint::lint(shell, args).await,
        ImageCommand::Revisions { image, newest } => revisions::revisions(shell, &image, newest).await,
        ImageCommand::Dockerfile { image, revision } => revisions::dockerfile(shell, &image, revision).await,
        ImageCommand::Diff { image, from, to } => diff::diff(shell, &image, from, to).await,
        ImageCommand::Restore {
            image,
            revision,
            expect_revision,
        } => revisions::restore(shell, &image, revision, expect_revision).await,

        ImageCommand::Build(args) => Box::pin(build::build(shell, *args)).await,
        ImageCommand::Builds { image, newest } => journal::builds(shell, &image, newest).await,
        ImageCommand::Logs(args) => journal::logs(shell, args).await,
        ImageCommand::Rebuild(args) => Box::pin(rebuild::rebuild(shell, *args)).await,
        ImageCommand::Cancel(of) => journal::cancel(shell, of).await,
        ImageCommand::PushRetry(of) => registry::push_retry(shell, of).await,
        ImageCommand::Queue => journal::queue(shell).await,

        ImageCommand::Tags(args) => registry::tags(shell, &args.image).await,
        ImageCommand::Inspect(args) => registry::inspect(shell, &args.image).await,
        ImageCommand::Digest(args) => registry::digest(shell, &args.image).await,
    }
}

const PAGE_SIZE: u32 = 500;
/// How many rows of a long list people get without asking.
const NEWEST: usize = 25;

/// How many rows to fetch; none for all.
fn limit(shell: &Shell, newest: Newest) -> Option<usize> {
    match newest.last {
        Some(0) => None,
        Some(last) => Some(last),
        None if shell.output.is_json() || shell.output.quiet => None,
        None => Some(NEWEST),
    }
}

/// Fetches pages until the last one, or until there are enough rows. Answers also whether there are more.
async fn pages<Row>(
    limit: Option<usize>,
    page: impl AsyncFn(u32, String) -> Result<(Vec<Row>, String), Failure>,
) -> Result<(Vec<Row>, bool), Failure> {
    let mut rows = Vec::new();
    let mut token = String::new();
    loop {
        let missing = limit.map(|limit| limit.saturating_sub(rows.len()));
        let size = missing
            .and_then(|missing| u32::try_from(missing).ok())
            .map_or(PAGE_SIZE, |size| size.min(PAGE_SIZE));
        let (more, next) = page(size, token).await?;
        rows.extend(more);
        if next.is_empty() || limit.is_some_and(|limit| rows.len() >= limit) {
            return Ok((rows, !next.is_empty()));
        }
        token = next;
    }
}

/// Says that a list was cut.
fn say_more(shell: &Shell, rows: usize, there_are_more: bool) {
    if there_are_more && !shell.output.is_json() {
        shell.output.notice(format!("the {rows} newest; `-n 0` lists all"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetched(limit: Option<usize>) -> (Vec<usize>, bool) {
        let all: Vec<usize> = (0..1_200).collect();
        let page = async |size: u32, token: String| {
            let from: usize = token.parse().unwrap_or_default();
            let to = (from + size as usize).min(all.len());
            let next = if to < all.len() { to.to_string() } else { String::new() };
            Ok((all[from..to].to_vec(), next))
        };
        pages(limit, page).await.unwrap()
    }

    #[tokio::test]
    async fn pages_are_fetched_until_there_are_enough_rows() {
        assert_eq!(fetched(None).await, ((0..1_200).collect(), false));
        assert_eq!(fetched(Some(25)).await, ((0..25).collect(), true));
        assert_eq!(fetched(Some(700)).await, ((0..700).collect(), true));
        assert_eq!(fetched(Some(1_200)).await, ((0..1_200).collect(), false));
    }
}
