//! Warnings that each job gets once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Warnings that are kept: a workflow chooses their words.
const MOST: usize = 1000;

/// The warnings that the job's user has read, by their hashes.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<HashSet<[u8; 32]>>);

impl Warnings {
    /// Those of the warnings that were not given since the job began, or none after a thousand.
    pub fn only_new(&self, warnings: Vec<String>) -> Vec<String> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = |warning: &String| {
            given.len() < MOST && given.insert(Sha256::digest(warning.as_bytes()).into())
        };
        warnings.into_iter().filter(|warning| is_new(warning)).collect()
    }

    /// A new job: its user has read none yet.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_a_job_and_few_are_kept() {
        let warnings = Warnings::default();
        let new = |from: usize, to: usize| {
            warnings.only_new((from..to).map(|number| number.to_string()).collect()).len()
        };
        assert_eq!((new(0, 2), new(1, 3)), (2, 1));
        assert_eq!((new(3, 2 * MOST), new(2 * MOST, 3 * MOST)), (MOST - 3, 0));
        warnings.clear();
        assert_eq!(new(0, 2), 2);
    }
}
