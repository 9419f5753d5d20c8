//! Every node of a tree in one file that only grows, so that roots and proofs of any size cost a few reads.
//!
//! Nodes stand in the order in which they become whole: a leaf, then the subtrees that it completes. The file can be
//! made again from the entries.

use crate::{
    Hash,
    tree::{Frontier, node_of},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
};

const HASH: u64 = 32;

pub struct Nodes {
    file: File,
    frontier: Frontier,
    /// What is not in the file yet.
    pending: Vec<u8>,
}

/// How many nodes stand before a leaf.
fn before(leaf: u64) -> u64 {
    2 * leaf - u64::from(leaf.count_ones())
}

/// The largest power of two below a size of at least two: where a tree divides.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

impl Nodes {
    /// Opens the tree for writing, cut to a size. An error of the kind `UnexpectedEof` says that it is shorter.
    pub fn open(path: &Path, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if file.metadata()?.len() < before(size) * HASH {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        file.set_len(before(size) * HASH)?;
        Self::at(file, size)
    }

    /// Opens a tree of at least that size, to read.
    pub fn read(path: &Path, size: u64) -> io::Result<Self> {
        Self::at(File::open(path)?, size)
    }

    fn at(file: File, size: u64) -> io::Result<Self> {
        let mut nodes = Self {
            file,
            frontier: Frontier::default(),
            pending: Vec::new(),
        };
        nodes.frontier = nodes.frontier_of(size)?;
        Ok(nodes)
    }

    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub fn push(&mut self, leaf: Hash) {
        let pending = &mut self.pending;
        self.frontier.push_telling(leaf, |node| pending.extend_from_slice(node));
    }

    /// Writes what was pushed.
    pub fn flush(&mut self) -> io::Result<()> {
        let end = before(self.size()) * HASH;
        self.file.write_all_at(&self.pending, end - self.pending.len() as u64)?;
        self.pending.clear();
        Ok(())
    }

    /// The file, for who makes sure that nothing of it is lost.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    pub fn frontier_of(&self, size: u64) -> io::Result<Frontier> {
        let mut begin = 0;
        let mut peaks = Vec::new();
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(self.subtree(&(begin..begin + (1 << level)))?);
            begin += 1 << level;
        }
        Ok(Frontier::new(size, peaks))
    }

    /// The leaves of a range, in order.
    pub fn leaves(&self, range: Range<u64>) -> io::Result<Vec<Hash>> {
        range.map(|leaf| self.stored(before(leaf))).collect()
    }

    /// That the tree of a size has a leaf: the path from it to the root (RFC 6962, 2.1.1).
    pub fn inclusion(&self, leaf: u64, size: u64) -> io::Result<Vec<Hash>> {
        let (mut range, mut path) = (0..size, Vec::new());
        while range.end - range.start > 1 {
            let middle = range.start + split(range.end - range.start);
            let (left, right) = (range.start..middle, middle..range.end);
            let (inside, beside) = if leaf < middle { (left, right) } else { (right, left) };
            path.push(self.subtree(&beside)?);
            range = inside;
        }
        path.reverse();
        Ok(path)
    }

    /// That the tree of a size begins with the one of an older size (RFC 6962, 2.1.2).
    pub fn consistency(&self, older: u64, size: u64) -> io::Result<Vec<Hash>> {
        if older == 0 || older >= size {
            return Ok(Vec::new());
        }
        let (mut range, mut path) = (0..size, Vec::new());
        while range.end > older {
            let middle = range.start + split(range.end - range.start);
            let (left, right) = (range.start..middle, middle..range.end);
            let (inside, beside) = if older <= middle { (left, right) } else { (right, left) };
            path.push(self.subtree(&beside)?);
            range = inside;
        }
        if range.start > 0 {
            path.push(self.subtree(&range)?);
        }
        path.reverse();
        Ok(path)
    }

    fn subtree(&self, range: &Range<u64>) -> io::Result<Hash> {
        let size = range.end - range.start;
        if size.is_power_of_two() {
            return self.stored(before(range.end - 1) + u64::from(size.ilog2()));
        }
        let middle = range.start + split(size);
        let left = self.subtree(&(range.start..middle))?;
        Ok(node_of(&left, &self.subtree(&(middle..range.end))?))
    }

    fn stored(&self, index: u64) -> io::Result<Hash> {
        let mut hash = Hash::default();
        self.file.read_exact_at(&mut hash, index * HASH)?;
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{follows, includes, leaf};

    const SIZE: u64 = 70;

    fn leaf_at(index: u64) -> Hash {
        leaf("thing.1", &index.to_be_bytes())
    }

    fn tree(path: &Path) -> Nodes {
        let mut nodes = Nodes::open(path, 0).unwrap();
        for index in 0..SIZE {
            nodes.push(leaf_at(index));
            if index % 7 == 0 {
                nodes.flush().unwrap();
            }
        }
        nodes.flush().unwrap();
        nodes
    }

    fn roots() -> Vec<Hash> {
        let mut tree = Frontier::default();
        let mut roots = vec![tree.root()];
        for index in 0..SIZE {
            tree.push(leaf_at(index));
            roots.push(tree.root());
        }
        roots
    }

    // covers E11
    #[test]
    fn every_leaf_and_every_older_tree_is_proved_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let nodes = tree(&folder.path().join("tree"));
        let roots = roots();
        let mut older = 0;
        for (size, root) in (0..).zip(&roots) {
            assert_eq!(nodes.frontier_of(size).unwrap().root(), *root);
            for index in 0..size {
                let path = nodes.inclusion(index, size).unwrap();
                assert!(includes(root, size, index, &leaf_at(index), &path));
                assert!(!includes(root, size, index, &leaf_at(index + 1), &path));
                assert!(!includes(root, size, (index + 1) % (size + 1), &leaf_at(index), &path));
                assert!(!includes(&leaf_at(0), size + 1, index, &leaf_at(index), &path));
            }
            for smaller in 0..=size {
                let path = nodes.consistency(smaller, size).unwrap();
                let known = &roots[usize::try_from(smaller).unwrap()];
                assert!(follows(known, smaller, root, size, &path), "{smaller} in {size}");
                if smaller > 0 {
                    let other = leaf_at(smaller);
                    assert!(!follows(&other, smaller, root, size, &path));
                    assert!(!follows(known, smaller, &other, size, &path));
                    older += 1;
                }
            }
        }
        assert_eq!(older, SIZE * (SIZE + 1) / 2);
        assert!(!follows(&roots[8], 8, &roots[7], 7, &[]), "a tree does not shrink");
    }

    #[test]
    fn a_tree_goes_on_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tree");
        let root = tree(&path).root();
        let mut nodes = Nodes::open(&path, 41).unwrap();
        assert_eq!((nodes.size(), nodes.root()), (41, roots()[41]));
        assert_eq!(nodes.leaves(39..41).unwrap(), [leaf_at(39), leaf_at(40)]);
        (41..SIZE).for_each(|index| nodes.push(leaf_at(index)));
        nodes.flush().unwrap();
        assert_eq!(nodes.root(), root);
        assert_eq!(Nodes::read(&path, SIZE).unwrap().root(), root);
        let longer = Nodes::open(&path, SIZE + 1).err().unwrap();
        assert_eq!(longer.kind(), ErrorKind::UnexpectedEof);
    }
}
