//! `run_container_step`: builds the image if need be, runs it as a Job, and returns its exit code.
//!
//! Where the image's own program is known, stepd starts the step in the Job's pod: then its
//! environment is nowhere in the cluster, its two streams stay apart, and its end is known at once.
//! Elsewhere the kubelet starts it, with the environment from a Secret, and its log is followed.

use std::sync::atomic::Ordering;

use hookd_api::stepd::v1::StartStepRequest;
use hookd_api::v1::{Phase, Stream};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use tokio::sync::Semaphore;

use crate::blocking;
use crate::cluster::watch::PodWatch;
use crate::cluster::{job, pod};
use crate::config::ContainerSteps;
use crate::error::{Failure, Reason};
use crate::hooks::{Context, build_image, service_network};
use crate::ids::StepId;
use crate::image::lookup::ImageConfig;
use crate::runner::Runner;
use crate::spec::container::{ContainerStep, Source};
use crate::spec::step_job::{self, JobSettings, Plan, Starter};
use crate::spec::tools::Delivery;
use crate::spec::{init, mounts, names};
use crate::step::agents::AgentPod;
use crate::step::caller::Caller;
use crate::step::cursor::{LogPosition, RunPosition};
use crate::step::output::{self, Place};
use crate::step::room::with_room;
use crate::step::start::{self, Awaited, started};
use crate::step::{action_args, ended_services, files, program};

/// A Secret, what is sent of it and what is answered take five times the environment.
static MAKING_SECRETS: Semaphore = Semaphore::const_new(2);

/// The program's log: the kubelet keeps its two streams as one.
const LOG: Place<'static> = Place { stream: Stream::Stdout, position: log_position, shown: None };

/// Runs the step; its exit code.
///
/// # Errors
/// Why its program did not run to its end.
pub async fn run(
    context: &Context,
    step: &StepId,
    spec: ContainerStep,
    caller: &mut Caller,
) -> Result<i32, Failure> {
    spec.options.check(step_job::CONTAINER, &context.config.policy)?;
    ended_services::report(context, caller).await?;
    let spec = with_whole_args(context, spec).await?;
    let image = match &spec.source {
        Source::Image(image) => image.clone(),
        Source::Dockerfile(path) => {
            build_image::build(context, step, path, caller).await?.reference
        }
    };
    let (job, by_stepd) = ensure_job(context, step, &spec, &image, caller).await?;
    caller.settled();
    let mut watch = PodWatch::of_job(context.pods(), &job.name_any());
    let awaited =
        Awaited { job: Some(&job), container: step_job::CONTAINER, phase: Phase::RunPending };
    let name = started(context, &mut watch, awaited, caller).await?.name_any();
    if let Some(config) = by_stepd {
        let before = caller.cursor.run.as_ref().map(|run| run.before).unwrap_or_default();
        let pod = AgentPod::new(context, (&name, step_job::CONTAINER), watch);
        let program = program_of(step, spec, &config)?;
        return match program::run(context, &pod, (&program, before), caller).await {
            Err(failure) => Err(start::loss(context, &job, failure).await),
            ended => ended,
        };
    }
    let target = (&job, &*name, step_job::CONTAINER);
    let ended = output::stream(context, &mut watch, target, LOG, caller).await?;
    if ended.reason == pod::OOM_KILLED {
        let message = pod::oom_note(&watch.now(), step_job::CONTAINER);
        caller.progress(Phase::RunRunning, message).await?;
    }
    Ok(ended.exit_code)
}

/// The step with its arguments as they were before the runner cut them.
async fn with_whole_args(
    context: &Context,
    mut spec: ContainerStep,
) -> Result<ContainerStep, Failure> {
    let roots = context.config.context_roots();
    let work_dir = context.config.work_dir.clone();
    blocking::run(blocking::DEADLINE, "Reading the action's definition", move || {
        spec.args = action_args::whole(&spec, &work_dir, &roots);
        spec.pieces = Vec::new();
        spec
    })
    .await
}

fn log_position(cursor: &mut crate::step::cursor::Cursor) -> Option<&mut LogPosition> {
    cursor.run.as_mut().map(|run| &mut run.log)
}

