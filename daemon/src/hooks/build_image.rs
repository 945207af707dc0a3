//! `build_image`: a Dockerfile becomes an image in the registry, by a Kaniko Job.
//!
//! The context goes to Kaniko's standard input. A Job whose context did not arrive whole is
//! thrown away and made again under the next name (`arrival.rs` decides that); from then on the Job ends
//! by itself, and its log and digest can be read by whoever asks.

use std::path::Path;

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::cluster::attach::{self, Pieces};
use crate::cluster::pod::{self, Ended};
use crate::cluster::watch::PodWatch;
use crate::cluster::{job, logs};
use crate::endpoint::EndpointConfig;
use crate::error::{Failure, Reason, report};
use crate::hooks::Context;
use crate::ids::StepId;
use crate::image::builds::{self, Fingerprint, Hashed};
use crate::image::registry::{self, Destination};
use crate::image::{context, group, verdict};
use crate::spec::{build_job, names};
use crate::step::caller::Caller;
use crate::step::cursor::{BuildPosition, BuiltReference, Cursor, LogPosition};
use crate::step::output;
use crate::step::start::{Awaited, started};

mod arrival;

mod endpoint;

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

/// How the builder ended.
enum Finished {
    /// Well.
    Ended(Ended),
    /// Without having had its whole context; why.
    WithoutContext(String),
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
    let (mut job, mut made_of) = match build.running_job(caller).await? {
        Some(job) => (job, None),
        None => match build.built_before(caller).await? {
            Some(image) => return Ok(image),
            None => build.start(caller).await?,
        },
    };
    let ended = loop {
        match build.finish(&job, caller).await? {
            Finished::Ended(ended) => break ended,
            Finished::WithoutContext(why) => {
                build.next_attempt(&why, caller).await?;
                (job, made_of) = build.start(caller).await?;
            }
        }
    };
    let digest = build.digest(&job, &ended)?;
    let image = BuiltReference { reference: build.destination.reference(&digest), digest };
    if let Some(made_of) = made_of {
        context.builds.add(dockerfile, made_of, image.clone());
    }
    caller.cursor.image = Some(image.clone());
    group::close(caller).await?;
    Ok(image)
}

