//! Calls to the server: with a token, reflecting all that was seen before, and repeated where that is safe.

mod home;
mod lasting;
mod named;
mod server;
mod stamp;

pub(crate) use home::{Announcement, Home, data_folders};
pub(crate) use lasting::{End, Step, lasting};
pub(crate) use server::Server;

use crate::{
    cli::Global,
    failure::{Failure, is_broken, is_deadline},
    output::Output,
};
use named::Named;
use proto::{
    admin::v1::admin_service_client::AdminServiceClient,
    builder::v1::{
        CancelBuildResponse, RepeatBuildResponse, StartBuildResponse, build_service_client::BuildServiceClient,
    },
    catalog::v1::{
        AddMemberResponse, CreateImageResponse, CreateWorkspaceResponse, DeleteImageResponse, DescribeImageResponse,
        GrantResponse, RemoveMemberResponse, RenameImageResponse, RevokeResponse, SetMemberRoleResponse,
        access_service_client::AccessServiceClient, history_service_client::HistoryServiceClient,
        image_service_client::ImageServiceClient, workspace_service_client::WorkspaceServiceClient,
    },
    editor::v1::{
        RestoreRevisionResponse, SaveSpecResponse, UploadContextResponse, editor_service_client::EditorServiceClient,
    },
    notifier::v1::event_service_client::EventServiceClient,
    registry::v1::{RetryPushResponse, registry_service_client::RegistryServiceClient},
};
use stamp::Stamp;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tonic::{
    Code, Response, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a server that starts again is waited for.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const BACK_POLL: Duration = Duration::from_millis(50);
/// A dead connection is noticed within twice this time.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The pauses between repetitions: long enough for a service to come back.
const PAUSES_MS: [u64; 5] = [200, 400, 800, 1_600, 3_000];

/// What every command has at hand before it talks to a server.
pub(crate) struct Shell {
    pub(crate) output: Output,
    pub(crate) global: Global,
}

/// Where a token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenSource {
    Environment,
    Login,
    DataFolder,
}

impl Shell {
    pub(crate) fn new(global: Global) -> Self {
        Self {
            output: Output::new(global.output, global.quiet, global.no_color),
            global,
        }
    }

    pub(crate) fn server(&self) -> Result<Server, Failure> {
        Server::parse(&self.global.server)
    }

    pub(crate) async fn session(&self) -> Result<Session, Failure> {
        let server = self.server()?;
        let token = token_for(&server);
        self.session_with(server, token.as_ref().map(|(token, _)| token.as_str()))
            .await
    }

    pub(crate) async fn session_with(&self, server: Server, token: Option<&str>) -> Result<Session, Failure> {
        let home = Home::of(&server);
        let position = home.as_ref().map(Home::position).unwrap_or_default();
        Ok(Session {
            channel: connect(&server, home.as_ref()).await?,
            stamp: Stamp::new(token, position),
            home,
            named: Arc::default(),
        })
    }
}

/// The token for a server. This machine's own is never sent to another machine.
pub(crate) fn token_for(server: &Server) -> Option<(String, TokenSource)> {
    let given = std::env::var("COOPERAGE_TOKEN")
        .ok()
        .map(|token| token.trim().to_owned());
    if let Some(token) = given.filter(|token| !token.is_empty()) {
        return Some((token, TokenSource::Environment));
    }
    let home = Home::of(server);
    if let Some(token) = home.as_ref().and_then(Home::token) {
        return Some((token, TokenSource::Login));
    }
    let local = server.is_local().then(|| home::local_token(home.as_ref())).flatten()?;
    Some((local, TokenSource::DataFolder))
}

async fn connect(server: &Server, home: Option<&Home>) -> Result<Channel, Failure> {
    let mut endpoint = Endpoint::from(server.uri().clone())
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        // A context goes up as fast as the line is, whatever its latency.
        .http2_adaptive_window(true);
    if server.is_encrypted() {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).map_err(|error| server.unreachable(&error))?;
    }
    let patience = Instant::now() + BACK_WITHIN;
    loop {
        match endpoint.connect().await {
            Err(_) if Instant::now() < patience && home.is_some_and(Home::is_coming_back) => sleep(BACK_POLL).await,
            connected => return connected.map_err(|error| server.unreachable(&error)),
        }
    }
}

