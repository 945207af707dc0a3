//! What the parts of a call took, for the metrics and for the summary of its job.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::metrics::{Build, Phase, metrics};

/// The parts of one call that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    phases: Vec<(Phase, Duration)>,
    build: Option<Build>,
}

impl Timings {
    /// A phase took so long, and ended now.
    pub fn took(&mut self, phase: Phase, time: Duration) {
        self.took_until(phase, time, Duration::ZERO);
    }

    /// A phase took so long, and ended so long `ago`.
    pub fn took_until(&mut self, phase: Phase, time: Duration, ago: Duration) {
        metrics().took_until(phase, time, ago);
        self.phases.push((phase, time));
    }

    /// The image of the call's Dockerfile is there.
    pub fn built(&mut self, build: Build) {
        metrics().built(build);
        self.build = Some(build);
    }

    /// How long a phase took: a step that is built waits for two pods, one after the other.
    pub fn of(&self, phase: Phase) -> Option<Duration> {
        let times = self.phases.iter().filter(|(one, _)| *one == phase).map(|(_, time)| *time);
        times.reduce(|sum, time| sum + time)
    }

    /// Where the image came from, if one was needed.
    pub fn build(&self) -> Option<Build> {
        self.build
    }
}

/// What the containers of the runner's job took, until a step says it.
#[derive(Debug, Default)]
pub struct JobTimings(Mutex<Option<Timings>>);

impl JobTimings {
    /// A job is prepared.
    pub fn keep(&self, timings: Timings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(timings);
    }

    /// What was kept, once.
    pub fn take(&self) -> Option<Timings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
