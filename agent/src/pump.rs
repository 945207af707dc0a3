//! Brings what a step writes into its spool, from its start to its program's end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use hookd_api::stepd::v1::StepEnd;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use crate::memory;
use crate::program::ProgramError;
use crate::step::{STREAMS, Step};
use crate::supervise::{ProgramEnd, Report};

/// A pipe's size.
const CHUNK_SIZE: usize = 64 << 10;
/// What a descendant writes so long after the program's end still counts as the program's: that of
/// `program | tee log`, for one.
const DRAIN: Duration = Duration::from_millis(200);

/// The reading ends of a step's standard output and error, and the line to its supervisor.
pub(crate) struct Sources {
    pub(crate) pipes: [OwnedFd; 2],
    pub(crate) supervisor: std::os::unix::net::UnixStream,
    /// What the supervisor is to run.
    pub(crate) message: Vec<u8>,
    /// The program, for messages.
    pub(crate) program: String,
}

/// Reads until the program has ended and its output is in the spool. What the step leaves running
/// may write on: it is read and dropped, so that no process is ended by a closed pipe.
pub(crate) async fn run(step: &Step, sources: Sources) -> io::Result<()> {
    let kills = memory::oom_kills();
    let [stdout, stderr] = sources.pipes;
    let mut pipes =
        [Some(Receiver::from_owned_fd(stdout)?), Some(Receiver::from_owned_fd(stderr)?)];
    let mut supervisor = UnixStream::from_std(sources.supervisor)?;
    let mut end = {
        let end = ended(&mut supervisor, sources.message, &sources.program);
        tokio::pin!(end);
        tokio::select! {
            kept = keep(step, &mut pipes, None) => { kept?; end.await }
            end = &mut end => end,
        }
    };
    end.stopped = step.is_stopping();
    let deadline = Instant::now() + DRAIN;
    keep(step, &mut pipes, Some(deadline)).await?;
    end.oom_kills = memory::oom_kills().saturating_sub(kills);
    step.ended(end);
    let [stdout, stderr] = pipes;
    tokio::join!(drop_all(stdout), drop_all(stderr));
    Ok(())
}

/// Copies both pipes to the spool until both are closed, or, after `deadline`, until what lay in
/// them then is kept: somebody may write for ever.
async fn keep(
    step: &Step,
    pipes: &mut [Option<Receiver>; 2],
    deadline: Option<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_SIZE];
    let (mut last, mut counted) = ([usize::MAX; 2], false);
    let mut state = step.watch();
    while pipes.iter().any(Option::is_some) && last != [0, 0] {
        let Some(room) = step.room() else {
            // The program waits until somebody acknowledges what it wrote.
            state.changed().await.map_err(io::Error::other)?;
            continue;
        };
        let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if late && !std::mem::replace(&mut counted, true) {
            last = [lying_in(&pipes[0])?, lying_in(&pipes[1])?];
            continue;
        }
        let [stdout, stderr] = &*pipes;
        tokio::select! {
            biased;
            ready = readable(stdout), if last[0] > 0 => ready?,
            ready = readable(stderr), if last[1] > 0 => ready?,
            // What lies in a pipe is always readable.
            () = passed(deadline), if !late => continue,
        }
        for stream in STREAMS {
            let at = stream as usize;
            let most = (room / 2).clamp(1, CHUNK_SIZE).min(last[at]);
            // To read nothing would look like the pipe's end.
            if most == 0 {
                continue;
            }
            let length = take(&mut pipes[at], &mut buffer[..most])?;
            if length > 0 {
                step.append(stream, &buffer[..length])?;
            }
            if late {
                last[at] -= length;
            }
        }
    }
    Ok(())
}

/// Bytes that wait in a pipe.
fn lying_in(pipe: &Option<Receiver>) -> io::Result<usize> {
    let Some(pipe) = pipe else { return Ok(0) };
    let bytes = rustix::io::ioctl_fionread(pipe)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn readable(pipe: &Option<Receiver>) -> io::Result<()> {
    match pipe {
        Some(pipe) => pipe.readable().await,
        None => std::future::pending().await,
    }
}

/// Reads what is there; nothing if the pipe is empty or closed, which then is forgotten.
fn take(pipe: &mut Option<Receiver>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(open) = pipe else { return Ok(0) };
    match open.try_read(buffer) {
        Ok(0) => {
            *pipe = None;
            Ok(0)
        }
        Ok(length) => Ok(length),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

/// Sends the supervisor what to run and waits for its report of the program's end. A step of our
/// user may stop the supervisor of another: no other task waits for it.
async fn ended(supervisor: &mut UnixStream, message: Vec<u8>, program: &str) -> StepEnd {
    if supervisor.write_all(&message).await.is_err() {
        return by_signal(Signal::KILL.as_raw());
    }
    drop(message);
    loop {
        let mut report = [0; Report::SIZE];
        if supervisor.read_exact(&mut report).await.is_err() {
            // It was killed itself, by a program that kills all it may.
            return by_signal(Signal::KILL.as_raw());
        }
        let Some(Report { end, cpu_millis }) = Report::decode(report) else { continue };
        let end = match end {
            ProgramEnd::Exited(exit_code) => StepEnd { exit_code, ..StepEnd::default() },
            ProgramEnd::Killed(signal) => by_signal(signal),
            ProgramEnd::Refused(errno) => {
                let error = io::Error::from_raw_os_error(errno);
                return not_started(&ProgramError::refused(program, &error));
            }
        };
        return StepEnd { cpu_milliseconds: cpu_millis, peak_memory: memory::peak(), ..end };
    }
}

fn by_signal(signal: i32) -> StepEnd {
    StepEnd { exit_code: 128 + signal, signal, ..StepEnd::default() }
}

/// The end of a step whose program cannot be started.
pub(crate) fn not_started(error: &ProgramError) -> StepEnd {
    StepEnd { exit_code: error.code(), error: error.to_string(), ..StepEnd::default() }
}

/// Reads on without keeping anything.
async fn drop_all(pipe: Option<Receiver>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 4096];
    while pipe.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}
