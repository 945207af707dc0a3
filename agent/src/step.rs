//! One step: what it has written, what was acknowledged, and how it ended.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hookd_api::stepd::v1::{Offsets, StepEnd, StepStatus};
use rustix::process::Signal;
use tokio::sync::watch;

use crate::descendants;
use crate::looks::off_thread;
use crate::spool::{OutOfRange, Spool};

/// A fork may escape one look at the processes; the next one finds it.
const AGAIN: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A supervisor that has not ended so long after its step was killed is held, or holds one that may
/// not be killed.
const STUCK: Duration = Duration::from_secs(3);

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Both, in the order of the arrays here.
pub(crate) const STREAMS: [StdStream; 2] = [StdStream::Stdout, StdStream::Stderr];

/// See the module.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its name.
    pub(crate) id: String,
    limit: u64,
    spools: Mutex<[Spool; 2]>,
    state: watch::Sender<State>,
    /// The supervisor's process; 0: none was started.
    supervisor: i32,
    /// stepd is stopping.
    stopping: AtomicBool,
}

/// What changes, for those who wait for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Bytes written of each stream.
    pub(crate) written: [u64; 2],
    /// Bytes acknowledged of each stream.
    pub(crate) acked: [u64; 2],
    /// Its program ended, and all output is in the spool.
    pub(crate) end: Option<StepEnd>,
    /// The program waits until something is acknowledged.
    pub(crate) full: bool,
    /// Its supervisor was killed; what it leaves is being ended.
    pub(crate) orphaned: bool,
    /// Its supervisor, and with it every process of the step, is gone.
    pub(crate) gone: bool,
    /// Counts attachments: only the newest one is served.
    pub(crate) attachment: u64,
}

impl State {
    fn unacknowledged(&self) -> u64 {
        let pairs = self.written.iter().zip(self.acked);
        pairs.map(|(written, acked)| written - acked).sum()
    }
}

impl Step {
    /// A step whose supervisor has been started.
    pub(crate) fn new(id: String, supervisor: i32, spool: &Arc<OwnedFd>, limit: u64) -> Self {
        let spools = Mutex::new([Spool::new(spool.clone()), Spool::new(spool.clone())]);
        Self {
            id,
            limit,
            spools,
            state: watch::Sender::default(),
            supervisor,
            stopping: AtomicBool::new(false),
        }
    }

    /// A step that has ended before it began.
    pub(crate) fn failed_to_start(id: String, spool: &Arc<OwnedFd>, end: StepEnd) -> Self {
        let step = Self::new(id, 0, spool, 0);
        step.state.send_modify(|state| {
            state.end = Some(end);
            state.gone = true;
        });
        step
    }

    /// To wait for changes.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Bytes that may be written now. None: the step waits.
    pub(crate) fn room(&self) -> Option<usize> {
        let left = self.limit.saturating_sub(self.state.borrow().unacknowledged());
        self.state
            .send_if_modified(|state| std::mem::replace(&mut state.full, left == 0) != (left == 0));
        usize::try_from(left).ok().filter(|left| *left > 0)
    }

    /// Keeps what the program wrote.
    pub(crate) fn append(&self, stream: StdStream, data: &[u8]) -> io::Result<()> {
        let mut spools = self.spools();
        spools[stream as usize].append(data)?;
        let written = [spools[0].end(), spools[1].end()];
        drop(spools);
        self.state.send_modify(|state| state.written = written);
        Ok(())
    }

    /// At most `most` bytes of a stream from `offset` on, and where they begin: later if more was
    /// acknowledged, which its caller has. Under one lock, so that nothing is released in between.
    pub(crate) fn read(
        &self,
        stream: StdStream,
        offset: u64,
        most: usize,
    ) -> io::Result<(u64, Vec<u8>)> {
        let spools = self.spools();
        let spool = &spools[stream as usize];
        let offset = offset.max(spool.released());
        Ok((offset, spool.read(offset, most)?))
    }

