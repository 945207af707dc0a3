//! The deletion of the runner pod cancels its steps.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_util::task::AbortOnDropHandle;

use crate::cluster::Cluster;
use crate::cluster::watch::{PodState, PodWatch};
use crate::session::steps::Steps;

/// Starts the watch of the runner pod, one at a time.
#[derive(Clone, Debug)]
pub struct RunnerDeletion {
    cluster: Cluster,
    runner: String,
    steps: Steps,
    shared: Arc<Mutex<Weak<RunnerDeletionWatch>>>,
}

/// Watches for the deletion of the runner pod while a task holds it: an idle runner watches
/// nothing.
#[derive(Debug)]
pub struct RunnerDeletionWatch {
    _task: AbortOnDropHandle<()>,
}

impl RunnerDeletion {
    /// Of the runner pod of this name; it is not watched yet.
    pub fn new(cluster: Cluster, runner: String, steps: Steps) -> Self {
        Self { cluster, runner, steps, shared: Arc::default() }
    }

    /// Cancels all steps when the runner pod is being deleted, for as long as the value is held.
    pub fn watch(&self) -> Arc<RunnerDeletionWatch> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = shared.upgrade() {
            return watch;
        }
        let (pods, name, steps) = (self.cluster.pods(), self.runner.clone(), self.steps.clone());
        let task = tokio::spawn(async move {
            let is_going = |seen: &PodState| match seen {
                PodState::Present(pod) => pod.metadata.deletion_timestamp.is_some(),
                PodState::Deleted => true,
                PodState::NotCreated => false,
            };
            PodWatch::for_pod(pods, &name).until(is_going).await;
            tracing::info!("the runner pod is being deleted; cancelling its steps");
            steps.cancel_all();
        });
        let watch = Arc::new(RunnerDeletionWatch { _task: AbortOnDropHandle::new(task) });
        *shared = Arc::downgrade(&watch);
        watch
    }
}
