//! What went wrong, as one sentence for the person and one exit code for the script.

use std::{collections::HashMap, fmt, io, process::ExitCode};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What tonic says when its own deadline passed: as `Cancelled`, which it is not.
const DEADLINE_PASSED: &str = "Timeout expired";

/// How the command ended, in the numbers of `sysexits.h` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The reader of our output went away. It has what it wanted.
    Done = 0,
    /// The build, push, job or proof itself failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    Invalid = 65,
    /// The server is not reachable, or behind.
    Unavailable = 69,
    /// A fault of ours.
    Internal = 70,
    NotFound = 72,
    AlreadyExists = 73,
    /// Stale, contended, running, or at a limit: try again.
    NotNow = 75,
    NotAllowed = 77,
    TimedOut = 124,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// For what no server said.
    fn code(self) -> &'static str {
        match self {
            Self::Done => "OK",
            Self::Failed => "FAILED",
            Self::Usage | Self::Invalid => "INVALID_ARGUMENT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::NotNow => "FAILED_PRECONDITION",
            Self::NotAllowed => "PERMISSION_DENIED",
            Self::TimedOut => "DEADLINE_EXCEEDED",
            Self::Interrupted => "CANCELLED",
        }
    }
}

/// `NotFound` as `NOT_FOUND`.
fn written(code: Code) -> String {
    let mut text = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        match code {
            Code::Ok => Self::Done,
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::Unavailable | Code::Unimplemented => Self::Unavailable,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::Aborted | Code::FailedPrecondition | Code::ResourceExhausted => Self::NotNow,
            Code::PermissionDenied | Code::Unauthenticated => Self::NotAllowed,
            Code::DeadlineExceeded => Self::TimedOut,
            Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure(Box<Facts>);

#[derive(Debug)]
struct Facts {
    exit: Exit,
    /// The code of gRPC, as its specification writes it.
    code: String,
    /// Empty when everything has been said.
    sentence: String,
    reason: String,
    metadata: HashMap<String, String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            exit,
            code: exit.code().to_owned(),
            sentence: sentence.into(),
            reason: String::new(),
            metadata: HashMap::new(),
        }))
    }

    /// Ends the command without another word.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let Facts {
            exit,
            code,
            sentence,
            reason,
            metadata,
        } = &*self.0;
        serde_json::json!({ "error": {
            "code": code,
            "reason": reason,
            "message": sentence,
            "metadata": metadata,
            "exitCode": *exit as u8,
        }})
    }

    /// The machine-readable reason that the server gave, such as `BUILD_RUNNING`.
    pub(crate) fn is(&self, reason: &str) -> bool {
        self.0.reason == reason
    }

    /// A position was asked for that the log does not have.
    pub(crate) fn is_beyond(&self) -> bool {
        self.is("VIEW_BEHIND") && self.fact(&["head"]).is_some()
    }

    /// A fact that came with the reason, under the first of these keys that is there.
    pub(crate) fn fact(&self, keys: &[&str]) -> Option<&str> {
        keys.iter()
            .find_map(|key| self.0.metadata.get(*key))
            .map(String::as_str)
            .filter(|fact| !fact.is_empty())
    }

    /// The same with the command to type at the end of the sentence.
    #[must_use]
    pub(crate) fn advising(mut self, advice: impl fmt::Display) -> Self {
        self.0.sentence = format!("{} ({advice})", self.0.sentence);
        self
    }

    /// The same with the name of what the sentence is about.
    #[must_use]
    pub(crate) fn naming(mut self, what: &str, name: &str) -> Self {
        self.0.sentence = self.0.sentence.replacen(what, &format!("{what} `{name}`"), 1);
        self
    }

    /// The same, after what was done before it failed.
    #[must_use]
    pub(crate) fn after(mut self, done: impl fmt::Display) -> Self {
        self.0.sentence = format!("{done}, but {}", self.0.sentence);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.sentence)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if is_deadline(&status) {
            return Self::new(Exit::TimedOut, "the server did not answer in time: try again");
        }
        if is_broken(&status) {
            let sentence = "the connection to the server broke and did not come back: see whether it runs";
            return Self::new(Exit::Unavailable, sentence);
        }
        let mut failure = Self::new(status.code().into(), sentence(&status));
        failure.0.code = written(status.code());
        if let Some(info) = status.get_details_error_info() {
            failure.0.reason = info.reason;
            failure.0.metadata = info.metadata;
        }
        failure
    }
}

