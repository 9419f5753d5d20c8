//! `cooper image ls`: the tiles, once or as they change.

use super::{pages, workspace};
use crate::{
    cli::LsArgs,
    client::{End, Session, Shell, Step, lasting},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, ago, name_of, now, outcome_word, right_word, status},
};
use futures::TryStreamExt as _;
use proto::catalog::v1::{
    Image, ImageStatus, ListImagesRequest, ListImagesResponse, WatchImagesRequest, WatchImagesResponse,
};
use std::{collections::BTreeMap, pin::pin};

const EMPTY: &str = "no image here: make one with `cooper build -t NAME .` or `cooper image create NAME`";
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

pub(crate) async fn ls(shell: &Shell, args: LsArgs) -> Result<(), Failure> {
    let session = shell.session().await?;
    let workspace = if args.all_workspaces || args.shared {
        String::new()
    } else {
        // Who is in none sees what is shared with it.
        let workspace = session.workspace_if_any(shell).await.map_err(|failure| {
            let is_undecided = failure.exit() == Exit::Usage;
            if is_undecided {
                failure.advising("`--all-workspaces` lists all")
            } else {
                failure
            }
        })?;
        workspace.unwrap_or_default()
    };
    let filter = Filter {
        all_workspaces: args.all_workspaces,
        shared_only: args.shared,
        names: names(&session).await?,
        statuses: args.status.iter().map(|word| ImageStatus::from(*word)).collect(),
        name: args.name,
    };
    if args.watch {
        return watch(shell, &session, workspace, &filter).await;
    }
    let answer = fetch(&session, workspace, &filter).await?;
    let table = filter.table(answer.images.iter());
    let empty = if args.shared {
        "nothing is shared with you"
    } else {
        EMPTY
    };
    shell.output.list(&answer, &table, empty)
}

/// The workspaces' names by their ids.
async fn names(session: &Session) -> Result<BTreeMap<String, String>, Failure> {
    let all = workspace::all(session).await?;
    Ok(all
        .into_iter()
        .map(|workspace| (workspace.id, workspace.name))
        .collect())
}

async fn fetch(session: &Session, workspace: String, filter: &Filter) -> Result<ListImagesResponse, Failure> {
    let position = std::cell::Cell::new(0);
    let (images, _) = pages(None, async |page_size, page_token| {
        let request = ListImagesRequest {
            workspace: workspace.clone(),
            statuses: filter.statuses.iter().map(|status| (*status).into()).collect(),
            name_contains: filter.literal(),
            page_size,
            page_token,
            with_shared: true,
            shared_only: filter.shared_only,
        };
        let answer = session
            .call(async || session.images().list_images(request.clone()).await)
            .await?;
        position.set(answer.position);
        Ok((answer.images, answer.next_page_token))
    })
    .await?;
    Ok(ListImagesResponse {
        images: images.into_iter().filter(|image| filter.admits(image)).collect(),
        next_page_token: String::new(),
        position: position.get(),
    })
}

struct Filter {
    all_workspaces: bool,
    shared_only: bool,
    /// Of the caller's own workspaces, by their ids.
    names: BTreeMap<String, String>,
    statuses: Vec<ImageStatus>,
    name: Option<regex::Regex>,
}

impl Filter {
    /// The expression if it is plain text, so that the server looks for it.
    fn literal(&self) -> String {
        let text = self.name.as_ref().map(regex::Regex::as_str).unwrap_or_default();
        if regex::escape(text) == text {
            text.to_owned()
        } else {
            String::new()
        }
    }

