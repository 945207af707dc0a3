//! The Job of a container step: its planning, its making, and its finding again.

use std::sync::atomic::Ordering;

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use tokio::sync::Semaphore;

use crate::blocking;
use crate::cluster::logs::LogPosition;
use crate::cluster::objects;
use crate::config::ContainerStepLauncher;
use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::objects::agent::Injection;
use crate::objects::container::ContainerStep;
use crate::objects::init;
use crate::objects::mounts;
use crate::objects::step_job::{self, JobSettings, Launch, Plan, ProcessLauncher};
use crate::placement::error::PlacementError;
use crate::placement::own_pod::service_network;
use crate::registry::image_config::ImageConfig;
use crate::runner::Runner;
use crate::session::cursor::RunPosition;
use crate::session::events::Session;
use crate::work_volume::files;
use crate::workload::quota::with_room;

/// A Secret, what is sent of it and what is answered take five times the environment.
static MAKING_SECRETS: Semaphore = Semaphore::const_new(2);

/// The Job of the step.
pub(super) struct Made {
    /// As the API server has it.
    pub(super) job: Job,
    /// The image's configuration, if stepd is to start the image's own program.
    pub(super) agent_launch: Option<ImageConfig>,
}

/// The step's Job, created now or found again. A Job that this client has seen and that is gone is
/// never made a second time, since its program may have run.
pub(super) async fn ensure(
    context: &Context,
    step: &StepId,
    spec: &ContainerStep,
    image: &str,
    session: &mut Session,
) -> Result<Made, Failure> {
    let runner = &context.cluster_info().await?.runner;
    if let Some(run) = session.cursor.run.clone() {
        return found_again(context, step, runner, run).await;
    }
    let (ready, agent_launch) =
        tokio::join!(make_ready(context, spec), agent_launch(context, spec, image));
    let (mounts, warnings) = ready?;
    for warning in step_job::warnings(runner, spec).into_iter().chain(warnings) {
        session.progress(Phase::RunPending, warning).await?;
    }
    let template = context.template()?;
    let services = service_network::host_aliases(context).await?;
    let settings = JobSettings {
        pull_secret: context.config.registry.secret.as_deref(),
        timeout: context.config.step_timeout,
        template: template.as_ref(),
        services: &services,
    };
    let launch = match &agent_launch {
        Some((image, _)) => Launch { image, launcher: ProcessLauncher::Agent },
        None => Launch { image, launcher: ProcessLauncher::Kubelet },
    };
    let plan = step_job::job(runner, step, spec, mounts, launch, settings)?;
    let mut wanted = warned(context, plan, session).await?;
    context.origin().mark_job(&mut wanted);
    if launch.launcher == ProcessLauncher::Kubelet {
        // Before the Job: a kubelet that asks for a Secret that is not there waits before it asks
        // again.
        make_secret(context, step, runner, spec, session).await?;
    }
    let (jobs, retry) = (context.cluster.jobs(), context.cluster.retry());
    let create = || objects::create(&jobs, &wanted, &retry);
    let made = with_room(&context.cluster, Phase::RunPending, session, create).await?;
    let job = awaiting(launch.launcher, made, runner)?;
    let agent_launch = agent_launch.map(|(_, config)| config);
    session.cursor.run = Some(RunPosition {
        job_uid: job.uid().unwrap_or_default(),
        agent_launch: agent_launch.clone(),
        built: None,
        before: session.sent(),
        log: LogPosition::default(),
    });
    session.checkpoint(Phase::RunPending).await?;
    Ok(Made { job, agent_launch })
}

/// Deletes a Job in which nothing has begun, so that the step can have another.
pub(super) async fn give_up(
    context: &Context,
    step: &StepId,
    session: &mut Session,
) -> Result<(), Failure> {
    let (jobs, runner) = (context.cluster.jobs(), &context.config.pod_name);
    let name = names::step(runner, step);
    objects::delete(&jobs, runner, &name, &context.cluster.retry()).await?;
    session.cursor.run = None;
    session.checkpoint(Phase::RunPending).await
}