pub(crate) type Wire = InterceptedService<Channel, Stamp>;

/// A connection to a server.
#[derive(Clone)]
pub(crate) struct Session {
    channel: Channel,
    stamp: Stamp,
    home: Option<Home>,
    pub(crate) named: Arc<Named>,
}

macro_rules! clients {
    ($($name:ident -> $client:ident),+ $(,)?) => {$(
        pub(crate) fn $name(&self) -> $client<Wire> {
            $client::new(InterceptedService::new(self.channel.clone(), self.stamp.clone()))
        }
    )+};
}

impl Session {
    clients! {
        workspaces -> WorkspaceServiceClient,
        images -> ImageServiceClient,
        access -> AccessServiceClient,
        history -> HistoryServiceClient,
        editor -> EditorServiceClient,
        builds -> BuildServiceClient,
        registry -> RegistryServiceClient,
        events -> EventServiceClient,
        health -> HealthClient,
        admin -> AdminServiceClient,
    }

    /// For streams and uploads.
    pub(crate) fn patient(&self) -> Self {
        Self {
            stamp: self.stamp.clone().without_deadline(),
            ..self.clone()
        }
    }

    /// Remembers a position: later calls, also of later invocations, reflect it.
    pub(crate) fn saw(&self, position: u64) {
        self.stamp.raise(position);
        if let Some(home) = &self.home {
            // On a read-only home only this invocation remembers it.
            let _ = home.saw(position);
        }
    }

    /// Makes a call that changes something. All its attempts carry the same request id, so it takes effect once.
    pub(crate) async fn change<T: Positioned>(
        &self,
        attempt: impl AsyncFn() -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let answer = self.attempted(attempt).await.map_err(|status| {
            let is_unknown = is_broken(&status) || is_deadline(&status);
            let failure = self.named.failure(status);
            if is_unknown {
                failure.advising("whether the change was made is not known, so look before you repeat it")
            } else {
                failure
            }
        })?;
        self.saw(answer.position());
        Ok(answer)
    }

    /// Opens a stream of answers.
    pub(crate) async fn open<T>(
        &self,
        attempt: impl AsyncFn() -> Result<Response<Streaming<T>>, Status>,
    ) -> Result<Streaming<T>, Failure> {
        self.call(attempt).await
    }

    /// Makes a call.
    pub(crate) async fn call<T>(&self, attempt: impl AsyncFn() -> Result<Response<T>, Status>) -> Result<T, Failure> {
        self.attempted(attempt)
            .await
            .map_err(|status| self.named.failure(status))
    }

    /// Repeats a call while the server can't say how it ended.
    async fn attempted<T>(&self, attempt: impl AsyncFn() -> Result<Response<T>, Status>) -> Result<T, Status> {
        let mut pauses = PAUSES_MS.iter();
        let mut has_begun_again = false;
        loop {
            let status = match attempt().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            if is_beyond(&status) && !has_begun_again {
                has_begun_again = true;
                self.begin_again();
            } else if let Some(pause) = pauses.next().filter(|_| is_worth_repeating(&status)) {
                sleep(Duration::from_millis(*pause)).await;
            } else {
                return Err(status);
            }
        }
    }

    /// The log that was seen here is gone: its server was set up anew, or restored.
    fn begin_again(&self) {
        self.stamp.begin_again();
        if let Some(home) = &self.home {
            let _ = home.forget_position();
        }
    }
}

/// The server's log ends before a position that it gave out.
fn is_beyond(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == "VIEW_BEHIND" && info.metadata.contains_key("head"))
}

/// A view that is behind has been waited for already.
fn is_worth_repeating(status: &Status) -> bool {
    status.code() == Code::Unavailable && !has_reason(status, "VIEW_BEHIND") || is_broken(status)
}

fn has_reason(status: &Status, reason: &str) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == reason)
}

/// A request id, which makes all attempts of one change the same.
#[expect(
    clippy::disallowed_methods,
    reason = "a person who types has no World: this is the one place of chance here"
)]
pub(crate) fn request_id() -> String {
    ulid::Ulid::generate().to_string()
}

