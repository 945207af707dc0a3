//! What a daemon that is started again must know of the job in this pod: a file in the directory of the
//! socket, which neither the runner nor a job can write to.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::beneath::Tree;
use crate::forward::JobServices;
use crate::objects::ephemeral::SpareVolumes;
use crate::stepd::pods::AgentAddress;

/// Name of the file.
const FILE: &str = "job.json";
/// Bytes of a record that is read; hookd writes far less.
const LIMIT: u64 = 1 << 20;

/// The job that has containers in this pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The step that started it; empty: there is none.
    pub step: String,
    /// Its agent, and its services.
    pub address: AgentAddress,
    /// The ports of the runner that lead to its services.
    pub network: JobServices,
    /// Credentials of the workflow are in the Secret that runner pods share.
    #[serde(default)]
    pub has_given: bool,
    /// The volumes that were given to it and to jobs before it.
    pub spare: SpareVolumes,
}

impl Record {
    /// The record in the directory of the socket; none was written: a record without a job.
    pub fn load(socket_dir: &Path) -> Self {
        let path = path(socket_dir);
        let is_small = std::fs::metadata(&path).is_ok_and(|file| file.len() <= LIMIT);
        let text = if is_small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// True if a job has containers in this pod.
    pub fn has_job(&self) -> bool {
        !self.step.is_empty()
    }

    /// The record for a job that this step starts, or has started.
    pub fn of_step(self, step: &str) -> Self {
        if self.step == step {
            return self;
        }
        Self { step: step.to_owned(), spare: self.spare.next(), ..Self::default() }
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, socket_dir: &Path) -> io::Result<()> {
        let form = serde_json::to_vec(self)?;
        Ok(Tree::open(socket_dir)?.put(FILE, &form, 0o600)?)
    }
}

fn path(socket_dir: &Path) -> PathBuf {
    socket_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_daemon_finds_the_job_and_the_next_job_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let none = Record::load(directory.path());
        assert!(!none.has_job());
        let mut record = none.of_step("s");
        record.address = AgentAddress::in_pod("r", "job-s");
        record.save(directory.path()).unwrap();
        let found = Record::load(directory.path());
        assert_eq!(found, record);
        assert_eq!(found.clone().of_step("s"), record);
        assert_eq!(found.of_step("t").address, AgentAddress::default());
        std::fs::write(directory.path().join(FILE), "broken").unwrap();
        assert!(!Record::load(directory.path()).has_job());
    }
}
