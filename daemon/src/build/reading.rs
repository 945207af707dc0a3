//! Reads the context, on threads that end with the step, and sends it to a pod.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::Build;
use crate::build::context::{self, Bounds, BuildContext, ContextDigest, ContextError};
use crate::build::dockerfile;
use crate::build::error::BuildError;
use crate::cluster::ContainerRef;
use crate::cluster::exec::stdin::{self, ChunkWriter};
use crate::config::Config;
use crate::error::{CommonError, Failure};
use crate::names;
use crate::registry::reference::NamedImage;

/// How much later than at its deadline a thread is waited for: a file call that does not return keeps it
/// from looking at the clock.
const GRACE: Duration = Duration::from_secs(15);

/// The directory of a Dockerfile, and the settings that bound what is read of it.
#[derive(Clone, Copy)]
pub struct ContextReader<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The Dockerfile.
    pub dockerfile: &'a Path,
}

/// A context that is open, and what its Dockerfile says.
#[derive(Debug)]
pub struct ReadContext {
    /// The context.
    pub source: BuildContext,
    /// The Dockerfile's text.
    pub dockerfile: Vec<u8>,
    /// The images that it names.
    pub images: Vec<NamedImage>,
}

impl ContextReader<'_> {
    /// Opens the Dockerfile's directory.
    ///
    /// # Errors
    /// See [`context::open`].
    pub async fn open(&self) -> Result<BuildContext, Failure> {
        let roots = self.config.context_roots();
        let dockerfile = self.dockerfile.to_owned();
        self.on_thread(move || context::open(&roots, &dockerfile)).await?.map_err(failure)
    }

    /// Reads the Dockerfile, and which images it names.
    ///
    /// # Errors
    /// A Dockerfile that cannot be read, or whose images cannot be determined.
    pub async fn read(&self, source: BuildContext) -> Result<ReadContext, Failure> {
        let read = self.on_thread(move || {
            let text = source.read_dockerfile(dockerfile::LIMIT).map_err(failure)?;
            let images = dockerfile::images(&text);
            Ok::<_, Failure>((source, text, images))
        });
        let (source, text, images) = read.await??;
        let images = images.map_err(|source| {
            let dockerfile = self.dockerfile.to_owned();
            BuildError::ImagesUnknown { dockerfile, source }
        })?;
        Ok(ReadContext { source, dockerfile: text, images })
    }

    /// Reads the context without sending it.
    pub(super) async fn digest(&self, source: BuildContext) -> Result<ContextDigest, Failure> {
        let (bounds, _guard) = self.bounds();
        self.on_thread(move || source.digest(&bounds)).await?.map_err(failure)
    }

    /// The limits of reading; the work ends when the guard is dropped.
    pub fn bounds(&self) -> (Bounds, tokio_util::sync::DropGuard) {
        let build = &self.config.build;
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        (Bounds { bytes: build.context_limit, timeout: build.context_timeout, cancelled }, guard)
    }

    /// Runs `work` where it may block, for as long as a context may take.
    ///
    /// # Errors
    /// `CONTEXT_INVALID` when it takes longer.
    pub async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let timeout = self.config.build.context_timeout + GRACE;
        let thread = tokio::task::spawn_blocking(work);
        let done = tokio::time::timeout(timeout, thread).await.map_err(|_| {
            BuildError::ContextStalled { dockerfile: self.dockerfile.to_owned(), timeout }
        })?;
        let what = || format!("Reading the context of {} failed", self.dockerfile.display());
        done.map_err(|error| CommonError::defect(what(), error).into())
    }
}

impl Build<'_> {
    /// Packs the context on a thread of its own and sends it as it comes.
    pub(super) async fn send_context(
        &self,
        source: BuildContext,
        pod: &Pod,
    ) -> Result<ContextDigest, Failure> {
        let reader = self.reader();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let (bounds, guard) = reader.bounds();
        let pack = reader.on_thread(move || {
            let summary = source.write_tar_gz(ChunkWriter::new(sender), &bounds)?;
            Ok(summary.digest)
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
}

/// A client that is gone is no fault of the context.
pub fn failure(error: ContextError) -> Failure {
    match error {
        ContextError::Cancelled => Failure::cancelled(),
        _ => error.into(),
    }
}