impl Build<'_> {
    /// The image that an earlier step of this job, or another stage of its action, was built into.
    async fn built_before(&self, caller: &mut Caller) -> Result<Option<BuiltReference>, Failure> {
        if caller.cursor.build.is_some() || !self.context.builds.knows(self.dockerfile) {
            return Ok(None);
        }
        let source = self.open_context().await?;
        let limit = self.context.config.build.context_limit;
        let made_of = tokio::task::spawn_blocking(move || builds::fingerprint(&source, limit));
        let made_of = made_of
            .await
            .map_err(|error| Failure::internal("Reading the context failed").because(error))?
            .map_err(context_failure)?;
        let Some(image) = self.context.builds.find(self.dockerfile, &made_of) else {
            return Ok(None);
        };
        caller.cursor.image = Some(image.clone());
        let message = format!("{} is built already", self.dockerfile.display());
        caller.progress(Phase::BuildRunning, message).await?;
        Ok(Some(image))
    }

    /// The Job of an earlier call that has its whole context and so needs nothing but patience.
    async fn running_job(&self, caller: &mut Caller) -> Result<Option<Job>, Failure> {
        let Some(position) = caller.cursor.build.clone() else { return Ok(None) };
        let retry = self.context.retry();
        let name = names::build(&self.context.config.pod_name, self.step, position.attempt);
        let found = job::find(&self.context.jobs(), &name, &retry).await?;
        if position.context_sent && found.is_some() {
            return Ok(found);
        }
        self.next_attempt("hookd was interrupted while it sent it", caller).await?;
        Ok(None)
    }

    /// Gives this attempt up, because its context did not arrive whole, and counts on.
    async fn next_attempt(&self, why: &str, caller: &mut Caller) -> Result<(), Failure> {
        let position = caller.cursor.build.get_or_insert_default();
        let name = names::build(&self.context.config.pod_name, self.step, position.attempt);
        let attempt = position.attempt + 1;
        if attempt >= ATTEMPTS {
            return Err(Failure::new(
                Reason::ApiUnreachable,
                format!("The build context could not be sent to {ATTEMPTS} Jobs in turn: {why}"),
                "Look at the API server and at the kubelet of the build's node; run the job again",
            ));
        }
        let token = position.token.take();
        *position = BuildPosition { attempt, token, ..BuildPosition::default() };
        job::delete(&self.context.jobs(), &name, &self.context.retry()).await?;
        let message = "The build is started again: its context did not arrive whole";
        caller.progress(Phase::BuildPending, message).await
    }

    /// Makes Jobs until one has the whole context; and what that is made of, if it is known.
    async fn start(&self, caller: &mut Caller) -> Result<(Job, Option<Fingerprint>), Failure> {
        loop {
            // Read first: a context that cannot be read needs no Job.
            let source = self.open_context().await?;
            let (source, endpoint) = endpoint::of(self, source).await?;
            let job = self.create(source.dockerfile_name(), &endpoint, caller).await?;
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
            let made_of = match sent {
                Ok(made_of) => Some(made_of),
                Err(failure) if failure.reason != Reason::ContextInvalid => {
                    let words = report(&failure);
                    tracing::info!(error = words, "it is not known whether the context arrived");
                    if let Some(why) = self.lacks_context(&mut watch, &pod, &words).await {
                        self.next_attempt(&why, caller).await?;
                        continue;
                    }
                    None
                }
                Err(failure) => return Err(failure),
            };
            caller.cursor.build.get_or_insert_default().context_sent = true;
            caller.progress(Phase::BuildRunning, "").await?;
            return Ok((job, made_of));
        }
    }

    async fn open_context(&self) -> Result<context::BuildContext, Failure> {
        let roots = self.context.config.context_roots();
        let dockerfile = self.dockerfile.to_owned();
        let opened = tokio::task::spawn_blocking(move || context::open(&roots, &dockerfile));
        opened
            .await
            .map_err(|error| Failure::internal("Opening the context failed").because(error))?
            .map_err(context_failure)
    }

    async fn create(
        &self,
        dockerfile: &str,
        endpoint: &EndpointConfig,
        caller: &mut Caller,
    ) -> Result<Job, Failure> {
        let attempt = caller.cursor.build.get_or_insert_default().attempt;
        if let Err(error) = self.context.built_tags.add(self.step).await {
            tracing::warn!(error = report(&error), "the image of this build will stay");
        }
        let job = endpoint::job(self, attempt, dockerfile, endpoint).await?;
        job::create(&self.context.jobs(), &job, &self.context.retry()).await
    }

    /// Packs the context on a thread of its own and sends it as it comes.
    async fn send_context(
        &self,
        source: context::BuildContext,
        pod: &Pod,
    ) -> Result<Fingerprint, Failure> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let limit = self.context.config.build.context_limit;
        let pack = tokio::task::spawn_blocking(move || {
            let mut pieces = Hashed::new(Pieces::new(sender));
            source.write_tar_gz(&mut pieces, limit).map(|_| pieces.finish())
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
            Err(error @ context::ContextError::Output { .. }) => {
                sent.and_then(|()| Err(context_failure(error)))
            }
            Err(error) => Err(context_failure(error)),
            Ok(made_of) => sent.map(|()| made_of),
        }
    }

    /// Streams the log to its end.
    async fn finish(&self, job: &Job, caller: &mut Caller) -> Result<Finished, Failure> {
        let mut watch = PodWatch::of_job(self.context.pods(), &job.name_any());
        let awaited =
            Awaited { job: Some(job), container: build_job::CONTAINER, phase: Phase::BuildPending };
        let pod = started(self.context, &mut watch, awaited, caller).await?;
        let target = (job, &*pod.name_any(), build_job::CONTAINER);
        let shown = endpoint::shown(self).await;
        let place = (log_position as output::Place, Some(&shown));
        let ended = output::stream_shown(self.context, &mut watch, target, place, caller).await?;
        if ended.exit_code == 0 {
            return Ok(Finished::Ended(ended));
        }
        // Kaniko outlives a RUN that is killed for its memory, and ends with a code of its own.
        if ended.reason == pod::OOM_KILLED {
            return Err(pod::oom_failure(&pod, build_job::CONTAINER));
        }
        if let Some(why) = self.ended_without_context(&pod.name_any(), ended.exit_code).await {
            return Ok(Finished::WithoutContext(why));
        }
        let tail = self.tail(&pod.name_any()).await;
        let tail = shown.restore(&tail);
        Err(verdict::explain(self.dockerfile, &self.destination, ended.exit_code, &tail))
    }

    /// The end of the log, once more: what of it was streamed may have been so by another daemon.
    async fn tail(&self, pod: &str) -> String {
        let (retry, pods) = (self.context.retry(), self.context.pods());
        let container = (pod, build_job::CONTAINER);
        let tail = retry.attempt(|| logs::tail(&pods, container, TAIL_LINES)).await;
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

fn context_failure(error: context::ContextError) -> Failure {
    Failure::new(Reason::ContextInvalid, report(&error), error.remedy())
}
