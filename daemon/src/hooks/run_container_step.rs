//! `run_container_step`: builds the image if need be, runs it as a Job, streams its log, and
//! returns its exit code.

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use crate::cluster::job;
use crate::cluster::watch::PodWatch;
use crate::error::{Failure, Reason};
use crate::hooks::{Context, build_image};
use crate::ids::StepId;
use crate::spec::container::{ContainerStep, Source};
use crate::spec::{mounts, names, step_job};
use crate::step::caller::Caller;
use crate::step::cursor::{LogPosition, RunPosition};
use crate::step::start::{Awaited, started};
use crate::step::{files, output};

/// Runs the step; its exit code.
///
/// # Errors
/// Why its program did not run to its end.
pub async fn run(
    context: &Context,
    step: &StepId,
    spec: &ContainerStep,
    caller: &mut Caller,
) -> Result<i32, Failure> {
    let image = match &spec.source {
        Source::Image(image) => image.clone(),
        Source::Dockerfile(path) => {
            build_image::build(context, step, path, caller).await?.reference
        }
    };
    let job = ensure_job(context, step, spec, &image, caller).await?;
    let mut watch = PodWatch::of_job(context.pods(), &job.name_any());
    let awaited =
        Awaited { job: Some(&job), container: step_job::CONTAINER, phase: Phase::RunPending };
    let pod = started(context, &mut watch, awaited, caller).await?;
    let target = (&job, &*pod.name_any(), step_job::CONTAINER);
    let ended = output::stream(context, &mut watch, target, log_position, caller).await?;
    Ok(ended.exit_code)
}

fn log_position(cursor: &mut crate::step::cursor::Cursor) -> Option<&mut LogPosition> {
    cursor.run.as_mut().map(|run| &mut run.log)
}

/// The step's Job: created now, or found again. A Job that this caller has seen and that is gone
/// is never made a second time, since its program may have run.
async fn ensure_job(
    context: &Context,
    step: &StepId,
    spec: &ContainerStep,
    image: &str,
    caller: &mut Caller,
) -> Result<Job, Failure> {
    let runner = &context.known().await?.runner;
    let retry = context.retry();
    let name = names::step(&runner.name, step);
    if let Some(run) = &caller.cursor.run {
        let found = job::find(&context.jobs(), &name, &retry).await?;
        return found
            .filter(|job| job.uid().as_deref() == Some(&run.job_uid))
            .ok_or_else(|| lost(&name));
    }
    let mounts = make_ready(context, spec).await?;
    let limits = (context.config.registry.secret.as_deref(), context.config.step_timeout);
    let wanted = step_job::job(runner, step, spec, mounts, image, limits);
    let secret = step_job::secret(runner, step, &spec.environment);
    // The kubelet asks for the Secret long after both are there.
    let (jobs, secrets) = (context.jobs(), context.secrets());
    let (job, secret) =
        tokio::join!(job::create(&jobs, &wanted, &retry), job::create(&secrets, &secret, &retry));
    let (job, _) = (job?, secret?);
    let job_uid = job.uid().unwrap_or_default();
    caller.cursor.run = Some(RunPosition { job_uid, log: LogPosition::default() });
    caller.progress(Phase::RunPending, "").await?;
    Ok(job)
}

/// Prepares the runner's side of the step's mounts.
async fn make_ready(context: &Context, spec: &ContainerStep) -> Result<mounts::Mounts, Failure> {
    let work = context.known().await?.runner.work.as_ref();
    let mounts = mounts::of_step(&spec.mounts, &context.config.work_dir, work)?;
    let directories = mounts.directories.clone();
    let (given, environment) = (spec.mounts.clone(), spec.environment.clone());
    let work_dir = context.config.work_dir.clone();
    let made = tokio::task::spawn_blocking(move || {
        files::make_directories(&directories)?;
        files::open_to_all(&given, &environment, &work_dir)
    });
    made.await.map_err(|error| Failure::internal("Making directories failed").because(error))??;
    Ok(mounts)
}

fn lost(name: &str) -> Failure {
    Failure::new(
        Reason::StepLost,
        format!("Job {name} of this step is gone"),
        "Look in the cluster's audit log for who deleted it; run the job again",
    )
}
