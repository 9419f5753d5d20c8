//! Why the registry did not do it, sorted by what one can do about that.

use oci_client::{
    Reference,
    errors::{OciDistributionError, OciErrorCode},
};
use std::error::Error;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("the registry does not answer")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    #[error("the registry does not let the platform in")]
    Denied(#[source] Box<dyn Error + Send + Sync>),
    #[error("the registry is out of space")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    #[error("the registry takes no pushes at the moment, it is read-only")]
    ReadOnly(#[source] Box<dyn Error + Send + Sync>),
    #[error("the registry has no {0}")]
    Absent(String),
    #[error("the registry answered what can't be understood")]
    Odd(#[source] Box<dyn Error + Send + Sync>),
}

/// Answers `Ok(None)` for what is not there.
pub(super) fn found<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::Absent(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn odd(message: String) -> RegistryError {
    RegistryError::Odd(message.into())
}

/// Sorts the client's errors by what one can do about them.
pub(super) fn failed(reference: &Reference) -> impl Fn(OciDistributionError) -> RegistryError {
    let name = reference.whole();
    move |error| {
        let has = |codes: &[OciErrorCode]| match &error {
            OciDistributionError::RegistryError { envelope, .. } => {
                envelope.errors.iter().any(|error| codes.contains(&error.code))
            }
            _ => false,
        };
        let status = match &error {
            OciDistributionError::ServerError { message, .. } if is_full(message) => {
                return RegistryError::Full(error.into());
            }
            OciDistributionError::ServerError { code, .. } => *code,
            OciDistributionError::RequestError(error) => error.status().map_or(0, |status| status.as_u16()),
            _ => 0,
        };
        let absent = [
            OciErrorCode::ManifestUnknown,
            OciErrorCode::NameUnknown,
            OciErrorCode::BlobUnknown,
        ];
        if status == 404 || has(&absent) {
            return RegistryError::Absent(name.clone());
        }
        let is_denied = matches!(
            error,
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_)
        );
        if is_denied || matches!(status, 401 | 403) || has(&[OciErrorCode::Denied, OciErrorCode::Unauthorized]) {
            return RegistryError::Denied(error.into());
        }
        // As it is while what nobody needs any more is collected.
        if status == 405 || has(&[OciErrorCode::Unsupported]) {
            return RegistryError::ReadOnly(error.into());
        }
        match error {
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => {
                RegistryError::Unreachable(error.into())
            }
            _ if status >= 500 || status == 429 => RegistryError::Unreachable(error.into()),
            _ => RegistryError::Odd(error.into()),
        }
    }
}

/// As Docker's registry passes ENOSPC on, and as others say it.
fn is_full(message: &str) -> bool {
    message.contains(r#""Err":28"#) || message.contains("no space left")
}
