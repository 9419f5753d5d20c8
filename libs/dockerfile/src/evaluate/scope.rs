//! Which variables have which values.

use crate::shell::{Budget, Malformed, Variables};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Values of variables at one point of a stage; copied only when a stage changes what it has from another.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scope {
    values: Arc<HashMap<String, String>>,
    /// Declared, whether with a value or not.
    declared: Arc<HashSet<String>>,
}

impl Variables for Scope {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

impl Scope {
    pub(super) fn set(&mut self, name: &str, value: String, budget: &mut Budget) -> Result<(), Malformed> {
        if Arc::strong_count(&self.values) > 1 {
            budget.spend(self.values.len() * 64)?;
        }
        Arc::make_mut(&mut self.values).insert(name.to_owned(), value);
        self.declare(name, budget)
    }

    pub(super) fn declare(&mut self, name: &str, budget: &mut Budget) -> Result<(), Malformed> {
        if Arc::strong_count(&self.declared) > 1 {
            budget.spend(self.declared.len() * 64)?;
        }
        Arc::make_mut(&mut self.declared).insert(name.to_owned());
        Ok(())
    }

    pub(crate) fn declares(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(String::as_str)
    }
}
