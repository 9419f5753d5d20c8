//! Judges proofs, after RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use crate::{Hash, tree::node_of};

/// Whether a tree has this leaf at this index.
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut inner, mut last, mut hash) = (index, size - 1, *leaf);
    for beside in path {
        if last == 0 {
            return false;
        }
        if inner & 1 == 1 || inner == last {
            hash = node_of(beside, &hash);
            while inner & 1 == 0 && inner != 0 {
                inner >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_of(&hash, beside);
        }
        inner >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether a tree begins with an older one.
pub fn follows(older_root: &Hash, older: u64, root: &Hash, size: u64, path: &[Hash]) -> bool {
    if older == size {
        return path.is_empty() && older_root == root;
    }
    if older == 0 {
        // Every tree begins with the empty one.
        return path.is_empty();
    }
    if older > size {
        return false;
    }
    // A whole subtree is its own first node.
    let mut path = older
        .is_power_of_two()
        .then_some(older_root)
        .into_iter()
        .chain(path)
        .copied();
    let (mut inner, mut last) = (older - 1, size - 1);
    let whole = inner.trailing_ones();
    inner >>= whole;
    last >>= whole;
    let Some(first) = path.next() else { return false };
    let (mut old, mut new) = (first, first);
    for beside in path {
        if last == 0 {
            return false;
        }
        if inner & 1 == 1 || inner == last {
            old = node_of(&beside, &old);
            new = node_of(&beside, &new);
            while inner & 1 == 0 && inner != 0 {
                inner >>= 1;
                last >>= 1;
            }
        } else {
            new = node_of(&new, &beside);
        }
        inner >>= 1;
        last >>= 1;
    }
    last == 0 && old == *older_root && new == *root
}
