//! Follows a build to its end: its log as it is written, what it waits for, and how it ended.
//!
//! Ctrl-C leaves the build alone and says how to come back; a second one at once cancels it.

use crate::{
    client::{End, Session, Shell, Step, lasting, request_id},
    failure::{Exit, Failure},
    interrupt::{self, Presses},
    output::{Tone, about, phase_word, took},
};
use futures::{Stream, StreamExt as _};
use proto::{
    builder::v1::{
        Build, BuildPhase, CancelBuildRequest, GetQueueRequest, StreamLogRequest, StreamLogResponse, WatchBuildRequest,
        WatchBuildResponse,
    },
    catalog::v1::BuildOutcome,
};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};

/// How soon a second Ctrl-C must come to cancel the build.
const TWICE_WITHIN: Duration = Duration::from_secs(2);
/// How long the log may lag behind the end of its build.
const LOG_LAG: Duration = Duration::from_secs(5);
/// How long to watch a cancelled build.
const CANCEL_PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often one who waits is told why.
const ASK_WHY: Duration = Duration::from_secs(2);

/// A log from an offset on, also over broken connections.
pub(crate) fn log(
    session: &Session,
    request: StreamLogRequest,
) -> impl Stream<Item = Result<Step<StreamLogResponse>, Failure>> {
    let session = session.patient();
    let from = request.offset;
    let open = async move |offset: &i64| {
        let request = StreamLogRequest {
            offset: *offset,
            ..request.clone()
        };
        session
            .open(async || session.builds().stream_log(request.clone()).await)
            .await
    };
    lasting(End::Final, from, open, |offset, message: &StreamLogResponse| {
        *offset = end_of(message);
    })
}

/// The offset after a piece of a log.
pub(crate) fn end_of(message: &StreamLogResponse) -> i64 {
    message
        .offset
        .saturating_add(i64::try_from(message.text.len()).unwrap_or(i64::MAX))
}

fn watch(
    session: &Session,
    request: WatchBuildRequest,
) -> impl Stream<Item = Result<Step<WatchBuildResponse>, Failure>> {
    let session = session.patient();
    let open = async move |(): &()| {
        session
            .open(async || session.builds().watch_build(request.clone()).await)
            .await
    };
    lasting(End::Final, (), open, |(), _| ())
}

pub(crate) fn has_ended(build: &Build) -> bool {
    !matches!(build.outcome(), BuildOutcome::InProgress | BuildOutcome::Unspecified)
}

/// A build that somebody follows.
pub(crate) struct Following<'a> {
    shell: &'a Shell,
    session: &'a Session,
    /// What the user calls the image.
    image: &'a str,
    build: Build,
    /// Where the log goes on.
    offset: i64,
    at_line_start: bool,
    /// Why it waits, as it was told last.
    why: String,
}

impl<'a> Following<'a> {
    pub(crate) fn new(shell: &'a Shell, session: &'a Session, image: &'a str, build: Build) -> Self {
        Self {
            shell,
            session,
            image,
            build,
            offset: 0,
            at_line_start: true,
            why: String::new(),
        }
    }

    /// Follows to the end, and answers the build as it ended.
    pub(crate) async fn finish(mut self) -> Result<Build, Failure> {
        let _hold = interrupt::hold();
        let mut presses = Presses::new();
        let first = self.build.clone();
        self.say_change(&Build::default(), &first);
        loop {
            let read = tokio::select! {
                read = Box::pin(self.read()) => read,
                () = presses.next() => return Err(self.leave(&mut presses).await),
            };
            read.map_err(|failure| {
                failure.advising(format!("the build goes on, `{}` follows it", self.follow_again()))
            })?;
            if self.has_ended() {
                self.end_line();
                return Ok(self.build);
            }
            // The server ended its streams, not the build.
            sleep(ASK_AGAIN).await;
        }
    }

    fn has_ended(&self) -> bool {
        has_ended(&self.build)
    }

