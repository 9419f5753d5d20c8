//! Reads a whole log against checkpoints, and says where the first entry is that they were not signed over.

use crate::{Checkpoint, Frontier, Hash, leaf};
use std::collections::VecDeque;

/// Takes entries one by one, in the order in which they are stored.
pub struct Audit {
    tree: Frontier,
    /// The tree at the last checkpoint that was met.
    proved: Frontier,
    last: Option<Checkpoint>,
    /// The leaves since then, as long as there is a checkpoint ahead.
    since: Vec<Hash>,
    ahead: VecDeque<Checkpoint>,
}

/// The log is not the one that was signed.
#[derive(Debug, Clone)]
pub struct Wrong {
    proved: Frontier,
    since: Vec<Hash>,
    /// How far the log was read until this showed.
    pub read: u64,
    /// The first checkpoint that does not hold. None when an entry is missing that no checkpoint tells of.
    pub checkpoint: Option<Checkpoint>,
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Up to the checkpoint, the entries are not those that it was signed over.
    Differs,
    /// What follows is at another position than the next.
    Missing,
    /// There are no more, and the checkpoint tells of more.
    Ends,
}

impl Audit {
    /// All checkpoints must have been signed by who is trusted. Without one, only gaps are noticed.
    pub fn new(checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let mut ahead: Vec<Checkpoint> = checkpoints.into_iter().collect();
        ahead.sort_by_key(|checkpoint| checkpoint.size);
        Self {
            tree: Frontier::default(),
            proved: Frontier::default(),
            last: None,
            since: Vec::new(),
            ahead: ahead.into(),
        }
    }

    pub fn entry(&mut self, position: u64, stream: &str, bytes: &[u8]) -> Result<(), Box<Wrong>> {
        // Of two that were signed at one size, both are asked. One of size zero says nothing.
        while let Some(next) = self.ahead.front().filter(|next| next.size <= self.tree.size()) {
            if next.root != self.tree.root() {
                return Err(self.wrong(How::Differs));
            }
            self.meet();
        }
        if position != self.tree.size() + 1 {
            return Err(self.wrong(How::Missing));
        }
        let leaf = leaf(stream, bytes);
        self.tree.push(leaf);
        if !self.ahead.is_empty() {
            self.since.push(leaf);
        }
        Ok(())
    }

    /// How many entries were taken.
    pub fn read(&self) -> u64 {
        self.tree.size()
    }

    /// After the last entry: the newest checkpoint that all of this holds for, and how many entries came after it.
    pub fn end(mut self) -> Result<(Option<Checkpoint>, u64), Box<Wrong>> {
        while let Some(next) = self.ahead.front() {
            if next.size > self.tree.size() {
                return Err(self.wrong(How::Ends));
            }
            if next.root != self.tree.root() {
                return Err(self.wrong(How::Differs));
            }
            self.meet();
        }
        Ok((self.last, self.tree.size() - self.proved.size()))
    }

    fn meet(&mut self) {
        self.proved = self.tree.clone();
        self.since.clear();
        self.last = self.ahead.pop_front();
    }

    fn wrong(&self, how: How) -> Box<Wrong> {
        Box::new(Wrong {
            proved: self.proved.clone(),
            since: self.since.clone(),
            read: self.tree.size(),
            checkpoint: self.ahead.front().cloned(),
            how,
        })
    }
}

impl Wrong {
    /// Up to here it is what was signed.
    pub fn proved(&self) -> u64 {
        self.proved.size()
    }

    /// The leaves that tell which entry it is: those after [`Self::proved`], up to the size of the checkpoint.
    pub fn wanted(&self) -> Option<std::ops::Range<u64>> {
        let checkpoint = self.checkpoint.as_ref()?;
        Some(self.proved()..checkpoint.size)
    }

    /// The first wrong position, by leaves that somebody kept. They are believed if they lead to the checkpoint.
    pub fn locate(&self, leaves: &[Hash]) -> Option<u64> {
        let checkpoint = self.checkpoint.as_ref()?;
        let mut tree = self.proved.clone();
        for leaf in leaves {
            tree.push(*leaf);
        }
        if tree.size() != checkpoint.size || tree.root() != checkpoint.root {
            return None;
        }
        let same = leaves.iter().zip(&self.since).take_while(|(one, other)| one == other);
        Some(self.proved() + same.count() as u64 + 1)
    }

    /// The first position that is certainly wrong, whatever is wrong before it.
    pub fn at_latest(&self) -> u64 {
        match (&self.checkpoint, self.how) {
            (Some(checkpoint), How::Differs) => checkpoint.size,
            _ => self.read + 1,
        }
    }
}

#[cfg(test)]
mod tests;
