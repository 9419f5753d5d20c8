//! What goes on as long as a build does: its log, and its row in the journal.

use super::Api;
use crate::view::{self, Row, Stage};
use access::{Caller, Denied};
use eventlog::{LogError, OutputChunk, Position};
use futures::{StreamExt as _, stream::BoxStream};
use proto::builder::v1::{StreamLogRequest, StreamLogResponse, WatchBuildRequest, WatchBuildResponse};
use service::{Failure, status, with_metadata};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tonic::{Code, Request, Status};

/// How often the rights of those who follow are looked at: a revoked one is cut within 5 s.
const RIGHTS_EVERY: Duration = Duration::from_secs(2);
const REOPEN_DELAY: Duration = Duration::from_millis(200);

type Chunks = BoxStream<'static, Result<OutputChunk, LogError>>;
pub(super) type Changes = watch::Receiver<Position>;

/// A reader of a log: where it is, and when it is done.
struct Reader {
    row: Row,
    offset: u64,
    follow: bool,
    chunks: Option<Chunks>,
    watch: Watch,
    /// How long the log is, once the build has ended.
    length: Option<u64>,
}

impl Api {
    pub(super) async fn log(
        &self,
        request: Request<StreamLogRequest>,
    ) -> Result<BoxStream<'static, Result<StreamLogResponse, Status>>, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let row = self.find(&located, &request.build).await?;
        // Every attempt begins with a line of its own.
        if row.stage() == Stage::Ended && row.attempt > 0 && self.output.length(&row.id).await? == 0 {
            let sentence = "nothing is kept of this build's log any more: the oldest logs make room for new ones";
            return Err(status(Code::OutOfRange, "POSITION_GONE", sentence).into());
        }
        let mut watch = Watch::new(self, call.caller.clone(), &row.image);
        // The build may have ended before.
        watch.changes.mark_changed();
        let reader = Reader {
            row,
            offset: u64::try_from(request.offset).unwrap_or_default(),
            follow: request.follow,
            chunks: None,
            watch,
            length: None,
        };
        let chunks = futures::stream::try_unfold(reader, |mut reader| async move {
            let chunk = reader.next().await.map_err(Status::from)?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        });
        Ok(self.world.stream(&call, chunks))
    }

    pub(super) async fn watch(
        &self,
        request: Request<WatchBuildRequest>,
    ) -> Result<BoxStream<'static, Result<WatchBuildResponse, Status>>, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let row = self.find(&located, &request.build).await?;
        let start = (Watch::new(self, call.caller.clone(), &row.image), row, None);
        let changes =
            futures::stream::try_unfold(start, |(mut watch, row, shown): (Watch, Row, Option<u64>)| async move {
                let over = shown.is_some() && row.stage() == Stage::Ended;
                if over {
                    return Ok::<_, Status>(None);
                }
                let row = match shown {
                    None => row,
                    Some(position) => {
                        let changed = watch.changed(&row, position).await.map_err(Status::from)?;
                        let Some(row) = changed else { return Ok(None) };
                        row
                    }
                };
                let response = WatchBuildResponse {
                    build: Some(watch.api.show(&row)),
                    position: row.position,
                };
                let position = row.position;
                Ok(Some((response, (watch, row, Some(position)))))
            });
        Ok(self.world.stream(&call, changes))
    }

    /// Changes whenever a row of the image's journal did: what others build wakes nobody here.
    pub(super) fn journal_changes(&self, image: &str) -> Changes {
        self.view.applied_to(&["builds", "repository"], image)
    }

    /// The row once it is newer than a position. `None` when this process stops.
    pub(super) async fn changed(&self, changes: &mut Changes, row: &Row, than: u64) -> Result<Option<Row>, Failure> {
        loop {
            changes.mark_unchanged();
            let newer = view::row(&self.view, &row.image, &row.id).await?;
            let newer = newer.ok_or(Denied::NoSuchImage)?;
            if newer.position > than {
                return Ok(Some(newer));
            }
            self.view.goes_on()?;
            if changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

impl Reader {
    /// Whether the build has ended, and how long its log is then.
    async fn look(&mut self) -> Result<(), Failure> {
        let api = &self.watch.api;
        api.view.goes_on()?;
        let row = view::row(&api.view, &self.row.image, &self.row.id).await?;
        if row.ok_or(Denied::NoSuchImage)?.stage() == Stage::Ended {
            // Whoever ends a build has written its log before.
            if let Ok(length) = api.output.length(&self.row.id).await {
                self.length = Some(length);
            } else {
                sleep(REOPEN_DELAY).await;
                self.watch.changes.mark_changed();
            }
        }
        Ok(())
    }

    /// The next piece; `None` when the log is whole, or no more was asked for.
    async fn next(&mut self) -> Result<Option<StreamLogResponse>, Failure> {
        loop {
            if self.length.is_some_and(|length| self.offset >= length) {
                return Ok(None);
            }
            self.watch.check(&self.row.image).await?;
            if self.chunks.is_none() {
                match self.watch.api.output.read(&self.row.id, self.offset, self.follow).await {
                    Ok(chunks) => self.chunks = Some(chunks),
                    // The server is away: whoever follows waits for it.
                    Err(_) if self.follow => {
                        sleep(REOPEN_DELAY).await;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(chunks) = &mut self.chunks else {
                return Ok(None);
            };
            let chunk = if self.follow && self.length.is_none() {
                let due = sleep_until(self.watch.next);
                tokio::select! {
                    chunk = chunks.next() => chunk,
                    () = due => continue,
                    changed = self.watch.changes.changed() => {
                        if changed.is_err() {
                            return Ok(None);
                        }
                        self.look().await?;
                        continue;
                    }
                }
            } else {
                chunks.next().await
            };
            match chunk {
                Some(Ok(chunk)) if chunk.offset > self.offset => return Err(gone(self.offset, chunk.offset)),
                Some(Ok(chunk)) => {
                    self.offset = chunk.offset + chunk.text.len() as u64;
                    if !chunk.text.is_empty() {
                        return Ok(Some(StreamLogResponse {
                            offset: chunk.offset.cast_signed(),
                            text: chunk.text,
                        }));
                    }
                }
                // The server went away; the reader goes on where it was.
                None | Some(Err(_)) if self.follow => {
                    self.chunks = None;
                    sleep(REOPEN_DELAY).await;
                }
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}

/// The oldest output goes when there is no room for more, and nobody should take the rest for the whole.
fn gone(wanted: u64, first: u64) -> Failure {
    let sentence = format!(
        "the bytes {wanted} to {first} of this build's log are not kept any more, the rest begins at {first}: the oldest \
         logs make room for new ones"
    );
    with_metadata(
        Code::OutOfRange,
        "POSITION_GONE",
        sentence,
        [("first", first.to_string())],
    )
    .into()
}

/// The journal, for somebody who may see it.
struct Watch {
    api: Api,
    caller: Caller,
    changes: Changes,
    /// When their rights are looked at.
    next: Instant,
}

impl Watch {
    fn new(api: &Api, caller: Caller, image: &str) -> Self {
        Self {
            api: api.clone(),
            caller,
            changes: api.journal_changes(image),
            next: Instant::now() + RIGHTS_EVERY,
        }
    }

    /// The row once it is newer than a position. `None` when this process stops.
    async fn changed(&mut self, row: &Row, than: u64) -> Result<Option<Row>, Failure> {
        loop {
            let due = sleep_until(self.next);
            tokio::select! {
                changed = self.api.changed(&mut self.changes, row, than) => return changed,
                () = due => self.check(&row.image).await?,
            }
        }
    }

    async fn check(&mut self, image: &str) -> Result<(), Failure> {
        if self.next <= Instant::now() {
            self.api.world.access.any_image(&self.caller, image).await?;
            self.next = Instant::now() + RIGHTS_EVERY;
        }
        Ok(())
    }
}