/// The Job at which the step stood before.
async fn found_again(
    context: &Context,
    step: &StepId,
    runner: &Runner,
    run: RunPosition,
) -> Result<Made, Failure> {
    let name = names::step(&runner.name, step);
    let found = objects::find(&context.cluster.jobs(), &name, &context.cluster.retry()).await?;
    let found = found.filter(|job| job.uid().as_deref() == Some(&run.job_uid));
    let found = found.ok_or(PlacementError::JobGone { job: name })?;
    // The caller may have written the cursor: the Job says who starts its program.
    let launcher =
        if run.agent_launch.is_some() { ProcessLauncher::Agent } else { ProcessLauncher::Kubelet };
    Ok(Made { job: awaiting(launcher, found, runner)?, agent_launch: run.agent_launch })
}

/// The environment, for a kubelet.
async fn make_secret(
    context: &Context,
    step: &StepId,
    runner: &Runner,
    spec: &ContainerStep,
    session: &mut Session,
) -> Result<(), Failure> {
    let (secrets, retry) = (context.cluster.secrets(), context.cluster.retry());
    let create = || async {
        // No code closes it.
        let _making = MAKING_SECRETS.acquire().await;
        let mut secret = step_job::secret(runner, step, &spec.environment);
        context.origin().mark(&mut secret.metadata);
        objects::create(&secrets, &secret, &retry).await
    };
    with_room(&context.cluster, Phase::RunPending, session, create).await?;
    Ok(())
}

/// The planned Job, after its user was warned; of what an earlier step said nothing is said again.
async fn warned(context: &Context, plan: Plan, session: &mut Session) -> Result<Job, Failure> {
    for warning in context.warnings.only_new(plan.warnings) {
        session.progress(Phase::RunPending, format!("Warning: {warning}")).await?;
    }
    Ok(plan.job)
}

/// A Job that an earlier daemon made may await the other launcher, if the image's registry answered
/// one daemon only: neither would start its program then, or both would.
fn awaiting(launcher: ProcessLauncher, made: Job, runner: &Runner) -> Result<Job, Failure> {
    if step_job::launcher(&made, runner) == launcher {
        return Ok(made);
    }
    Err(PlacementError::LauncherChanged { job: made.name_any() }.into())
}

/// The image by its digest and its own program, if stepd can start the step.
async fn agent_launch(
    context: &Context,
    spec: &ContainerStep,
    image: &str,
) -> Option<(String, ImageConfig)> {
    let config = &context.config;
    let known = context.cached_cluster_info()?;
    if config.container_step_launcher != ContainerStepLauncher::Auto
        || known.injection(config) != Injection::ImageVolumes
        || context.lacks_image_volumes.load(Ordering::Relaxed)
    {
        return None;
    }
    let info = context.image(image, &[]).await?;
    // The kubelet says of an image without a program what is wrong.
    let command = info.config.command(spec.entry_point.as_deref(), &spec.args)?;
    if init::wants_pid_1(&command, &|name| spec.environment.contains_key(name)) {
        tracing::info!(image, "its program must be PID 1: the kubelet starts it");
        return None;
    }
    // hook resumes the step with it.
    if !RunPosition::has_room(&info.config) {
        tracing::info!(image, "its configuration is too large for a cursor: the kubelet starts it");
        return None;
    }
    Some((info.reference.clone(), info.config.clone()))
}

/// Prepares the runner's side of the step's mounts; warnings for the user.
async fn make_ready(
    context: &Context,
    spec: &ContainerStep,
) -> Result<(mounts::Mounts, Vec<String>), Failure> {
    let runner = &context.cluster_info().await?.runner;
    let (work_dir, work) = (&context.config.work_dir, runner.work.as_ref());
    let mut mounts = mounts::of_step(&spec.mounts, work_dir, work)?;
    mounts.add_user(names::STEP_CONTAINER, &spec.volumes.volumes, work_dir, work)?;
    if !mounts.directories.is_empty() {
        runner.check_work()?;
    }
    let directories = mounts.directories.clone();
    let given = spec.mounts.clone();
    let environment = files::paths(&spec.environment);
    let work_dir = context.config.work_dir.clone();
    let warnings: Result<_, Failure> =
        blocking::run(blocking::DEADLINE, "Making the step's directories", move || {
            let warnings = files::make_directories(&work_dir, &directories)?;
            files::open_to_all(&given, &environment, &work_dir);
            Ok(warnings)
        })
        .await?;
    Ok((mounts, warnings?))
}
