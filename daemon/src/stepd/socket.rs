//! The socket of an agent in the runner pod, in a volume that its container can write to as well.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookd_api::transport::STEPD_SOCKET;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, unlinkat};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::beneath::openat2;

/// Until the next look at a directory that cannot be watched.
const PAUSE: Duration = Duration::from_millis(10);
/// Files that are removed with a directory; hookd and stepd make a few.
const MOST_FILES: usize = 64;

/// The directory of an agent's socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketDir {
    /// Where hookd has the volume.
    pub root: PathBuf,
    /// Its name in the volume.
    pub name: String,
}

impl SocketDir {
    /// Connects to the agent. A link, which a program of the container could have put there, is not
    /// followed.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        let socket = self.open()?;
        // The very file that was looked at.
        UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &self.root, flags, Mode::empty())?;
        let path = Path::new(&self.name).join(STEPD_SOCKET);
        let look = OFlags::PATH | OFlags::NOFOLLOW;
        let socket = openat2(&root, &path, look, ResolveFlags::NO_SYMLINKS)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode);
        if kind == FileType::Socket {
            Ok(socket)
        } else {
            Err(io::Error::other(format!("{} is no socket", path.display())))
        }
    }

    /// Removes the directory of an agent that has ended, as far as hookd may.
    pub fn remove(&self) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::openat(CWD, &self.root, flags, Mode::empty()) else { return };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = openat2(&root, Path::new(&self.name), flags, ResolveFlags::NO_SYMLINKS);
        let entries = directory.as_ref().ok().and_then(|directory| Dir::read_from(directory).ok());
        for entry in entries.into_iter().flatten().flatten().take(MOST_FILES) {
            // The socket, and what a build was given.
            let _ = directory.as_ref().map(|at| unlinkat(at, entry.file_name(), AtFlags::empty()));
        }
        let _ = unlinkat(&root, &self.name, AtFlags::REMOVEDIR);
    }

    /// Waits until the agent listens.
    pub async fn listening(&self) {
        // A node has few inotify instances for a user, and other pods may hold them all.
        let named = watch(&self.root.join(&self.name)).ok();
        // The socket may have come just before the watch.
        while self.connect().await.is_err() {
            match &named {
                Some(named) => wait(named).await,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Can be read from once a file in `dir` has got its name.
#[expect(deprecated, reason = "what replaces it is unsafe; an OwnedFd is open until it is dropped")]
fn watch(dir: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let named = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&named, dir, WatchFlags::MOVED_TO)?;
    AsyncFd::new(named)
}

async fn wait(named: &AsyncFd<OwnedFd>) {
    let Ok(mut ready) = named.readable().await else { return };
    let read = ready.try_io(|named| Ok(rustix::io::read(named, &mut [0_u8; 4096])?));
    if !matches!(read, Ok(Ok(_))) {
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, SocketDir) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("job")).unwrap();
        let place = SocketDir { root: root.path().to_owned(), name: "job".to_owned() };
        (root, place)
    }

    #[tokio::test]
    async fn an_agent_is_found_once_its_socket_has_its_name() {
        let (root, place) = directory();
        let waiting = place.clone();
        let listening = tokio::spawn(async move { waiting.listening().await });
        let new = root.path().join("job/stepd.sock.new");
        let _listener = tokio::net::UnixListener::bind(&new).unwrap();
        std::fs::rename(new, root.path().join("job").join(STEPD_SOCKET)).unwrap();
        tokio::time::timeout(Duration::from_secs(10), listening).await.unwrap().unwrap();
        place.connect().await.unwrap();
    }

    #[tokio::test]
    async fn a_link_to_another_socket_is_not_followed() {
        let (root, place) = directory();
        let other = root.path().join("other.sock");
        let _listener = tokio::net::UnixListener::bind(&other).unwrap();
        std::os::unix::fs::symlink(&other, root.path().join("job").join(STEPD_SOCKET)).unwrap();
        assert!(place.connect().await.is_err());
        // Nor a directory's.
        std::fs::create_dir(root.path().join("victim")).unwrap();
        let victim = root.path().join("victim").join(STEPD_SOCKET);
        let _victim = tokio::net::UnixListener::bind(victim).unwrap();
        std::os::unix::fs::symlink("victim", root.path().join("link")).unwrap();
        let link = SocketDir { name: "link".to_owned(), ..place };
        assert!(link.connect().await.is_err());
    }
}
