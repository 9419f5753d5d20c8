//! The one place where a refusal becomes a gRPC status.
//!
//! Callers learn why they were refused, never the cause of an outage: that is logged here, once.

use crate::auth::Unknown;
use access::Denied;
use aggregate::{Refusal, RefusalKind};
use eventlog::{Behind, ExecuteError, LogError, Position, ViewError};
use std::{collections::HashMap, error::Error};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "cooperage";

/// A status with a reason that programs can match.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    with_metadata(code, reason, message, [])
}

/// The same with what a program needs to react, such as the id of the build that runs.
pub fn with_metadata<'a>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'a str, String)>,
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// A request that makes no sense: INVALID_ARGUMENT with the field.
pub fn invalid(field: &str, message: impl std::fmt::Display) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(field, message.to_string());
    details.set_error_info("INVALID_ARGUMENT", DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// Something of ours broke. The caller learns that it is not its fault, and the log learns what.
pub fn outage(error: &(dyn Error + 'static)) -> Status {
    tracing::error!(error, "a call failed");
    status(
        Code::Unavailable,
        "UNAVAILABLE",
        "the service can't answer at the moment, try again",
    )
}

/// Makes `?` on our errors give a status, in the functions that answer calls.
pub struct Failure(Status);

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Self {
        Self(match error {
            ExecuteError::Refused(refusal) => refused(&*refusal),
            ExecuteError::Stale { current, .. } => {
                let current = [("current", current.to_string())];
                with_metadata(Code::Aborted, "STALE_REVISION", error.to_string(), current)
            }
            ExecuteError::Contended => status(Code::Aborted, "CONTENDED", error.to_string()),
            ExecuteError::Log(error) => log(&error),
            ExecuteError::View(error) => outage(&error),
        })
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let (code, reason) = match &denied {
            Denied::NoSuchImage => (Code::NotFound, "NO_SUCH_IMAGE"),
            Denied::NoSuchWorkspace => (Code::NotFound, "NO_SUCH_WORKSPACE"),
            Denied::AmbiguousWorkspace { .. } => (Code::FailedPrecondition, "AMBIGUOUS_WORKSPACE"),
            Denied::OwnerOnly => (Code::PermissionDenied, "OWNER_ONLY"),
            Denied::NeedsWrite => (Code::PermissionDenied, "NEEDS_WRITE"),
            Denied::NeedsManage => (Code::PermissionDenied, "NEEDS_MANAGE"),
            Denied::MembersOnly => (Code::PermissionDenied, "MEMBERS_ONLY"),
            Denied::AdminOnly => (Code::PermissionDenied, "ADMIN_ONLY"),
            Denied::Behind(behind) => return behind.clone().into(),
            Denied::Unreadable(error) => return Self(outage(error)),
        };
        Self(status(code, reason, denied.to_string()))
    }
}

impl From<Unknown> for Failure {
    fn from(unknown: Unknown) -> Self {
        let code = match unknown {
            Unknown::KeysUnavailable => Code::Unavailable,
            _ => Code::Unauthenticated,
        };
        Self(status(code, unknown.reason(), unknown.to_string()))
    }
}

impl From<Behind> for Failure {
    fn from(behind: Behind) -> Self {
        let positions = |wanted: Position, name: &'static str, at: Position| {
            vec![("wanted", wanted.to_string()), (name, at.to_string())]
        };
        let (reason, facts) = match &behind {
            Behind::Late { at, wanted } | Behind::Troubled { at, wanted } => {
                ("VIEW_BEHIND", positions(*wanted, "at", *at))
            }
            Behind::Beyond { head, wanted } => ("VIEW_BEHIND", positions(*wanted, "head", *head)),
            Behind::Halted { at, .. } => ("VIEW_BEHIND", vec![("at", at.to_string())]),
            Behind::Crowded => ("VIEW_CROWDED", vec![]),
        };
        Self(with_metadata(Code::Unavailable, reason, behind.to_string(), facts))
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self(log(&error))
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        Self(outage(&error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(outage(&*error.into_boxed_dyn_error()))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(outage(&error))
    }
}

fn refused(refusal: &dyn Refusal) -> Status {
    let code = match refusal.kind() {
        RefusalKind::InvalidInput => Code::InvalidArgument,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::NotAllowed => Code::PermissionDenied,
        RefusalKind::AlreadyExists => Code::AlreadyExists,
        RefusalKind::Stale => Code::Aborted,
        RefusalKind::WrongState => Code::FailedPrecondition,
        RefusalKind::LimitReached => Code::ResourceExhausted,
    };
    let metadata: HashMap<_, _> = refusal
        .metadata()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let mut details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, metadata);
    if let Some(field) = refusal.field() {
        details.add_bad_request_violation(field, refusal.to_string());
    }
    Status::with_error_details(code, refusal.to_string(), details)
}

fn log(error: &LogError) -> Status {
    let (code, reason) = match error {
        LogError::Unavailable(_) | LogError::OutcomeUnknown(_) | LogError::UnknownEvent { .. } => {
            tracing::error!(error = error as &dyn Error, "a command failed");
            (Code::Unavailable, "LOG_UNAVAILABLE")
        }
        LogError::Incomplete { .. } => (Code::DataLoss, "LOG_INCOMPLETE"),
        LogError::Full { .. } => (Code::ResourceExhausted, "LOG_FULL"),
        LogError::TooLarge { .. } => (Code::ResourceExhausted, "ENTRY_TOO_LARGE"),
    };
    status(code, reason, error.to_string())
}