    /// The caller has acted on this much.
    pub(crate) fn acknowledge(&self, offsets: &Offsets) -> Result<(), OutOfRange> {
        let mut spools = self.spools();
        spools[0].release(offsets.stdout)?;
        spools[1].release(offsets.stderr)?;
        let acked = [spools[0].released(), spools[1].released()];
        drop(spools);
        self.state.send_modify(|state| state.acked = acked);
        Ok(())
    }

    /// No client asks for its output any more: the room goes to other steps.
    pub(crate) fn drop_output(&self) {
        let mut spools = self.spools();
        spools.iter_mut().for_each(Spool::clear);
        let acked = [spools[0].released(), spools[1].released()];
        drop(spools);
        self.state.send_modify(|state| state.acked = acked);
    }

    /// A new attachment that goes on at `offsets`; its number.
    pub(crate) fn attach(&self, offsets: &Offsets) -> Result<u64, OutOfRange> {
        let spools = self.spools();
        spools[0].check(offsets.stdout)?;
        spools[1].check(offsets.stderr)?;
        drop(spools);
        self.acknowledge(offsets)?;
        self.state.send_modify(|state| state.attachment += 1);
        Ok(self.state.borrow().attachment)
    }

    /// stepd is about to stop: the program's end is not its own from now on, whatever its code.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// True once stepd is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Its program has ended.
    pub(crate) fn ended(&self, end: StepEnd) {
        self.state.send_modify(|state| {
            state.full = false;
            state.end = Some(end);
        });
    }

    /// Its supervisor is gone.
    pub(crate) fn supervisor_ended(&self) {
        self.state.send_modify(|state| state.gone = true);
    }

    /// Its supervisor was killed: its processes are no longer beneath it.
    pub(crate) fn orphaned(&self) {
        self.state.send_modify(|state| state.orphaned = true);
    }

    /// The process of its supervisor, while it has one.
    pub(crate) fn supervisor(&self) -> Option<i32> {
        let state = self.state.borrow();
        (!state.gone && !state.orphaned).then_some(self.supervisor)
    }

    /// Ends all its processes, with a pause of `grace` after INT and after TERM.
    pub(crate) async fn cancel(&self, grace: Duration) {
        let mut state = self.watch();
        for signal in [Signal::INT, Signal::TERM] {
            let Some(supervisor) = self.supervisor() else { break };
            off_thread(move || descendants::signal(supervisor, signal)).await;
            let _ = tokio::time::timeout(grace, state.wait_for(|state| state.gone)).await;
        }
        let (began, mut pause) = (Instant::now(), AGAIN);
        while !state.borrow_and_update().gone {
            if let Some(supervisor) = self.supervisor() {
                let stuck = began.elapsed() > STUCK;
                off_thread(move || end_all_beneath(supervisor, stuck)).await;
            }
            let _ = tokio::time::timeout(pause, state.wait_for(|state| state.gone)).await;
            // One that may not be killed, of another user, must not keep us busy.
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// For the status call.
    pub(crate) fn status(&self) -> StepStatus {
        let state = self.state.borrow();
        let offsets = |[stdout, stderr]: [u64; 2]| Some(Offsets { stdout, stderr });
        StepStatus {
            step_id: self.id.clone(),
            ended: state.end.is_some(),
            written: offsets(state.written),
            acknowledged: offsets(state.acked),
        }
    }

    fn spools(&self) -> MutexGuard<'_, [Spool; 2]> {
        self.spools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills what is beneath a supervisor, which ends with the last of it. A step of our user may have
/// stopped it; one that is `stuck` is killed itself, and what it leaves is ended as ours.
fn end_all_beneath(supervisor: i32, stuck: bool) {
    descendants::kill(&[supervisor], |_| false);
    descendants::resume(supervisor);
    if stuck {
        descendants::end(supervisor);
    }
}
