//! A container step: one more container of the runner pod, for as long as its program runs.

use std::sync::{Arc, Mutex, PoisonError};

use hookd_api::stepd::v1::StartStepRequest;
use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::containers::{self, Preparation};
use super::job::with_work;
use super::record::Record;
use crate::blocking;
use crate::cluster::logs::LogPosition;
use crate::context::Context;
use crate::error::{CommonError, Failure, report};
use crate::names;
use crate::objects::container::ContainerStep;
use crate::objects::docker::options::ContainerKind;
use crate::objects::ephemeral::{self, Lowered, Request};
use crate::objects::mounts;
use crate::objects::step_job;
use crate::objects::template::Target;
use crate::placement::Call;
use crate::placement::error::PlacementError;
use crate::registry::resolver::ImageInfo;
use crate::runner::job_volumes::{self, JobVolumes};
use crate::session::age;
use crate::session::cursor::RunPosition;
use crate::session::events::Session;
use crate::stepd::pods::AgentAddress;
use crate::stepd::program::{self, Program};
use crate::work_volume::files;

/// Runs the image; its exit code.
pub(super) async fn run(
    call: Call<'_>,
    spec: ContainerStep,
    image: String,
    session: &mut Session,
) -> Result<i32, Failure> {
    let Call { context, step } = call;
    let volumes = containers::volumes(context).await?;
    let address = containers::address(context, job_volumes::STEPS, &names::step_container(step));
    let watch = context.agents.for_job().watch();
    let config = match session.cursor.run.clone() {
        // Its container was made: a program that may have run is never started a second time.
        Some(run) => run.agent_launch.unwrap_or_default(),
        None => {
            let info = context.image(&image, &[]).await;
            let info = info.ok_or_else(|| PlacementError::ImageUnknown { image: image.clone() })?;
            add(call, &spec, &info, volumes, &address, session).await?;
            info.config.clone()
        }
    };
    session.settled();
    containers::listening(context, &address, &watch, session).await?;
    let argv = config.command(spec.entry_point.as_deref(), &spec.args);
    let argv = argv.ok_or(PlacementError::NoProgram { image })?;
    let before = session.cursor.run.as_ref().map(|run| run.before).unwrap_or_default();
    let mut environment = spec.environment;
    if let Some(directory) = &spec.working_directory {
        // `/github/workspace` is a link: shells call the directory as their environment does.
        environment.entry("PWD".to_owned()).or_insert_with(|| directory.clone());
    }
    let start = StartStepRequest {
        step_id: step.to_string(),
        argv,
        environment: environment.into_iter().collect(),
        working_directory: spec.working_directory.unwrap_or_default(),
        prepend_path: Vec::new(),
        is_main: false,
    };
    let limit = context.config.step_timeout;
    let left = limit.saturating_sub(age::of(session).await?);
    let pod = context.agents.hold(&address);
    let ended = program::run(&pod, Program { start: &start, before }, session);
    let late = |_| Err(PlacementError::StepLate { limit }.into());
    tokio::time::timeout(left, ended).await.unwrap_or_else(late)
}

/// Adds the container of the step to the pod.
async fn add(
    call: Call<'_>,
    spec: &ContainerStep,
    image: &Arc<ImageInfo>,
    volumes: &JobVolumes,
    address: &AgentAddress,
    session: &mut Session,
) -> Result<(), Failure> {
    let Call { context, .. } = call;
    if !RunPosition::has_room(&image.config) {
        return Err(PlacementError::ImageUnknown { image: image.reference.clone() }.into());
    }
    let (lowered, mut preparation) = lower(call, spec, image, volumes, address).await?;
    preparation.agents.extend(address.socket.clone());
    let runner = &context.cluster_info().await?.runner;
    let warnings = step_job::warnings(runner, spec).into_iter();
    let warnings =
        warnings.chain(lowered.warnings).chain(preparation.make(context).await?).collect();
    for note in context.warnings.only_new(warnings) {
        session.progress(Phase::RunPending, note).await?;
    }
    open_files(context, spec).await?;
    containers::add(context, std::slice::from_ref(&lowered.container)).await?;
    session.cursor.run = Some(RunPosition {
        job_uid: address.container.clone(),
        agent_launch: Some(image.config.clone()),
        before: session.sent(),
        log: LogPosition::default(),
    });
    session.checkpoint(Phase::RunPending).await
}

