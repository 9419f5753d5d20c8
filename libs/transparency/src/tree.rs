//! The tree of RFC 6962, section 2.1, as far as its right edge.

use crate::sha256;

pub type Hash = [u8; 32];

pub(crate) fn leaf_of<const N: usize>(parts: [&[u8]; N]) -> Hash {
    sha256([&[0][..]].into_iter().chain(parts))
}

pub(crate) fn node_of(left: &Hash, right: &Hash) -> Hash {
    sha256([&[1][..], left, right])
}

/// The roots of the whole subtrees that a tree of some size is made of, largest first: all that it takes to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    pub(crate) fn new(size: u64, peaks: Vec<Hash>) -> Self {
        Self { size, peaks }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        self.push_telling(leaf, |_| ());
    }

    /// Tells each subtree that is whole by now: the leaf, then its parents upwards.
    pub(crate) fn push_telling(&mut self, leaf: Hash, mut tell: impl FnMut(&Hash)) {
        let mut hash = leaf;
        tell(&hash);
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_of(&left, &hash);
                tell(&hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        match peaks.next() {
            Some(last) => peaks.fold(last, |right, left| node_of(&left, &right)),
            None => sha256([]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the reference implementation of RFC 6962.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    // covers E11
    #[test]
    fn roots_are_those_of_the_reference_implementation() {
        let mut tree = Frontier::default();
        for (size, expected) in ROOTS.iter().enumerate() {
            assert_eq!(base16ct::lower::encode_string(&tree.root()), *expected);
            assert_eq!(tree.size(), size as u64);
            if let Some(leaf) = LEAVES.get(size) {
                tree.push(leaf_of([&base16ct::lower::decode_vec(leaf).unwrap()]));
            }
        }
    }
}
