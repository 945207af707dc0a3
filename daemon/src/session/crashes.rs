//! Which calls were in work when the daemon died. hook resumes its call with the next daemon: one
//! whose input kills the daemon would kill each. So a call during whose work two daemons have died is
//! refused by the third.
//!
//! Only hookd's own work on a call counts, from its first message to the moment in which its program
//! or build has been found or started ([`Working::settle`]): a step that runs for hours outlives any
//! number of daemons. The record is a file for each call in the directory of the socket, which no job
//! can write to.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Failure;
use crate::ids::StepId;
use crate::session::error::SessionError;

/// Directory of the records in the socket's.
const DIRECTORY: &str = "calls";
/// Daemons that may die during the work on one call.
const DEATHS: u32 = 2;
/// Records that are read at start: more than calls can be at work.
const RECORDS: usize = 1024;
/// Start of a record while the call is in work, and after a daemon died with it.
const WORKING: &str = "working";
const CRASHED: &str = "crashed";

/// The record of this daemon and of those before it.
#[derive(Clone, Debug)]
pub struct Crashes {
    directory: PathBuf,
    deaths: Arc<Mutex<HashMap<StepId, u32>>>,
}

/// A call in work; dropped, it has ended or is settled.
#[derive(Debug)]
pub struct Working {
    crashes: Crashes,
    step: Option<StepId>,
}

impl Crashes {
    /// Takes up the record in the directory of the socket. Without one that can be read or written
    /// no call is ever refused.
    pub fn load(socket_dir: &Path) -> Self {
        let directory = socket_dir.join(DIRECTORY);
        let mut deaths = HashMap::new();
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.take(RECORDS) {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<StepId>().ok());
            let record = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let Some((id, count)) = id.zip(count(&record)) else { continue };
            tracing::warn!(step = %id, deaths = count, "the daemon died while it worked on this call");
            let _ = std::fs::write(entry.path(), format!("{CRASHED} {count}"));
            deaths.insert(id, count);
        }
        Self { directory, deaths: Arc::new(Mutex::new(deaths)) }
    }

    /// Whether the call may be taken.
    ///
    /// # Errors
    /// `DAEMON_CRASHED` when too many daemons died during it.
    pub fn check(&self, step: &StepId) -> Result<(), Failure> {
        match self.deaths(step) {
            deaths if deaths >= DEATHS => Err(fatal(step, deaths)),
            _ => Ok(()),
        }
    }

    /// Begins the work on a call.
    pub fn begin(&self, step: &StepId) -> Working {
        let deaths = self.deaths(step);
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&self.directory)?;
            std::fs::write(self.directory.join(step.as_str()), format!("{WORKING} {deaths}"))
        };
        if let Err(error) = write() {
            tracing::warn!(%step, %error, "the work on this call cannot be recorded");
        }
        Working { crashes: self.clone(), step: Some(step.clone()) }
    }

    fn deaths(&self, step: &StepId) -> u32 {
        let deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.get(step).copied().unwrap_or_default()
    }

    /// Forgets all calls: the job has ended, or the daemon is stopped.
    pub fn clear(&self) {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Daemons that have died with the call, by its record.
fn count(record: &str) -> Option<u32> {
    let (state, count) = record.split_once(' ')?;
    let count: u32 = count.parse().ok()?;
    match state {
        WORKING => Some(count.saturating_add(1)),
        CRASHED => Some(count),
        _ => None,
    }
}

impl Working {
    /// The program or build of the call was found or started: a death from now on says nothing
    /// about its input.
    pub fn settle(&mut self) {
        let Some(step) = self.step.take() else { return };
        let mut deaths = self.crashes.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.remove(&step);
        let _ = std::fs::remove_file(self.crashes.directory.join(step.as_str()));
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.settle();
    }
}

fn fatal(step: &StepId, deaths: u32) -> Failure {
    SessionError::DaemonCrashed { step: step.clone(), deaths }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn step() -> StepId {
        "abc".parse().unwrap()
    }

    /// A daemon takes the call and dies.
    fn dies(directory: &Path) -> Result<(), Failure> {
        let crashes = Crashes::load(directory);
        crashes.check(&step()).map(|()| std::mem::forget(crashes.begin(&step())))
    }

    #[test]
    fn a_call_that_killed_two_daemons_is_refused_by_the_third() {
        let directory = tempfile::tempdir().unwrap();
        dies(directory.path()).unwrap();
        // One that dies for another reason counts for nothing.
        Crashes::load(directory.path());
        dies(directory.path()).unwrap();
        let failure = dies(directory.path()).unwrap_err();
        assert_eq!(failure.reason, Reason::DaemonCrashed);
        assert!(
            failure.message.contains("2 times") && failure.message.contains("abc"),
            "{failure}"
        );
        dies(directory.path()).unwrap_err();
        Crashes::load(directory.path()).check(&"another".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_call_that_was_settled_in_between_is_not() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            dies(directory.path()).unwrap();
            Crashes::load(directory.path()).begin(&step()).settle();
        }
        dies(directory.path()).unwrap();
        dies(directory.path()).unwrap();
        Crashes::load(directory.path()).clear();
        dies(directory.path()).unwrap();
    }

    #[test]
    fn a_record_that_hookd_has_not_written_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let calls = directory.path().join(DIRECTORY);
        std::fs::create_dir(&calls).unwrap();
        for (name, text) in [("abc", "x"), ("..", ""), ("abd", "working x"), ("A B", "crashed 9")] {
            let _ = std::fs::write(calls.join(name), text);
        }
        Crashes::load(directory.path()).check(&step()).unwrap();
    }
}
