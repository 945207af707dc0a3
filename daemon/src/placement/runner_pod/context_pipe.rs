//! The way of a build's context into its container: a named pipe beside the agent's socket, so that it
//! takes no room on the node's disk.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::beneath::{Kept, Tree, openat2};
use crate::stepd::socket::SocketDir;

/// Its name in the directory.
pub(super) const NAME: &str = "context";

/// The pipe. Once it is dropped nobody waits for a reader any more.
#[derive(Debug)]
pub(super) struct ContextPipe {
    pipe: OwnedFd,
    state: Arc<Mutex<State>>,
}

/// The end that is written to.
#[derive(Debug)]
pub(super) struct Writer {
    pipe: OwnedFd,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The writer had a reader.
    opened: bool,
    given_up: bool,
    /// Lets a writer go on that opens the pipe when it was given up.
    reader: Option<OwnedFd>,
}

impl ContextPipe {
    /// Makes it in the directory of the agent's socket.
    ///
    /// # Errors
    /// The kernel's answer, or what lies there is none.
    pub(super) fn make(place: &SocketDir) -> io::Result<Self> {
        let path = Path::new(&place.name);
        let (directory, _) = Tree::open(&place.root)?.directory(path, Kept::Nothing)?;
        fs::mknodat(&directory, NAME, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Looked at before it is opened: another program may have put something else there.
        let look = OFlags::PATH | OFlags::NOFOLLOW;
        let pipe = openat2(&directory, Path::new(NAME), look, ResolveFlags::NO_SYMLINKS)?;
        match FileType::from_raw_mode(fs::fstat(&pipe)?.st_mode) {
            FileType::Fifo => Ok(Self { pipe, state: Arc::default() }),
            _ => Err(io::Error::other(format!("{NAME} is no named pipe"))),
        }
    }

    /// An end to write to.
    pub(super) fn writer(&self) -> io::Result<Writer> {
        Ok(Writer { pipe: self.pipe.try_clone()?, state: self.state.clone() })
    }
}

impl Writer {
    /// Waits for a reader, or until the [`ContextPipe`] is dropped.
    pub(super) fn open(self) -> io::Result<File> {
        let file = reopened(&self.pipe, OFlags::WRONLY)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.opened = true;
        if state.given_up {
            state.reader = None;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(file.into())
    }
}

impl Drop for ContextPipe {
    fn drop(&mut self) {
        // A writer that waits gets a reader; one that writes has one no more, once Kaniko's is gone.
        let reader = reopened(&self.pipe, OFlags::RDONLY | OFlags::NONBLOCK);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.given_up = true;
        if !state.opened {
            state.reader = reader.ok();
        }
    }
}

/// The very file that was looked at.
fn reopened(looked_at: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
    let itself = format!("/proc/self/fd/{}", looked_at.as_fd().as_raw_fd());
    Ok(fs::openat(CWD, itself, flags | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;

    fn made() -> (tempfile::TempDir, ContextPipe) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("step-1")).unwrap();
        let place = SocketDir { root: root.path().to_owned(), name: "step-1".to_owned() };
        let pipe = ContextPipe::make(&place).unwrap();
        (root, pipe)
    }

    #[test]
    fn what_is_written_reaches_who_opens_the_pipe_by_its_name() {
        let (root, pipe) = made();
        let writer = pipe.writer().unwrap();
        let written = std::thread::spawn(move || writer.open().unwrap().write_all(b"context"));
        let mut text = String::new();
        let mut reader = File::open(root.path().join("step-1").join(NAME)).unwrap();
        reader.read_to_string(&mut text).unwrap();
        written.join().unwrap().unwrap();
        assert_eq!(text, "context");
    }

    #[test]
    fn a_writer_does_not_wait_for_a_reader_that_never_comes() {
        // Whether the writer waits already or not.
        for _ in 0..100 {
            let (_root, pipe) = made();
            let writer = pipe.writer().unwrap();
            let (done, ended) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let written = writer.open().and_then(|mut file| file.write_all(&[0; 1 << 20]));
                done.send(written.is_err())
            });
            drop(pipe);
            assert!(ended.recv_timeout(Duration::from_secs(10)).unwrap());
        }
    }

    #[test]
    fn what_another_program_put_in_its_place_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("step-1");
        std::fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.join(NAME)).unwrap();
        let place = SocketDir { root: root.path().to_owned(), name: "step-1".to_owned() };
        assert!(ContextPipe::make(&place).is_err());
    }
}
