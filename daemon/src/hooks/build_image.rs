//! `build_image`: a Dockerfile becomes an image in the registry, by a Kaniko Job.
//!
//! The context goes to Kaniko's standard input. A Job whose context did not arrive whole is
//! thrown away and made again under the next name; from then on the Job ends by itself, and its
//! log and digest can be had by whoever asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::LogParams;

use crate::cluster::pod::{self, Ended, Standing};
use crate::cluster::watch::{PodWatch, Seen};
use crate::cluster::{attach, job};
use crate::error::{Failure, Reason, report};
use crate::hooks::Context;
use crate::ids::StepId;
use crate::image::registry::{self, Destination};
use crate::image::{context, group, verdict};
use crate::spec::{build_job, names};
use crate::step::caller::Caller;
use crate::step::cursor::{BuildPosition, BuiltReference, Cursor, LogPosition};
use crate::step::output;
use crate::step::start::{Awaited, started};

/// Jobs tried for one build, should the context not arrive.
pub const ATTEMPTS: u32 = 3;
/// Lines of the log in which the reason of a failure stands.
const TAIL_LINES: i64 = 200;

/// What is built and where to.
struct Build<'a> {
    context: &'a Context,
    step: &'a StepId,
    dockerfile: &'a Path,
    destination: Destination,
}

/// Builds the image, or finds it built.
///
/// # Errors
/// Why there is no image.
pub async fn build(
    context: &Context,
    step: &StepId,
    dockerfile: &Path,
    caller: &mut Caller,
) -> Result<BuiltReference, Failure> {
    if let Some(image) = &caller.cursor.image {
        return Ok(image.clone());
    }
    let destination = registry::destination(&context.config.registry, step)?;
    let build = Build { context, step, dockerfile, destination };
    let job = match build.running_job(caller).await? {
        Some(job) => job,
        None => build.start(caller).await?,
    };
    let ended = build.finish(&job, caller).await?;
    let digest = build.digest(&job, &ended)?;
    let image = BuiltReference { reference: build.destination.reference(&digest), digest };
    caller.cursor.image = Some(image.clone());
    group::close(caller).await?;
    Ok(image)
}

