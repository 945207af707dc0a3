//! The small process between stepd and a step's program: it adopts whatever the program leaves
//! behind, so that all of it is known and can be ended, and it lives until the last of it is gone.
//!
//! It reads from its standard input what to run, and writes reports there (a socket). It has the
//! step's pipes for standard output and error, and lets go of them once the program has them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use prost::Message;
use rustix::io::Errno;
use rustix::process::{WaitOptions, setsid, wait};

use crate::process;

/// A program that the kernel executes has less.
const LARGEST: usize = 16 << 20;

/// What to run, with nothing left to look up.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Program {
    /// The file to execute.
    #[prost(string, tag = "1")]
    pub(crate) file: String,
    /// The arguments, the program's name first.
    #[prost(string, repeated, tag = "2")]
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    #[prost(map = "string, string", tag = "3")]
    pub(crate) environment: HashMap<String, String>,
    /// Where it runs.
    #[prost(string, tag = "4")]
    pub(crate) directory: String,
    /// Open files that it may have; none: as many as its supervisor.
    #[prost(uint64, optional, tag = "5")]
    pub(crate) open_files: Option<u64>,
    /// Whom it runs as; none: its supervisor's user.
    #[prost(message, optional, tag = "6")]
    pub(crate) identity: Option<Identity>,
    /// Directories that are deleted first.
    #[prost(string, repeated, tag = "7")]
    pub(crate) delete: Vec<String>,
}

/// A user, with all its groups.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Identity {
    /// User.
    #[prost(uint32, tag = "1")]
    pub(crate) uid: u32,
    /// First group.
    #[prost(uint32, tag = "2")]
    pub(crate) gid: u32,
    /// Further groups.
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) groups: Vec<u32>,
}

impl Program {
    /// The message that makes a supervisor run it.
    pub(crate) fn to_message(&self) -> Vec<u8> {
        let length = self.encoded_len();
        let mut message = Vec::with_capacity(length + 8);
        message.extend((length as u64).to_be_bytes());
        self.encode_raw(&mut message);
        message
    }
}

/// What became of the program, and the milliseconds of CPU time that it took; 0: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// How it ended.
    pub(crate) end: ProgramEnd,
    /// Its CPU time.
    pub(crate) cpu_millis: u64,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramEnd {
    /// It could not be executed; the kernel's error number.
    Refused(i32),
    /// It ended with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

impl Report {
    /// Bytes of a report.
    pub(crate) const SIZE: usize = 16;

    fn encode(self) -> [u8; Self::SIZE] {
        let (kind, value) = match self.end {
            ProgramEnd::Refused(errno) => (1, errno),
            ProgramEnd::Exited(code) => (2, code),
            ProgramEnd::Killed(signal) => (3, signal),
        };
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&i32::to_be_bytes(kind));
        bytes[4..8].copy_from_slice(&i32::to_be_bytes(value));
        bytes[8..].copy_from_slice(&self.cpu_millis.to_be_bytes());
        bytes
    }

    /// None: a report of another version.
    pub(crate) fn decode(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let (head, cpu) = bytes.split_first_chunk::<8>()?;
        let [k0, k1, k2, k3, v0, v1, v2, v3] = *head;
        let value = i32::from_be_bytes([v0, v1, v2, v3]);
        let end = match i32::from_be_bytes([k0, k1, k2, k3]) {
            1 => ProgramEnd::Refused(value),
            2 => ProgramEnd::Exited(value),
            3 => ProgramEnd::Killed(value),
            _ => return None,
        };
        Some(Self { end, cpu_millis: u64::from_be_bytes(cpu.try_into().ok()?) })
    }
}

fn receive(line: &mut UnixStream) -> io::Result<Program> {
    let mut length = [0; 8];
    line.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    line.read_exact(&mut message)?;
    Program::decode(message.as_slice()).map_err(io::Error::other)
}

/// The life of the process.
pub(crate) fn run() -> ExitCode {
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        // stepd notices that no report came.
        Err(_) => ExitCode::FAILURE,
    }
}

fn supervise() -> io::Result<()> {
    process::adopt_orphans()?;
    setsid()?;
    let mut line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let program = receive(&mut line)?;
    if let Some(before) = program.open_files {
        process::lower_open_files(before)?;
    }
    for directory in &program.delete {
        // One that stays is seen by the program, and does no harm.
        let _ = std::fs::remove_dir_all(directory);
    }
    if let Some(Err(error)) = program.identity.as_ref().map(process::become_user) {
        return line.write_all(&refused(&error));
    }
    let mut command = Command::new(&program.file);
    let (name, arguments) = program.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    command.arg0(name).args(arguments).env_clear().envs(&program.environment);
    command.stdin(Stdio::null()).process_group(0);
    // Here and not by the command, which would then be started by execvp in a static program: that one
    // runs what the kernel does not take by /bin/sh.
    if let Err(error) = std::env::set_current_dir(&program.directory) {
        return line.write_all(&refused(&error));
    }
    let main = match command.spawn() {
        Ok(child) => i32::try_from(child.id()).map_err(io::Error::other)?,
        Err(error) => return line.write_all(&refused(&error)),
    };
    drop((program, command));
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    // Ends with an error when there is no child any more.
    while let Ok(Some((pid, status))) = wait(WaitOptions::empty()) {
        if pid.as_raw_nonzero().get() != main {
            continue;
        }
        let signal = status.terminating_signal().map(ProgramEnd::Killed);
        let end = signal.or_else(|| status.exit_status().map(ProgramEnd::Exited));
        if let Some(end) = end {
            let cpu = process::cpu_of_children().unwrap_or_default();
            let cpu_millis = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX);
            line.write_all(&Report { end, cpu_millis }.encode())?;
        }
    }
    Ok(())
}

fn refused(error: &io::Error) -> [u8; Report::SIZE] {
    let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
    Report { end: ProgramEnd::Refused(errno), cpu_millis: 0 }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_line() {
        for end in [ProgramEnd::Refused(8), ProgramEnd::Exited(255), ProgramEnd::Killed(9)] {
            let report = Report { end, cpu_millis: 1 << 40 };
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(Report::decode([0; Report::SIZE]), None);
    }
}