async fn lower(
    call: Call<'_>,
    spec: &ContainerStep,
    image: &ImageInfo,
    volumes: &JobVolumes,
    address: &AgentAddress,
) -> Result<(Lowered, Preparation), Failure> {
    let Call { context, .. } = call;
    let runner = with_work(&context.cluster_info().await?.runner);
    let (work_dir, work) = (&context.config.work_dir, runner.work.as_ref());
    let mut mounts = mounts::of_step(&spec.mounts, work_dir, work)?;
    mounts.add_user(names::STEP_CONTAINER, &spec.volumes.volumes, work_dir, work)?;
    let mut container = Container {
        name: names::STEP_CONTAINER.to_owned(),
        image: Some(image.reference.clone()),
        volume_mounts: Some(mounts.mounts),
        ..Container::default()
    };
    spec.options.apply(&mut container, ContainerKind::Step, None);
    let spec = PodSpec {
        containers: vec![container],
        volumes: Some(mounts.volumes),
        ..step_job::base_pod()
    };
    let (spec, warnings) = templated(context, spec)?;
    let container = spec.containers.iter().find(|one| one.name == names::STEP_CONTAINER);
    let container = container.ok_or_else(|| PlacementError::NotPlanned {
        container: names::STEP_CONTAINER.to_owned(),
    })?;
    let request = Request {
        container,
        volumes: spec.volumes.as_deref().unwrap_or_default(),
        name: &address.container,
        agent: &volumes.agents.steps,
        secret: "",
    };
    let mut lowered = with_volumes(context, request, volumes)?;
    let own = [names::STEP_CONTAINER.to_owned()];
    lowered.warnings.extend(ephemeral::unused_of_pod(&spec, &own)?);
    lowered.warnings.extend(warnings);
    let preparation = Preparation {
        links: std::mem::take(&mut lowered.links),
        directories: mounts.directories,
        ..Preparation::default()
    };
    Ok((lowered, preparation))
}

/// Makes it a container of the runner pod; the record keeps the volumes that it gets.
fn with_volumes(
    context: &Context,
    request: Request<'_>,
    volumes: &JobVolumes,
) -> Result<Lowered, Failure> {
    // Steps side by side get different ones.
    static RECORD: Mutex<()> = Mutex::new(());
    let _recording = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut record = Record::load(&context.config.socket_dir);
    let given = record.spare.clone();
    let lowered = ephemeral::lower(request, volumes, &mut record.spare)?;
    if record.spare != given {
        let saved = record.save(&context.config.socket_dir);
        saved.map_err(|error| CommonError::defect("The job's record cannot be written", error))?;
    }
    Ok(lowered)
}

/// The pod that the step would have of its own, as the administrator's template has it; and lines for the
/// user.
fn templated(context: &Context, spec: PodSpec) -> Result<(PodSpec, Vec<String>), Failure> {
    let Some(template) = context.template()? else { return Ok((spec, Vec::new())) };
    let merged = template.merge(Pod { spec: Some(spec), ..Pod::default() }, Target::StepPod)?;
    let warnings = template.warnings().iter().cloned().chain(merged.warnings).collect();
    Ok((merged.pod.spec.unwrap_or_default(), warnings))
}

/// Lets the step's user write to what the step writes to.
async fn open_files(context: &Context, spec: &ContainerStep) -> Result<(), Failure> {
    let (given, environment) = (spec.mounts.clone(), files::paths(&spec.environment));
    let work_dir = context.config.work_dir.clone();
    let opened = blocking::run(blocking::DEADLINE, "Opening the step's files", move || {
        files::open_to_all(&given, &environment, &work_dir);
    });
    opened.await.inspect_err(|failure| tracing::info!(error = report(failure), "not opened"))
}
