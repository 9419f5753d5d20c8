//! Typed identifiers: one ULID newtype per kind of thing, the same on the wire, in the log and in the domain.
//!
//! On the wire an id is a message with one string, so that a generated event holds the typed id itself.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};
use std::{fmt, str::FromStr};
pub use ulid::Ulid;

/// The text is not a prefix and a ULID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an id: expected `{prefix}_` and 26 characters")]
pub struct MalformedId {
    prefix: &'static str,
    text: String,
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub const fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid)
            }

            pub const fn ulid(self) -> Ulid {
                self.0
            }
        }

        /// The nil ULID, which no thing has: what an absent id decodes to.
        impl Default for $name {
            fn default() -> Self {
                Self(Ulid::nil())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|ulid| Ulid::from_string(ulid).ok())
                    .map(Self)
                    .ok_or_else(|| MalformedId { prefix: $prefix, text: text.to_owned() })
            }
        }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                encoding::string::encode(1, &self.to_string(), buf);
            }

            fn encoded_len(&self) -> usize {
                encoding::string::encoded_len(1, &self.to_string())
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), DecodeError> {
                if tag != 1 {
                    return encoding::skip_field(wire_type, tag, buf, context);
                }
                let mut text = String::new();
                encoding::string::merge(wire_type, &mut text, buf, context)?;
                #[expect(deprecated, reason = "prost offers no other way to fail a hand-written decode")]
                {
                    *self = text.parse().map_err(|error: MalformedId| DecodeError::new(error.to_string()))?;
                }
                Ok(())
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    )+};
}

// Alphabetical, and append-only: a prefix that was ever written stays taken.
typed_ids! {
    /// One build, over all its attempts.
    BuildId = "bld",
    /// One image, over all its names.
    ImageId = "img",
    /// One builder's data folder, over all its restarts.
    WorkerId = "wrk",
    /// One workspace.
    WorkspaceId = "ws",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text_and_its_bytes() {
        let id = ImageId::from_ulid(Ulid::from(7u128));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ImageId::decode(&*id.encode_to_vec()).ok(), Some(id));
    }

    #[test]
    fn another_kind_is_refused_with_a_sentence() {
        let id = WorkspaceId::from_ulid(Ulid::from(7u128)).to_string();
        let refused = id.parse::<ImageId>().map_err(|error| error.to_string());
        assert_eq!(
            refused,
            Err("`ws_00000000000000000000000007` is not an id: expected `img_` and 26 characters".to_owned())
        );
    }
}