    /// Reads the log and the changes, until both have ended.
    async fn read(&mut self) -> Result<(), Failure> {
        let (image, build) = (self.build.image.clone(), self.build.id.clone());
        let wanted = StreamLogRequest {
            image: image.clone(),
            build: build.clone(),
            offset: self.offset,
            follow: true,
        };
        let mut log = pin!(log(self.session, wanted).fuse());
        let mut changes = pin!(watch(self.session, WatchBuildRequest { image, build }).fuse());
        let (mut log_open, mut changes_open) = (true, true);
        let mut log_until = None;
        let mut ask_why = interval_at(Instant::now() + ASK_WHY / 2, ASK_WHY);
        while log_open || changes_open {
            tokio::select! {
                _ = ask_why.tick(), if self.build.phase() == BuildPhase::Queued => self.say_why().await,
                piece = log.next(), if log_open => match piece.transpose()? {
                    Some(Step::Said(piece)) => self.show(&piece),
                    Some(Step::Opened) => {}
                    None => log_open = false,
                },
                change = changes.next(), if changes_open => match change.transpose()? {
                    Some(Step::Said(change)) => self.take(change),
                    Some(Step::Opened) => {}
                    None => changes_open = false,
                },
                () = sleep_until(log_until.unwrap_or_else(Instant::now)), if log_until.is_some() => log_open = false,
            }
            if self.has_ended() {
                changes_open = false;
                log_until = log_until.or_else(|| Some(Instant::now() + LOG_LAG));
            }
        }
        Ok(())
    }

    fn show(&mut self, piece: &StreamLogResponse) {
        // After a reconnection the server may begin a little earlier.
        let known = usize::try_from(self.offset.saturating_sub(piece.offset)).unwrap_or_default();
        let text = piece.text.get(known..).unwrap_or_default();
        if let Some(last) = text.last() {
            self.shell.output.aside(text);
            self.at_line_start = *last == b'\n';
        }
        self.offset = self.offset.max(end_of(piece));
    }

    fn take(&mut self, change: WatchBuildResponse) {
        self.session.saw(change.position);
        if let Some(build) = change.build {
            let before = std::mem::replace(&mut self.build, build.clone());
            self.say_change(&before, &build);
        }
    }

    /// Asks why it waits, and says so if it is another reason than before.
    async fn say_why(&mut self) {
        // Not more than a help: whoever can't be told waits all the same.
        let Ok(answer) = self.session.builds().get_queue(GetQueueRequest::default()).await else {
            return;
        };
        let builds = answer.into_inner().builds;
        let Some(waiting) = builds
            .into_iter()
            .find(|one| one.build == self.build.id && one.place > 0)
        else {
            return;
        };
        let why = format!("place {} in the queue: {}", waiting.place, waiting.reason);
        if self.why != why && self.build.cause != waiting.reason {
            let begins = waiting.expected_wait.as_ref().map(about);
            let begins = begins.map(|wait| format!(", begins in {wait}")).unwrap_or_default();
            self.notice(&format!("{why}{begins}"));
            self.why = why;
        }
    }

    /// Says what the log does not: that the build waits, and why; that it is pushed; that it is tried again.
    fn say_change(&mut self, before: &Build, now: &Build) {
        if now.attempt > 1 && before.attempt != now.attempt && before.attempt != 0 {
            self.notice(&format!("attempt {} begins", now.attempt));
        }
        let is_news = before.phase() != now.phase() || before.cause != now.cause;
        if !is_news || self.has_ended() {
            return;
        }
        match (now.phase(), now.cause.as_str()) {
            (BuildPhase::Queued, "") if before.id.is_empty() => {
                self.notice(&format!("{} of revision {} is queued", now.id, now.revision));
            }
            (BuildPhase::Building | BuildPhase::Unspecified | BuildPhase::Ended | BuildPhase::Queued, "") => {}
            (phase, "") => self.notice(phase_word(phase)),
            (phase, cause) => self.notice(&format!("{}: {cause}", phase_word(phase))),
        }
    }

    fn notice(&mut self, text: &str) {
        self.end_line();
        self.shell.output.notice(text);
    }

