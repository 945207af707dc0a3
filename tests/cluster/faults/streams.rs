//! Nobody reads what hook prints.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::process::Signal;

use super::evidence::{Evidence, seen_if};
use super::lane::{Flight, main_process};
use super::operation::Operation;
use crate::support::processes::Process;
use crate::support::wait::{eventually, let_pass, s};

/// The spool's bound in stepd is 64 MiB, of 100 MB; what was taken before it was looked at, and what
/// lay in the spool then, is not counted.
const SPOOL: u64 = 32 << 20;

/// Stops the reader and fills the pipe, so that the first byte that hook prints has to wait.
pub(crate) fn stdout_blocked(flight: &Flight<'_>) -> Evidence {
    let Some(reader) = flight.hook.reader() else {
        return Evidence::Missing("the pipe has no reader".to_owned());
    };
    seen_if(flight.flies(), "nothing read for 20 s, the hook waiting", || {
        reader.signal(Signal::STOP);
        // Until it has stopped it may read what fills the pipe.
        eventually(s(5), || reader.read("stat").contains(") T ").then_some(()));
        fill(&reader);
        let before = bytes_read(&reader);
        flight.let_go();
        let_pass(s(20));
        let unread = bytes_read(&reader) == before && reader.read("stat").contains(") T ");
        let waits = flight.flies();
        reader.signal(Signal::CONT) && unread && waits
    })
}

/// Bytes that a process has read from files and pipes.
fn bytes_read(process: &Process) -> u64 {
    let io = process.read("io");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|read| read.parse().ok()).unwrap_or_default()
}

/// Fills the pipe that `reader` reads with zeros.
fn fill(reader: &Process) {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let pipe = OpenOptions::new().write(true).custom_flags(nonblocking).open(reader.path("fd/0"));
    let Ok(mut pipe) = pipe else { return };
    for size in [4096, 1] {
        loop {
            match pipe.write(&vec![0; size]) {
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
    }
}

pub(crate) fn spool_full(flight: &Flight<'_>) -> Evidence {
    if flight.lane.operation != Operation::Megabytes {
        return Evidence::Inapplicable("prints less than a spool holds");
    }
    let stepd = main_process(flight);
    let (Some(stepd), Some(reader)) = (stepd, flight.hook.reader()) else {
        return Evidence::Missing("stepd or the pipe's reader is not there".to_owned());
    };
    let taken = || bytes_read(&stepd);
    let began = taken();
    reader.signal(Signal::STOP);
    let mut last = 0;
    let full = eventually(s(60), || {
        let_pass(s(1));
        let now = taken() - began;
        (std::mem::replace(&mut last, now) == now && now > SPOOL).then_some(())
    });
    let waits = flight.flies();
    reader.signal(Signal::CONT);
    let words = format!("stepd took {last} bytes and then none");
    if full.is_some() && waits { Evidence::Seen(words) } else { Evidence::Missing(words) }
}
