//! Steps that a daemon which is started again must know: a file of ids, one on each line, in the socket
//! directory, which the runner cannot write to.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;

use crate::ids::StepId;

/// Ids that are read; a job has some dozens of steps.
const LIMIT: usize = 10_000;

/// The steps of a job to which something belongs that only they can name.
#[derive(Debug)]
pub struct RememberedSteps(PathBuf);

impl RememberedSteps {
    /// Those in the file of this name; those of earlier daemons in this pod are known.
    pub fn new(socket_dir: &Path, file: &str) -> Self {
        Self(socket_dir.join(file))
    }

    /// Remembers a step, before anything is made for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn add(&self, step: &StepId) -> io::Result<()> {
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).mode(0o600).open(&self.0).await?;
        file.write_all(format!("{step}\n").as_bytes()).await?;
        file.flush().await
    }

    /// All of them, each once.
    pub async fn all(&self) -> Vec<StepId> {
        let text = tokio::fs::read_to_string(&self.0).await.unwrap_or_default();
        let mut steps: Vec<StepId> = Vec::new();
        for step in text.lines().take(LIMIT).filter_map(|line| line.parse().ok()) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    /// Forgets them all, when nothing of theirs is left.
    pub async fn forget(&self) {
        let _ = tokio::fs::remove_file(&self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_are_remembered_by_the_next_daemon_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let steps = RememberedSteps::new(directory.path(), "made");
        assert!(steps.all().await.is_empty());
        for step in ["a", "b", "a"] {
            steps.add(&step.parse().unwrap()).await.unwrap();
        }
        let again = RememberedSteps::new(directory.path(), "made");
        let all: Vec<_> = again.all().await.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a", "b"]);
        again.forget().await;
        assert!(steps.all().await.is_empty());
    }
}
