//! Faults that every test would notice, and how tests keep out of each other's.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::cluster::script;

static CLUSTER: RwLock<()> = RwLock::new(());

/// A test's hold on the cluster. A test that failed leaves the lock in order.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Beside others, on a cluster without faults.
    Shared(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'static, ()>),
    /// Alone: this test breaks the cluster.
    Alone(#[allow(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub(crate) fn shared() -> Self {
        Self::Shared(CLUSTER.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn alone() -> Self {
        Self::Alone(CLUSTER.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A component of the cluster that is stopped, with SIGKILL, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stopped(&'static str);

impl Stopped {
    /// Stops a component; `turn` is proof that no other test runs.
    pub(crate) fn component(name: &'static str, turn: &Turn) -> Self {
        assert!(matches!(turn, Turn::Alone(_)), "a test that stops {name} must run alone");
        script("devcluster/component.sh", &["stop", name]);
        Self(name)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        script("devcluster/component.sh", &["start", self.0]);
    }
}
