//! Whether the agent that answers on a socket is the one that answered first: a program of its container
//! can have put another socket there since.

use std::io;
use std::path::{Path, PathBuf};

use hookd_api::stepd::v1::IdentifyRequest;
use tonic::Status;

use crate::ids;
use crate::stepd::Agent;

/// Directory of the identities in the socket's, which no job can write to.
const DIRECTORY: &str = "agents";
/// Start of an identity that the agent may not have yet.
const NEW: &str = "new ";

/// What agents in the runner pod were called, for this daemon and those after it.
#[derive(Clone, Debug)]
pub struct Identities(PathBuf);

/// The process that answers is not known to be the agent.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its identity cannot be kept.
    #[error("its identity cannot be kept")]
    Unkept(#[from] io::Error),
    /// It did not say.
    #[error("it does not say who it is")]
    Silent(#[from] Status),
    /// Another process answers.
    #[error("another process has taken its place")]
    Other,
}

impl Identities {
    /// Those in the directory of hookd's socket.
    pub fn new(socket_dir: &Path) -> Self {
        Self(socket_dir.join(DIRECTORY))
    }

    /// Makes sure that this is the agent of the container.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn verify(&self, container: &str, agent: &mut Agent) -> Result<(), IdentityError> {
        let (identity, is_new) = self.of(container)?;
        let given = if is_new { identity.clone() } else { String::new() };
        let answer = agent.identify(IdentifyRequest { identity: given }).await?.into_inner();
        if answer.identity != identity {
            return Err(IdentityError::Other);
        }
        if is_new {
            std::fs::write(self.0.join(container), &identity)?;
        }
        Ok(())
    }

    /// Forgets the agent of a container that has ended.
    pub fn forget(&self, container: &str) {
        let _ = std::fs::remove_file(self.0.join(container));
    }

    /// The identity; true if the agent may not have it yet.
    fn of(&self, container: &str) -> io::Result<(String, bool)> {
        let path = self.0.join(container);
        if let Ok(text) = std::fs::read_to_string(&path) {
            let new = text.strip_prefix(NEW).map(str::to_owned);
            return Ok(new.map_or((text, false), |identity| (identity, true)));
        }
        let identity = ids::unguessable()?;
        std::fs::create_dir_all(&self.0)?;
        // First: a daemon that dies now leaves one that the next can use.
        std::fs::write(&path, format!("{NEW}{identity}"))?;
        Ok((identity, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_given_once_and_known_to_the_next_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let identities = Identities::new(directory.path());
        let (identity, is_new) = identities.of("job-a").unwrap();
        assert!(is_new && identity.len() == 32);
        // Not given yet.
        assert_eq!(identities.of("job-a").unwrap(), (identity.clone(), true));
        std::fs::write(directory.path().join("agents/job-a"), &identity).unwrap();
        assert_eq!(
            Identities::new(directory.path()).of("job-a").unwrap(),
            (identity.clone(), false)
        );
        assert_ne!(identities.of("job-b").unwrap().0, identity);
        identities.forget("job-a");
        assert!(identities.of("job-a").unwrap().1);
    }
}