    fn admits(&self, image: &Image) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&image.status()))
            && self.name.as_ref().is_none_or(|name| name.is_match(&name_of(image)))
    }

    fn table<'a>(&self, images: impl Iterator<Item = &'a Image> + Clone) -> Table {
        let now = now();
        let is_elsewhere = |image: &Image| !self.names.contains_key(&image.workspace);
        let says_where = self.all_workspaces || images.clone().any(is_elsewhere);
        let mut table = if says_where {
            Table::new(&[
                "NAME",
                "WORKSPACE",
                "STATUS",
                "REVISION",
                "BUILT",
                "LAST BUILD",
                "DESCRIPTION",
            ])
        } else {
            Table::new(&["NAME", "STATUS", "REVISION", "BUILT", "LAST BUILD", "DESCRIPTION"])
        };
        for image in images {
            let mut cells = vec![Cell::new(Tone::Strong, name_of(image))];
            if says_where {
                cells.push(match self.names.get(&image.workspace) {
                    Some(name) => name.into(),
                    None => Cell::new(Tone::Faint, format!("shared: {}", right_word(image.my_rights()))),
                });
            }
            let built = image.built.as_ref().and_then(|mark| mark.time.as_ref());
            let revision = if image.current_revision == 0 {
                "-".to_owned()
            } else {
                image.current_revision.to_string()
            };
            cells.extend([
                status(image),
                revision.into(),
                ago(built, now).into(),
                last_build(image),
                (&image.description).into(),
            ]);
            table.row(&image.id, cells);
        }
        table
    }
}

fn last_build(image: &Image) -> Cell {
    image.last_build.as_ref().map_or_else(
        || "".into(),
        |build| {
            let (tone, word) = outcome_word(build.outcome());
            Cell::new(tone, word)
        },
    )
}

async fn watch(shell: &Shell, session: &Session, workspace: String, filter: &Filter) -> Result<(), Failure> {
    let session = session.patient();
    let open = async |(): &()| {
        let request = WatchImagesRequest {
            workspace: workspace.clone(),
        };
        session
            .open(async || session.images().watch_images(request.clone()).await)
            .await
    };
    let mut tiles = Tiles::default();
    let mut messages = pin!(lasting(End::Never, (), open, |(), _| ()));
    while let Some(step) = messages.try_next().await? {
        match step {
            Step::Opened => tiles = Tiles::default(),
            Step::Said(message) => {
                if shell.output.is_json() {
                    shell.output.json(&message)?;
                } else {
                    tiles.take(shell, filter, message)?;
                }
            }
        }
    }
    Ok(())
}

/// What is known of the images, by name.
#[derive(Default)]
struct Tiles {
    by_id: BTreeMap<String, Image>,
    caught_up: bool,
}

impl Tiles {
    fn take(&mut self, shell: &Shell, filter: &Filter, message: WatchImagesResponse) -> Result<(), Failure> {
        self.caught_up |= message.caught_up;
        let mut changed = None;
        if let Some(image) = message.image {
            if image.deleted {
                self.by_id.remove(&image.id);
            } else {
                self.by_id.insert(image.id.clone(), image.clone());
            }
            changed = Some(image);
        }
        if !self.caught_up {
            return Ok(());
        }
        if shell.output.style.terminal {
            return self.draw(shell, filter);
        }
        let present: Vec<Image> = match changed {
            Some(image) => vec![image],
            None => self.by_id.values().cloned().collect(),
        };
        for image in present.iter().filter(|image| filter.admits(image)) {
            let line = if shell.output.quiet {
                image.id.clone()
            } else {
                line(shell, image)
            };
            shell.output.line(line)?;
        }
        Ok(())
    }

    fn draw(&self, shell: &Shell, filter: &Filter) -> Result<(), Failure> {
        let mut images: Vec<&Image> = self.by_id.values().filter(|image| filter.admits(image)).collect();
        images.sort_by_key(|image| name_of(image));
        let table = filter.table(images.into_iter());
        let style = shell.output.style;
        let text = if table.is_empty() {
            format!("{EMPTY}\n")
        } else {
            table.render(style, style.width())
        };
        shell.output.raw(format!("{CLEAR}{text}").as_bytes())
    }
}

fn line(shell: &Shell, image: &Image) -> String {
    let mut table = Table::new(&[]);
    table.row("", [name_of(image).into(), status(image), last_build(image)]);
    table.render(shell.output.style, None).trim_end().to_owned()
}
