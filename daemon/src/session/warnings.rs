//! Warnings that each job gets once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The warnings that the job's user has read.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<HashSet<String>>);

impl Warnings {
    /// Those of the warnings that were not given since the job began.
    pub fn only_new(&self, warnings: Vec<String>) -> Vec<String> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.into_iter().filter(|warning| given.insert(warning.clone())).collect()
    }

    /// A new job: its user has read none yet.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
