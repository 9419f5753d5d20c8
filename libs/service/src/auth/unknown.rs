//! Why a token says nothing: one sentence with what to do, and a reason for programs.

use super::TOKEN_BYTES_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no token was sent: run `cooper login`, or set COOPERAGE_TOKEN")]
    Missing,
    #[error("the token expired: ask for a new one and run `cooper login`")]
    Expired,
    #[error("the token was taken back: ask for a new one and run `cooper login`")]
    Revoked,
    #[error("the token is not one of this platform: ask for a new one and run `cooper login`")]
    Invalid,
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes: ask its issuer for one that says less")]
    TooLarge,
    #[error("the token is not signed in the way of its key (EdDSA, ES256 or RS256): ask its issuer for another")]
    Algorithm,
    #[error("the token demands an extension (`crit`), and none is known here: ask its issuer for one without")]
    Critical,
    #[error("the token's key (`kid`) is not one of its issuer's: ask for a new token and run `cooper login`")]
    KeyUnknown,
    #[error("the keys of the token's issuer can't be fetched at the moment, try again in a minute")]
    KeysUnavailable,
    #[error("the token would live longer than this platform allows: ask its issuer for one that expires sooner")]
    TooLong,
    #[error("the token's `exp` is no whole number of seconds after its `iat`: ask its issuer for another")]
    Exp,
    #[error("the token's `iat` is no whole number of seconds, or lies ahead: compare its issuer's clock with ours")]
    Iat,
    #[error("the token's `nbf` is no whole number of seconds, or lies ahead: use it later, or ask for another")]
    Nbf,
    #[error("the token's issuer (`iss`) is not one whose tokens this platform takes: ask who runs it which one is")]
    Iss,
    #[error("the token is not meant for this platform (`aud`): ask its issuer for one that is")]
    Aud,
    #[error("the token does not say whose it is (`sub`): ask its issuer for another")]
    Sub,
    #[error("the token's owner can be no user: {}", access::MALFORMED_USER)]
    User,
}

impl Unknown {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Revoked => "TOKEN_REVOKED",
            Self::Invalid => "TOKEN_INVALID",
            Self::TooLarge => "TOKEN_TOO_LARGE",
            Self::Algorithm => "TOKEN_ALG",
            Self::Critical => "TOKEN_CRIT",
            Self::KeyUnknown => "TOKEN_KEY_UNKNOWN",
            Self::KeysUnavailable => "TOKEN_KEYS_UNAVAILABLE",
            Self::TooLong => "TOKEN_TOO_LONG",
            Self::Exp => "TOKEN_CLAIM_EXP",
            Self::Iat => "TOKEN_CLAIM_IAT",
            Self::Nbf => "TOKEN_CLAIM_NBF",
            Self::Iss => "TOKEN_CLAIM_ISS",
            Self::Aud => "TOKEN_CLAIM_AUD",
            Self::Sub => "TOKEN_CLAIM_SUB",
            Self::User => "TOKEN_CLAIM_USER",
        }
    }
}