impl Build<'_> {
    /// The Job of an earlier call that has its whole context and so needs nothing but patience.
    async fn running_job(&self, caller: &mut Caller) -> Result<Option<Job>, Failure> {
        let Some(position) = caller.cursor.build.clone() else { return Ok(None) };
        let retry = self.context.retry();
        let name = names::build(&self.context.config.pod_name, self.step, position.attempt);
        let found = job::find(&self.context.jobs(), &name, &retry).await?;
        if position.context_sent && found.is_some() {
            return Ok(found);
        }
        self.next_attempt(caller).await?;
        Ok(None)
    }

    /// Gives this attempt up and counts on.
    async fn next_attempt(&self, caller: &mut Caller) -> Result<(), Failure> {
        let position = caller.cursor.build.get_or_insert_default();
        let name = names::build(&self.context.config.pod_name, self.step, position.attempt);
        let attempt = position.attempt + 1;
        if attempt >= ATTEMPTS {
            return Err(Failure::new(
                Reason::ApiUnreachable,
                format!("The build context could not be sent to {ATTEMPTS} Jobs in turn"),
                "Look at the API server and at the kubelet of the build's node; run the job again",
            ));
        }
        let token = position.token.take();
        *position = BuildPosition { attempt, token, ..BuildPosition::default() };
        job::delete(&self.context.jobs(), &name, &self.context.retry()).await?;
        let message = "The build is started again: its context did not arrive whole";
        caller.progress(Phase::BuildPending, message).await
    }

    /// Makes Jobs until one has the whole context.
    async fn start(&self, caller: &mut Caller) -> Result<Job, Failure> {
        loop {
            // Read first: a context that cannot be read needs no Job.
            let source = self.open_context().await?;
            let job = self.create(source.dockerfile_name(), caller).await?;
            group::open(self.dockerfile, &self.context.config.build.kaniko_image, &job, caller)
                .await?;
            let mut watch = PodWatch::of_job(self.context.pods(), &job.name_any());
            let awaited = Awaited {
                job: Some(&job),
                container: build_job::CONTAINER,
                phase: Phase::BuildPending,
            };
            let pod = started(self.context, &mut watch, awaited, caller).await?;
            let sent = self.send_context(source, &pod).await;
            match sent {
                Ok(()) => {}
                // Kaniko looks at the registry before it reads: it may have ended already.
                Err(failure) if failure.reason != Reason::ContextInvalid => {
                    tracing::info!(error = report(&failure), "the context was not taken whole");
                    let ended = ends_soon(&mut watch).await;
                    if !ended || verdict::lacks_context(&self.tail(&pod.name_any()).await) {
                        self.next_attempt(caller).await?;
                        continue;
                    }
                }
                Err(failure) => return Err(failure),
            }
            caller.cursor.build.get_or_insert_default().context_sent = true;
            caller.progress(Phase::BuildRunning, "").await?;
            return Ok(job);
        }
    }

    async fn open_context(&self) -> Result<context::BuildContext, Failure> {
        let config = &self.context.config;
        let roots: Vec<PathBuf> =
            std::iter::once(&config.work_dir).chain(&config.context_dirs).cloned().collect();
        let dockerfile = self.dockerfile.to_owned();
        let opened = tokio::task::spawn_blocking(move || context::open(&roots, &dockerfile));
        opened
            .await
            .map_err(|error| Failure::internal("Opening the context failed").because(error))?
            .map_err(context_failure)
    }

    async fn create(&self, dockerfile: &str, caller: &mut Caller) -> Result<Job, Failure> {
        let runner = &self.context.known().await?.runner;
        let attempt = caller.cursor.build.get_or_insert_default().attempt;
        let config = &self.context.config;
        let job = build_job::job(
            runner,
            (self.step, attempt),
            dockerfile,
            &self.destination,
            &config.registry,
            &config.build,
        );
        job::create(&self.context.jobs(), &job, &self.context.retry()).await
    }

    /// Packs the context on a thread of its own and sends it as it comes.
    async fn send_context(&self, source: context::BuildContext, pod: &Pod) -> Result<(), Failure> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let limit = self.context.config.build.context_limit;
        let pack = tokio::task::spawn_blocking(move || {
            source.write_tar_gz(Pieces { sender, buffer: Vec::new() }, limit)
        });
        let (client, namespace) = (&self.context.client, &self.context.namespace);
        let pod = pod.name_any();
        let sent =
            attach::send_stdin(client, namespace, &pod, build_job::CONTAINER, receiver).await;
        let packed = pack
            .await
            .map_err(|error| Failure::internal("Packing the context failed").because(error))?;
        match packed {
            // The connection broke, and with it the pipe that the context was written to.
            Err(context::ContextError::Output { .. }) if sent.is_err() => sent,
            Err(error) => Err(context_failure(error)),
            Ok(_) => sent,
        }
    }

    /// Streams the log to its end.
    async fn finish(&self, job: &Job, caller: &mut Caller) -> Result<Ended, Failure> {
        let mut watch = PodWatch::of_job(self.context.pods(), &job.name_any());
        let awaited =
            Awaited { job: Some(job), container: build_job::CONTAINER, phase: Phase::BuildPending };
        let pod = started(self.context, &mut watch, awaited, caller).await?;
        let target = (job, &*pod.name_any(), build_job::CONTAINER);
        let ended = output::stream(self.context, &mut watch, target, log_position, caller).await?;
        if ended.exit_code == 0 {
            return Ok(ended);
        }
        let tail = self.tail(&pod.name_any()).await;
        Err(verdict::explain(self.dockerfile, &self.destination, ended.exit_code, &tail))
    }

    /// The end of the log, once more: what of it was streamed may have been so by another daemon.
    async fn tail(&self, pod: &str) -> String {
        let params = LogParams {
            container: Some(build_job::CONTAINER.to_owned()),
            tail_lines: Some(TAIL_LINES),
            ..LogParams::default()
        };
        let retry = self.context.retry();
        let pods = self.context.pods();
        let tail = retry.attempt(|| pods.logs(pod, &params)).await;
        tail.unwrap_or_else(|error| format!("(the log cannot be read: {})", report(&error)))
    }

    fn digest(&self, job: &Job, ended: &Ended) -> Result<String, Failure> {
        let digest = ended.message.trim();
        if digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64) {
            return Ok(digest.to_owned());
        }
        Err(Failure::new(
            Reason::BuildFailed,
            format!(
                "Kaniko in Job {} ended well and told no digest, but {digest:?}",
                job.name_any()
            ),
            "Use a Kaniko image that knows --digest-file, such as the default of HOOKD_KANIKO_IMAGE",
        ))
    }
}

fn log_position(cursor: &mut Cursor) -> Option<&mut LogPosition> {
    cursor.build.as_mut().map(|build| &mut build.log)
}

/// True if the container has ended or does within a few seconds.
async fn ends_soon(watch: &mut PodWatch) -> bool {
    let over = |seen: &Seen| match seen {
        Seen::Pod(pod) => {
            matches!(
                pod::standing(pod, build_job::CONTAINER),
                Standing::Ended(_) | Standing::Doomed(_)
            )
        }
        Seen::Gone | Seen::NotYet => false,
    };
    tokio::time::timeout(Duration::from_secs(3), watch.until(over)).await.is_ok()
}

fn context_failure(error: context::ContextError) -> Failure {
    Failure::new(Reason::ContextInvalid, report(&error), error.remedy())
}

/// A writer into a channel, in pieces that are worth a message.
struct Pieces {
    sender: tokio::sync::mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pieces {
    const SIZE: usize = 64 << 10;
}

impl std::io::Write for Pieces {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= Self::SIZE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        if piece.is_empty() {
            return Ok(());
        }
        let sent = self.sender.blocking_send(piece);
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // The reader is gone if this fails, and has said so.
        let _ = std::io::Write::flush(self);
    }
}
