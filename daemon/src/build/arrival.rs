//! Whether a builder has its whole context.
//!
//! What was sent decides: a context that the API server confirmed as delivered has arrived, unless the
//! builder itself says that it broke off. One that was not confirmed has not arrived, unless the builder
//! proves that it has all of it; such a build is never started again.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use super::Build;
use crate::build::progress::{Decision, Progress, decide};
use crate::cluster::pod::{self, ContainerState};
use crate::cluster::retry::Retry;
use crate::cluster::watch::{PodState, PodWatch};
use crate::cluster::{ContainerRef, logs};
use crate::error::report;
use crate::names;

/// How long a builder may take to prove that it has a context whose arrival was not confirmed.
const PROOF: Duration = Duration::from_secs(5);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes at the beginning of a log in which the first line that decides stands.
const HEAD: i64 = 64 << 10;

impl Build<'_> {
    /// Why the builder lacks its context, whose arrival was not confirmed because of `failure`; nothing
    /// if it has it, or failed for another reason.
    pub(super) async fn lacks_context(
        &self,
        watch: &mut PodWatch,
        pod: &Pod,
        failure: &str,
    ) -> Option<String> {
        let deadline = Instant::now() + PROOF;
        loop {
            let exit_code = match watch.now() {
                PodState::Present(pod) => {
                    match pod::container_state(&pod, names::BUILD_CONTAINER) {
                        ContainerState::Terminated(ended) if ended.reason == pod::OOM_KILLED => {
                            return None;
                        }
                        // The caller that waits for its end reports the cause.
                        ContainerState::Failed(_) => return None,
                        ContainerState::Terminated(ended) => Some(ended.exit_code),
                        _ => None,
                    }
                }
                PodState::Deleted => return None,
                PodState::NotCreated => None,
            };
            let progress = self.progress(&pod.name_any()).await;
            match decide(false, exit_code, progress) {
                Decision::Continue => return None,
                Decision::Restart(why) => return Some(format!("{failure}; {why}")),
                Decision::Wait if Instant::now() >= deadline => return Some(failure.to_owned()),
                Decision::Wait => {
                    let _ = tokio::time::timeout(LOOK, watch.changed()).await;
                }
            }
        }
    }

    /// Why a builder that ended lacked its context, though its arrival was confirmed.
    pub(super) async fn ended_without_context(&self, pod: &str, exit_code: i32) -> Option<String> {
        match decide(true, Some(exit_code), self.progress(pod).await) {
            Decision::Restart(why) => Some(why),
            Decision::Continue | Decision::Wait => None,
        }
    }

    /// What the beginning of the builder's log says; a log that cannot be read says nothing.
    async fn progress(&self, pod: &str) -> Progress {
        let (retry, pods) = (Retry::new(PROOF), self.env.cluster.pods());
        let container = ContainerRef { pod, container: names::BUILD_CONTAINER };
        match retry.attempt(|| logs::head(&pods, container, HEAD)).await {
            Ok(head) => self.builder().progress(&head),
            Err(error) => {
                tracing::info!(pod, error = report(&error), "the builder's log cannot be read");
                Progress::Unknown
            }
        }
    }
}
