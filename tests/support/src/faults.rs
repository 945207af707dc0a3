//! Faults that every test would notice, and how tests keep out of each other's.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cluster::script;
use crate::timer::Timer;

static CLUSTER: RwLock<()> = RwLock::const_new(());

/// A test's hold on the cluster. A test that failed leaves the lock in order.
#[derive(Debug)]
pub enum Turn {
    /// Beside others, on a cluster without faults.
    Shared(RwLockReadGuard<'static, ()>, Timer),
    /// Alone: this test breaks the cluster.
    Alone(RwLockWriteGuard<'static, ()>, Timer),
    /// Within the turn of a test that runs alone.
    Lent,
}

impl Turn {
    /// Waits until no test runs alone.
    pub fn shared() -> Self {
        let guard = CLUSTER.blocking_read();
        Self::Shared(guard, Timer::start())
    }

    /// Waits until no other test runs.
    pub fn alone() -> Self {
        let guard = CLUSTER.blocking_write();
        Self::Alone(guard, Timer::start())
    }

    /// A part of this turn, for one of several runner pods of a test that runs alone.
    pub fn lend(&self) -> Self {
        assert!(matches!(self, Self::Alone(..)), "only who is alone can lend");
        Self::Lent
    }
}

/// A component of the cluster that is stopped, with SIGKILL, until this is dropped.
#[derive(Debug)]
pub struct Stopped(&'static str);

impl Stopped {
    /// Stops a component; `turn` is proof that no other test runs.
    pub fn component(name: &'static str, turn: &Turn) -> Self {
        assert!(matches!(turn, Turn::Alone(..)), "a test that stops {name} must run alone");
        script("devcluster/component.sh", &["stop", name]);
        Self(name)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        script("devcluster/component.sh", &["start", self.0]);
    }
}