    fn end_line(&mut self) {
        if !self.at_line_start {
            self.shell.output.aside(b"\n");
            self.at_line_start = true;
        }
    }

    fn follow_again(&self) -> String {
        format!("cooper image logs -f {} {}", self.image, self.build.id)
    }

    /// The first Ctrl-C: goes away, unless a second one comes at once.
    async fn leave(&mut self, presses: &mut Presses) -> Failure {
        self.end_line();
        self.after_press();
        // Also with -q: whoever presses Ctrl-C wants to know what it did.
        for line in [
            "left, and the build goes on".to_owned(),
            format!("  to follow it  {}", self.follow_again()),
            format!(
                "  to cancel it  cooper image cancel {} {}, or Ctrl-C again now",
                self.image, self.build.id
            ),
        ] {
            self.shell.output.urgent(&line);
        }
        match timeout(TWICE_WITHIN, presses.next()).await {
            Ok(()) => self.cancel(presses).await,
            Err(_) => Failure::silent(Exit::Interrupted),
        }
    }

    /// The terminal has written ^C.
    fn after_press(&self) {
        if self.shell.output.margin.terminal {
            self.shell.output.aside(b"\n");
        }
    }

    async fn cancel(&mut self, presses: &mut Presses) -> Failure {
        self.after_press();
        let request = CancelBuildRequest {
            request_id: request_id(),
            image: self.build.image.clone(),
            build: self.build.id.clone(),
        };
        let cancelled = async {
            self.session
                .change(async || self.session.builds().cancel_build(request.clone()).await)
                .await?;
            Box::pin(timeout(CANCEL_PATIENCE, self.read())).await.unwrap_or(Ok(()))
        };
        let ended = tokio::select! {
            ended = cancelled => ended,
            () = presses.next() => Ok(()),
        };
        match ended {
            Err(failure) => self.shell.output.failure(&failure),
            Ok(()) if self.build.outcome() == BuildOutcome::Cancelled => self.shell.output.urgent("cancelled"),
            Ok(()) if self.build.outcome() == BuildOutcome::Succeeded => {
                self.shell.output.urgent("the build was faster: it is published");
            }
            Ok(()) => {}
        }
        Failure::silent(Exit::Interrupted)
    }
}

/// Tells how a build ended: the reference on stdout, or why there is none.
pub(crate) async fn conclude(shell: &Shell, session: &Session, image: &str, build: &Build) -> Result<(), Failure> {
    if shell.output.is_json() {
        shell.output.json(build)?;
    }
    let cause = if build.cause.is_empty() {
        "without a cause"
    } else {
        build.cause.as_str()
    };
    let sentence = match build.outcome() {
        BuildOutcome::Succeeded => {
            shell.output.toned_notice(Tone::Good, summary(build));
            return if shell.output.is_json() {
                Ok(())
            } else {
                shell.output.line(&build.reference)
            };
        }
        BuildOutcome::Failed if build.retryable => {
            format!("the push failed: {cause}: `cooper image push-retry {image}` tries it again without building")
        }
        BuildOutcome::Failed => format!("the build failed: {cause}"),
        BuildOutcome::Cancelled => "the build was cancelled".to_owned(),
        BuildOutcome::Lost => format!("the build was lost: {cause}: `cooper image build {image}` starts another"),
        BuildOutcome::InProgress | BuildOutcome::Unspecified => "the build has not ended".to_owned(),
    };
    let published = session.image(&build.image).await.ok().and_then(|image| image.published);
    if let Some(published) = published {
        shell
            .output
            .notice(format!("the last good image is still there: {}", published.reference));
    }
    Err(Failure::new(Exit::Failed, sentence))
}

fn summary(build: &Build) -> String {
    let cached = build.steps.iter().filter(|step| step.cached).count();
    let cached = match (cached, build.steps.len()) {
        (0, _) => String::new(),
        (cached, all) if cached == all => ", all from the cache".to_owned(),
        (cached, all) => format!(", {cached} of {all} steps from the cache"),
    };
    let took = took(build.duration.as_ref());
    format!("revision {} is built and published in {took}{cached}", build.revision)
}