/// The step's Job, created now or found again; and the image's own program if stepd is to start the
/// step. A Job that this caller has seen and that is gone is never made a second time, since its
/// program may have run.
async fn ensure_job(
    context: &Context,
    step: &StepId,
    spec: &ContainerStep,
    image: &str,
    caller: &mut Caller,
) -> Result<(Job, Option<ImageConfig>), Failure> {
    let runner = &context.known().await?.runner;
    let retry = context.retry();
    let name = names::step(&runner.name, step);
    if let Some(run) = caller.cursor.run.clone() {
        let found = job::find(&context.jobs(), &name, &retry).await?;
        let found = found.filter(|job| job.uid().as_deref() == Some(&run.job_uid));
        let found = found.ok_or_else(|| lost(&name))?;
        // Whoever calls may have written the cursor: the Job says who starts its program.
        let starter = if run.by_stepd.is_some() { Starter::Stepd } else { Starter::Kubelet };
        return Ok((awaiting(starter, found, runner)?, run.by_stepd));
    }
    let (ready, by_stepd) = tokio::join!(make_ready(context, spec), by_stepd(context, spec, image));
    let (mounts, warnings) = ready?;
    for warning in step_job::notes(runner, spec).into_iter().chain(warnings) {
        caller.progress(Phase::RunPending, warning).await?;
    }
    let template = context.template()?;
    let services = service_network::host_aliases(context).await?;
    let settings = JobSettings {
        pull_secret: context.config.registry.secret.as_deref(),
        timeout: context.config.step_timeout,
        template: template.as_ref(),
        services: &services,
    };
    let (jobs, secrets) = (context.jobs(), context.secrets());
    let job = if let Some((image, _)) = &by_stepd {
        let image = (image.as_str(), Starter::Stepd);
        let plan = step_job::job(runner, step, spec, mounts, image, settings)?;
        let wanted = warned(context, plan, caller).await?;
        let create = || job::create(&jobs, &wanted, &retry);
        let made = with_room(context, Phase::RunPending, caller, create).await?;
        awaiting(Starter::Stepd, made, runner)?
    } else {
        let image = (image, Starter::Kubelet);
        let plan = step_job::job(runner, step, spec, mounts, image, settings)?;
        let wanted = warned(context, plan, caller).await?;
        // Before the Job: a kubelet that asks for a Secret that is not there waits before it asks
        // again.
        let create = || async {
            // Nobody closes it.
            let _making = MAKING_SECRETS.acquire().await;
            let secret = step_job::secret(runner, step, &spec.environment);
            job::create(&secrets, &secret, &retry).await
        };
        with_room(context, Phase::RunPending, caller, create).await?;
        let create = || job::create(&jobs, &wanted, &retry);
        let made = with_room(context, Phase::RunPending, caller, create).await?;
        awaiting(Starter::Kubelet, made, runner)?
    };
    let by_stepd = by_stepd.map(|(_, config)| config);
    caller.cursor.run = Some(RunPosition {
        job_uid: job.uid().unwrap_or_default(),
        by_stepd: by_stepd.clone(),
        before: caller.sent(),
        log: LogPosition::default(),
    });
    caller.progress(Phase::RunPending, "").await?;
    Ok((job, by_stepd))
}

/// The planned Job, after its user was warned; of what an earlier step said nothing is said again.
async fn warned(context: &Context, plan: Plan, caller: &mut Caller) -> Result<Job, Failure> {
    for warning in context.new_warnings(plan.warnings) {
        caller.progress(Phase::RunPending, format!("Warning: {warning}")).await?;
    }
    Ok(plan.job)
}

/// A Job that an earlier daemon made may await the other starter, if the image's registry answered
/// one daemon only: nobody would start its program then, or two would.
fn awaiting(starter: Starter, made: Job, runner: &Runner) -> Result<Job, Failure> {
    if step_job::starter(&made, runner) == starter {
        return Ok(made);
    }
    let name = made.metadata.name.as_deref().unwrap_or_default();
    Err(Failure::new(
        Reason::StepLost,
        format!("Job {name} was made by a hookd that knew more, or less, of the step's image"),
        "Look whether the image's registry answers hookd; run the job again",
    ))
}

/// The image by its digest and its own program, if stepd can start the step.
async fn by_stepd(
    context: &Context,
    spec: &ContainerStep,
    image: &str,
) -> Option<(String, ImageConfig)> {
    let config = &context.config;
    let known = context.known_so_far()?;
    if config.container_steps != ContainerSteps::Auto
        || known.delivery(config) != Delivery::ImageVolumes
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

fn program_of(
    step: &StepId,
    spec: ContainerStep,
    config: &ImageConfig,
) -> Result<StartStepRequest, Failure> {
    let argv = config.command(spec.entry_point.as_deref(), &spec.args).ok_or_else(|| {
        Failure::internal("The program of the step's image is not known any more")
    })?;
    Ok(StartStepRequest {
        step_id: step.to_string(),
        argv,
        environment: spec.environment.into_iter().collect(),
        working_directory: spec.working_directory.unwrap_or_default(),
        prepend_path: Vec::new(),
    })
}

/// Prepares the runner's side of the step's mounts; warnings for the user.
async fn make_ready(
    context: &Context,
    spec: &ContainerStep,
) -> Result<(mounts::Mounts, Vec<String>), Failure> {
    let runner = &context.known().await?.runner;
    let (work_dir, work) = (&context.config.work_dir, runner.work.as_ref());
    let mut mounts = mounts::of_step(&spec.mounts, work_dir, work)?;
    mounts.add_user(step_job::CONTAINER, &spec.volumes.volumes, work_dir, work)?;
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

fn lost(name: &str) -> Failure {
    Failure::new(
        Reason::StepLost,
        format!("Job {name} of this step is gone"),
        "Look in the cluster's audit log for who deleted it; run the job again",
    )
}
