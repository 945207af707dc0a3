//! Reads and sends the context, on threads that end with the step.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::Build;
use crate::build::cache::{self, ContextDigest, Hashed};
use crate::build::context::{self, Bounds, BuildContext, ContextError};
use crate::build::error::BuildError;
use crate::cluster::ContainerRef;
use crate::cluster::exec::stdin::{self, ChunkWriter};
use crate::error::{CommonError, Failure};
use crate::names;

/// How much later than at its deadline a thread is waited for: a file call that does not return keeps it
/// from looking at the clock.
const GRACE: Duration = Duration::from_secs(15);

impl Build<'_> {
    /// Opens the Dockerfile's directory.
    pub(super) async fn open_context(&self) -> Result<BuildContext, Failure> {
        let roots = self.env.config.context_roots();
        let dockerfile = self.dockerfile.to_owned();
        self.on_thread(move || context::open(&roots, &dockerfile)).await?.map_err(failure)
    }

    /// Reads the context without sending it.
    pub(super) async fn context_digest(
        &self,
        source: BuildContext,
    ) -> Result<ContextDigest, Failure> {
        let (bounds, _guard) = self.bounds();
        self.on_thread(move || cache::context_digest(&source, &bounds)).await?.map_err(failure)
    }

    /// Packs the context on a thread of its own and sends it as it comes.
    pub(super) async fn send_context(
        &self,
        source: BuildContext,
        pod: &Pod,
    ) -> Result<ContextDigest, Failure> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let (bounds, guard) = self.bounds();
        let pack = self.on_thread(move || {
            let mut chunks = Hashed::new(ChunkWriter::new(sender));
            source.write_tar_gz(&mut chunks, &bounds).map(|_| chunks.finish())
        });
        let pod = pod.name_any();
        let target = ContainerRef { pod: &pod, container: names::BUILD_CONTAINER };
        let send = stdin::send_stdin(self.env.cluster, target, receiver);
        tokio::pin!(pack, send);
        // A thread that hangs sends no end either.
        let (packed, sent) = tokio::select! {
            packed = &mut pack => match packed? {
                Err(error) if !matches!(error, ContextError::Output { .. }) => {
                    return Err(failure(error));
                }
                packed => (packed, send.await),
            },
            sent = &mut send => {
                // What is packed from now on is not sent any more.
                drop(guard);
                (pack.await?, sent)
            }
        };
        match packed {
            // The connection broke, and with it the pipe that the context was written to.
            Err(error @ (ContextError::Output { .. } | ContextError::Cancelled)) => {
                sent.and_then(|()| Err(failure(error)))
            }
            Err(error) => Err(failure(error)),
            Ok(context_digest) => sent.map(|()| context_digest),
        }
    }

    /// The limits of reading; the work ends when the guard is dropped.
    fn bounds(&self) -> (Bounds, tokio_util::sync::DropGuard) {
        let build = &self.env.config.build;
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        (Bounds { bytes: build.context_limit, timeout: build.context_timeout, cancelled }, guard)
    }

    /// Runs `work` where it may block, for as long as a context may take.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let timeout = self.env.config.build.context_timeout + GRACE;
        let thread = tokio::task::spawn_blocking(work);
        let done = tokio::time::timeout(timeout, thread).await.map_err(|_| {
            BuildError::ContextStalled { dockerfile: self.dockerfile.to_owned(), timeout }
        })?;
        let what = || format!("Reading the context of {} failed", self.dockerfile.display());
        done.map_err(|error| CommonError::defect(what(), error).into())
    }
}

pub(super) fn failure(error: ContextError) -> Failure {
    match error {
        ContextError::Cancelled => Failure::cancelled(),
        _ => error.into(),
    }
}
