//! What goes on as long as a build does: its log, and its row in the journal.

use super::Api;
use crate::view::{self, Row, Stage};
use access::{Caller, Denied};
use eventlog::{LogError, OutputChunk};
use futures::{StreamExt as _, stream::BoxStream};
use proto::builder::v1::{StreamLogRequest, StreamLogResponse, WatchBuildRequest, WatchBuildResponse};
use service::Failure;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Status};

/// How often the rights of those who follow are looked at: a revoked one is cut within 5 s.
const RIGHTS_EVERY: Duration = Duration::from_secs(2);
const REOPEN_DELAY: Duration = Duration::from_millis(200);

type Chunks = BoxStream<'static, Result<OutputChunk, LogError>>;

/// A reader of a log: where it is, and when it is done.
struct Reader {
    api: Api,
    image: String,
    build: String,
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
        let reader = Reader {
            api: self.clone(),
            image: row.image,
            build: row.id,
            offset: u64::try_from(request.offset).unwrap_or_default(),
            follow: request.follow,
            chunks: None,
            watch: Watch::new(self, call.caller.clone()),
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
        let start = (Watch::new(self, call.caller.clone()), row, None);
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

    /// The row once it is newer than a position. `None` when this process stops.
    pub(super) async fn changed(&self, image: &str, build: &str, than: u64) -> Result<Option<Row>, Failure> {
        let mut changes = self.view.changes();
        loop {
            changes.mark_unchanged();
            let row = view::row(&self.view, image, build).await?;
            let row = row.ok_or(Denied::NoSuchImage)?;
            if row.position > than {
                return Ok(Some(row));
            }
            if changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

impl Reader {
    /// The next piece; `None` when the log is whole, or no more was asked for.
    async fn next(&mut self) -> Result<Option<StreamLogResponse>, Failure> {
        loop {
            if self.length.is_some_and(|length| self.offset >= length) {
                return Ok(None);
            }
            self.watch.check(&self.image).await?;
            if self.chunks.is_none() {
                match self.api.output.read(&self.build, self.offset, self.follow).await {
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
                let ended = ended(&self.api, &self.image, &self.build);
                tokio::select! {
                    chunk = chunks.next() => chunk,
                    () = self.watch.due() => continue,
                    ended = ended => {
                        ended?;
                        // Whoever ends a build has written its log before.
                        match self.api.output.length(&self.build).await {
                            Ok(length) => self.length = Some(length),
                            Err(_) => sleep(REOPEN_DELAY).await,
                        }
                        continue;
                    }
                }
            } else {
                chunks.next().await
            };
            match chunk {
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

/// Whether somebody may still see what they follow.
struct Watch {
    api: Api,
    caller: Caller,
    next: Instant,
}

impl Watch {
    fn new(api: &Api, caller: Caller) -> Self {
        Self {
            api: api.clone(),
            caller,
            next: Instant::now() + RIGHTS_EVERY,
        }
    }

    async fn due(&self) {
        sleep_until(self.next).await;
    }

    /// The row once it is newer than a position. `None` when this process stops.
    async fn changed(&mut self, row: &Row, than: u64) -> Result<Option<Row>, Failure> {
        let api = self.api.clone();
        loop {
            tokio::select! {
                changed = api.changed(&row.image, &row.id, than) => return changed,
                () = self.due() => self.check(&row.image).await?,
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

async fn ended(api: &Api, image: &str, build: &str) -> Result<(), Failure> {
    let mut seen = 0;
    loop {
        match api.changed(image, build, seen).await? {
            Some(row) if row.stage() == Stage::Ended => return Ok(()),
            Some(row) => seen = row.position,
            None => return Ok(()),
        }
    }
}
