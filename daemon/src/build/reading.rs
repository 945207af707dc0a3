//! Reads the context, on threads that end with the step, and sends it to a pod.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::Build;
use crate::build::builder::Builder;
use crate::build::context::{
    self, Bounds, BuildContext, ContextDigest, ContextError, ContextSummary, Files,
};
use crate::build::error::BuildError;
use crate::cluster::ContainerRef;
use crate::cluster::exec::stdin::{self, ChunkWriter};
use crate::config::Config;
use crate::dockerfile::{self, Lowered};
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
    /// What builds it.
    pub builder: &'static dyn Builder,
    /// The Dockerfile.
    pub dockerfile: &'a Path,
}

/// A context that is open, with what the builder is to do with it.
#[derive(Debug)]
pub struct ReadContext {
    /// The context, with the Dockerfile that the builder reads.
    pub source: BuildContext,
    /// The images that it names.
    pub images: Vec<NamedImage>,
    /// What the image will differ in from docker's, a line each.
    pub warnings: Vec<String>,
    /// Why none of its layers may be taken from a cache.
    pub uncacheable: Option<&'static str>,
}

impl ContextReader<'_> {
    /// Opens the Dockerfile's directory, and reads the Dockerfile.
    ///
    /// # Errors
    /// As [`context::open`]; a Dockerfile whose images cannot be determined, or that the builder would not
    /// build as docker does.
    pub async fn read(&self) -> Result<ReadContext, Failure> {
        self.read_for(|lowered| lowered).await
    }

    /// As [`ContextReader::read`], with a Dockerfile that is changed once more.
    ///
    /// # Errors
    /// As [`ContextReader::read`].
    pub async fn read_for(
        &self,
        change: impl FnOnce(Lowered) -> Lowered + Send + 'static,
    ) -> Result<ReadContext, Failure> {
        let roots = self.config.context_roots();
        let dockerfile = self.dockerfile.to_owned();
        let is_strict = self.config.build.strict;
        let (builder, settings) = (self.builder, self.config.build.clone());
        let (bounds, _guard) = self.bounds();
        let read = self.on_thread(move || {
            let mut source = context::open(&roots, &dockerfile).map_err(failure)?;
            let text = source.read_dockerfile(dockerfile::LIMIT).map_err(failure)?;
            let unknown =
                |source| BuildError::ImagesUnknown { dockerfile: dockerfile.clone(), source };
            let images = dockerfile::images(&text).map_err(unknown)?;
            let refused =
                |source| BuildError::Unsupported { dockerfile: dockerfile.clone(), source };
            let files = Files::of(&source, &bounds);
            let lowered = builder.dockerfile(&text, &files, &settings).map_err(refused)?;
            if let Some(first) = lowered.warnings.first().filter(|_| is_strict) {
                return Err(refused(first.clone().into()).into());
            }
            let name = source.dockerfile_name();
            let warnings = lowered.warnings.iter().map(|warning| warning.of(name)).collect();
            let uncacheable = builder.uncacheable(&lowered, &settings);
            source.add(change(lowered).into_files());
            Ok::<_, Failure>(ReadContext { source, images, warnings, uncacheable })
        });
        read.await?
    }

    /// Reads the context without sending it.
    pub(super) async fn survey(&self, source: BuildContext) -> Result<ContextSummary, Failure> {
        let (bounds, _guard) = self.bounds();
        self.on_thread(move || source.survey(&bounds)).await?.map_err(failure)
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
