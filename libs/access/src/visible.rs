//! What somebody may see of everything, for lists.

use crate::{Right, right_of};
use std::collections::BTreeMap;

/// What a caller may see of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    /// Whatever there is, because an administrator calls.
    all: bool,
    /// What the caller may do with the images of its workspaces.
    workspaces: BTreeMap<String, Right>,
    /// What it may do with images of other workspaces, that are shared with it.
    shared: BTreeMap<String, Right>,
    /// What it may do with images of its workspaces beside what a member may.
    beside: BTreeMap<String, Right>,
}

impl Visible {
    /// `roles` are (workspace, role), `grants` (image, its workspace, right).
    pub(crate) fn new(all: bool, roles: Vec<(String, i32)>, grants: Vec<(String, String, i32)>) -> Self {
        let mut visible = Self { all, ..Self::default() };
        for (workspace, role) in roles {
            if let Some(right) = right_of(crate::role(role), None) {
                visible.workspaces.insert(workspace, right);
            }
        }
        for (image, workspace, granted) in grants {
            if let Some(right) = right_of(None, crate::right(granted)) {
                let is_home = visible.workspaces.contains_key(&workspace);
                let images = if is_home {
                    &mut visible.beside
                } else {
                    &mut visible.shared
                };
                images.insert(image, right);
            }
        }
        visible
    }

    /// Of the workspaces only this one, which the caller may see.
    #[must_use]
    pub fn within(mut self, workspace: &str) -> Self {
        let right = self.workspaces.get(workspace).copied().unwrap_or(Right::Read);
        self.all = false;
        self.workspaces = BTreeMap::from([(workspace.to_owned(), right)]);
        self
    }

    #[must_use]
    pub fn without_shared(mut self) -> Self {
        self.shared.clear();
        self
    }

    #[must_use]
    pub fn only_shared(mut self) -> Self {
        self.all = false;
        self.workspaces.clear();
        self
    }

    /// The most that the caller may do with an image.
    pub fn right(&self, workspace: &str, image: &str) -> Option<Right> {
        let least = self.all.then_some(Right::Read);
        let member = self.workspaces.get(workspace).copied();
        let granted = self.shared.get(image).or_else(|| self.beside.get(image)).copied();
        [least, member, granted].into_iter().flatten().max()
    }

    /// Whether the caller sees all of a workspace: as a member, or an administrator.
    pub fn is_inside(&self, workspace: &str) -> bool {
        self.all || self.workspaces.contains_key(workspace)
    }

    /// Of which the caller is a member, whatever else it may see.
    pub fn memberships(&self) -> impl Iterator<Item = &str> {
        self.workspaces.keys().map(String::as_str)
    }

    /// `None`: all of them.
    pub fn workspaces(&self) -> Option<impl Iterator<Item = &str>> {
        (!self.all).then(|| self.workspaces.keys().map(String::as_str))
    }

    /// Images of other workspaces.
    pub fn shared(&self) -> impl Iterator<Item = &str> {
        self.shared.keys().map(String::as_str)
    }
}