/// Writing to our own output failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::silent(Exit::Done)
        } else {
            Self::new(Exit::Internal, format!("the output can't be written: {error}"))
        }
    }
}

pub(crate) fn is_deadline(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || status.code() == Code::Cancelled && status.message().contains(DEADLINE_PASSED)
}

/// Whether the connection broke, so that nobody answered at all.
pub(crate) fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some() && !is_deadline(status)
}

fn sentence(status: &Status) -> String {
    let bad = status.get_details_bad_request();
    let violations = bad.map(|bad| bad.field_violations).unwrap_or_default();
    // The fields of the contract are not the user's words.
    let field = violations.first().map(|bad| format!("{}: ", bad.field));
    let said = field
        .and_then(|field| status.message().strip_prefix(&field))
        .unwrap_or(status.message());
    let mut sentence = match status.code() {
        Code::Unimplemented => {
            "the server does not know this call: it is older than this command, or another program".to_owned()
        }
        code if said.is_empty() => format!("the server refused without a reason ({code})"),
        _ => said.to_owned(),
    };
    for violation in violations {
        // Most messages say it already.
        if !sentence.contains(&violation.description) {
            sentence = format!("{sentence}; {}: {}", violation.field, violation.description);
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn with_reason(code: Code, reason: &str, facts: &[(&str, &str)]) -> Failure {
        let facts: HashMap<_, _> = facts
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let details = ErrorDetails::with_error_info(reason, "cooperage", facts);
        Status::with_error_details(code, "a build of this image is running", details).into()
    }

    #[test]
    fn each_situation_has_its_exit_code() {
        for (code, exit) in [
            (Code::InvalidArgument, 65),
            (Code::OutOfRange, 65),
            (Code::Unavailable, 69),
            (Code::NotFound, 72),
            (Code::AlreadyExists, 73),
            (Code::Aborted, 75),
            (Code::FailedPrecondition, 75),
            (Code::ResourceExhausted, 75),
            (Code::PermissionDenied, 77),
            (Code::Unauthenticated, 77),
            (Code::DeadlineExceeded, 124),
        ] {
            assert_eq!(
                Failure::from(Status::new(code, "so it is")).exit() as u8,
                exit,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_deadline_of_our_own_is_a_time_out_and_no_cancel() {
        let failure = Failure::from(Status::cancelled(DEADLINE_PASSED));
        assert_eq!(failure.exit(), Exit::TimedOut);
    }

    #[test]
    fn the_reason_and_its_facts_can_be_asked_for() {
        let failure = with_reason(Code::FailedPrecondition, "BUILD_RUNNING", &[("build", "bld_1")]);
        assert!(failure.is("BUILD_RUNNING"));
        let error = &failure.to_json()["error"];
        assert_eq!(
            (&error["code"], &error["exitCode"], &error["metadata"]["build"]),
            (&"FAILED_PRECONDITION".into(), &75.into(), &"bld_1".into())
        );
        assert_eq!(failure.fact(&["build_id", "build"]), Some("bld_1"));
        assert_eq!(
            failure.advising("wait").to_string(),
            "a build of this image is running (wait)"
        );
    }

    #[test]
    fn a_violation_names_its_field_only_where_the_message_does_not_tell_it() {
        let violation = |message: &str| {
            let details = ErrorDetails::with_bad_request_violation("name", "must be lower case");
            Failure::from(Status::with_error_details(Code::InvalidArgument, message, details)).to_string()
        };
        assert_eq!(violation("name: must be lower case"), "must be lower case");
        assert_eq!(violation("must be lower case"), "must be lower case");
        assert_eq!(violation("not a request"), "not a request; name: must be lower case");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.to_string().as_str()), (Exit::Done, ""));
    }
}