/// An answer that says where in the log the change stands.
pub(crate) trait Positioned {
    fn position(&self) -> u64;
}

macro_rules! positioned {
    ($($answer:ident),+ $(,)?) => {$(
        impl Positioned for $answer {
            fn position(&self) -> u64 {
                self.position
            }
        }
    )+};
}

positioned!(
    AddMemberResponse,
    CancelBuildResponse,
    CreateImageResponse,
    CreateWorkspaceResponse,
    DeleteImageResponse,
    DescribeImageResponse,
    GrantResponse,
    RemoveMemberResponse,
    RenameImageResponse,
    RepeatBuildResponse,
    RestoreRevisionResponse,
    RetryPushResponse,
    RevokeResponse,
    SaveSpecResponse,
    SetMemberRoleResponse,
    StartBuildResponse,
    UploadContextResponse,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use tonic_types::ErrorDetails;

    fn session(folder: &std::path::Path) -> Session {
        let server = Server::parse("http://127.0.0.1:1").unwrap();
        let home = Home::in_folder(folder, &server);
        Session {
            channel: Endpoint::from(server.uri().clone()).connect_lazy(),
            stamp: Stamp::new(None, home.position()),
            home: Some(home),
            named: Arc::default(),
        }
    }

    fn unavailable(reason: &str, message: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "cooperage", std::collections::HashMap::new());
        Status::with_error_details(Code::Unavailable, message, details)
    }

    /// Makes a change that is answered with these, one after the other. Tells how it ended and how often it was tried.
    async fn changed(
        session: &Session,
        answers: Vec<Result<u64, Status>>,
    ) -> (Result<SaveSpecResponse, Failure>, usize) {
        let answers = std::cell::RefCell::new(answers.into_iter());
        let tried = std::cell::RefCell::new(0);
        let ended = session
            .change(async || {
                *tried.borrow_mut() += 1;
                let position = answers.borrow_mut().next().unwrap()?;
                Ok(Response::new(SaveSpecResponse {
                    position,
                    ..SaveSpecResponse::default()
                }))
            })
            .await;
        (ended, tried.into_inner())
    }

    #[tokio::test]
    async fn a_change_of_unknown_outcome_is_repeated_and_its_position_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let unknown = || {
            Err(unavailable(
                "LOG_UNAVAILABLE",
                "outcome unknown, repeat with the same request id",
            ))
        };
        let (ended, tried) = changed(&session, vec![unknown(), unknown(), Ok(12)]).await;
        assert_eq!((ended.unwrap().position, tried), (12, 3));
        assert_eq!(session.stamp.position(), 12);
        assert_eq!(self::session(folder.path()).stamp.position(), 12);
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let (ended, tried) = changed(&session, vec![Err(Status::already_exists("the name is taken"))]).await;
        assert_eq!((ended.unwrap_err().exit(), tried), (Exit::AlreadyExists, 1));
        let behind = unavailable("VIEW_BEHIND", "the view is at 3 and did not reach 4 in time, try again");
        let (ended, tried) = changed(&session, vec![Err(behind)]).await;
        assert_eq!((ended.unwrap_err().exit(), tried), (Exit::Unavailable, 1));
    }

    #[tokio::test]
    async fn positions_of_a_log_that_is_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        session.saw(90);
        let beyond = || {
            let facts = [("head", "3"), ("wanted", "90")].map(|(fact, at)| (fact.to_owned(), at.to_owned()));
            let details = ErrorDetails::with_error_info("VIEW_BEHIND", "cooperage", facts);
            let sentence = "the log ends at 3, it has no position 90";
            Err(Status::with_error_details(Code::Unavailable, sentence, details))
        };
        let (ended, tried) = changed(&session, vec![beyond(), Ok(4)]).await;
        assert_eq!((ended.unwrap().position, tried), (4, 2));
        assert_eq!(session.stamp.position(), 4);
        assert_eq!(self::session(folder.path()).stamp.position(), 4);
        let (ended, tried) = changed(&session, vec![beyond(), beyond()]).await;
        assert_eq!((ended.unwrap_err().exit(), tried), (Exit::Unavailable, 2));
    }
}
