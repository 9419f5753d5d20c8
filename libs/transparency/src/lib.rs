//! A transparency log after RFC 6962: one Merkle tree over the entries in order, checkpoints signed over it, and what
//! proves that nothing up to a checkpoint was changed since.
//!
//! It knows nothing of where entries come from: whoever reads them hands over their stream and their stored bytes.

mod audit;
mod checkpoint;
mod nodes;
mod proof;
mod tree;

pub use audit::{Audit, How, Wrong};
pub use checkpoint::{Checkpoint, NoteError, PublicKey, SigningKey, claimed_sizes};
pub use nodes::Nodes;
pub use proof::{follows, includes};
pub use tree::{Frontier, Hash};

use sha2::{Digest as _, Sha256};

/// The leaf of an entry: all that a reader trusts. The length keeps what is of the stream apart from what is not.
pub fn leaf(stream: &str, bytes: &[u8]) -> Hash {
    let length = u32::try_from(stream.len()).unwrap_or(u32::MAX).to_be_bytes();
    tree::leaf_of([&length, stream.as_bytes(), bytes])
}

fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let hashed = parts.into_iter().fold(Sha256::new(), Sha256::chain_update);
    hashed.finalize().into()
}
