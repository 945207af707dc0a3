//! A container step: one more container of the runner pod, for as long as its program runs.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hookd_api::stepd::v1::{BuiltImage, StartStepRequest};
use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, SecurityContext};

use super::containers::{self, Preparation};
use super::error::KanikoError;
use super::job::with_work;
use super::kaniko::KANIKO;
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
use crate::runner::job_volumes::JobVolumes;
use crate::session::age;
use crate::session::cursor::{Cursor, RunPosition};
use crate::session::events::Session;
use crate::stepd::pods::AgentAddress;
use crate::stepd::program::{self, Program};
use crate::work_volume::files;
use crate::workload::hold::{Failed, Hold};

/// Runs the image; its exit code.
pub(super) async fn run(
    call: Call<'_>,
    spec: ContainerStep,
    image: String,
    session: &mut Session,
) -> Result<i32, Failure> {
    let Call { context, step } = call;
    let volumes = containers::volumes(context).await?;
    let mut address = match &session.cursor.run {
        Some(run) => containers::of_run(context, step, run),
        None => containers::of_step(context, step, 0),
    };
    let watch = context.agents.for_job().watch();
    // Its container was made: a program that may have run is never started a second time.
    if session.cursor.run.is_none() {
        let info = context.image(&image, &[]).await;
        let info = info.ok_or_else(|| PlacementError::ImageUnknown { image: image.clone() })?;
        if !RunPosition::has_room(&info.config) {
            return Err(PlacementError::ImageUnknown { image: info.reference.clone() }.into());
        }
        let root = Root { image: &info.reference, builder: None };
        let container = prepare(call, &spec, root, Place { volumes, address: &address }, session);
        let container = container.await?;
        containers::add(context, &[container]).await?;
        session.cursor.run = Some(RunPosition {
            job_uid: address.container.clone(),
            agent_launch: Some(info.config.clone()),
            built: None,
            before: session.sent(),
            log: LogPosition::default(),
        });
        session.checkpoint(Phase::RunPending).await?;
    }
    session.settled();
    let record = |cursor: &mut Cursor, address: &AgentAddress| {
        cursor.run.iter_mut().for_each(|run| run.job_uid.clone_from(&address.container));
    };
    containers::listening(context, &mut address, &watch, session, record).await?;
    run_program(call, spec, &address, image, session).await
}

/// Starts the program in the container of the step, or finds it started; its exit code.
pub(super) async fn run_program(
    call: Call<'_>,
    spec: ContainerStep,
    address: &AgentAddress,
    image: String,
    session: &mut Session,
) -> Result<i32, Failure> {
    let Call { context, step } = call;
    let Some(RunPosition { agent_launch, built, before, .. }) = session.cursor.run.clone() else {
        return Err(PlacementError::ProgramUnknown { image }.into());
    };
    let config = agent_launch.unwrap_or_default();
    let argv = config.command(spec.entry_point.as_deref(), &spec.args);
    let argv = argv.ok_or(PlacementError::NoProgram { image })?;
    let hold = Hold::asked(&spec.environment, context.config.longest_hold);
    let mut environment = spec.environment;
    if let Some(directory) = &spec.working_directory {
        // `/github/workspace` is a link: shells call the directory as their environment does.
        environment.entry("PWD".to_owned()).or_insert_with(|| directory.clone());
    }
    let of_image = built.as_ref().map(|built| match built.process.working_dir.as_str() {
        "" => "/".to_owned(),
        directory => Path::new("/").join(directory).display().to_string(),
    });
    let built_image = built.map(|built| BuiltImage {
        environment: built.process.environment().collect(),
        user: spec.options.user_text().map_or(built.process.user, str::to_owned),
        inherited: built.inherited,
        builder_directories: vec![KANIKO.to_owned()],
    });
    let start = StartStepRequest {
        step_id: step.to_string(),
        argv,
        environment: environment.into_iter().collect(),
        working_directory: spec.working_directory.or(of_image).unwrap_or_default(),
        prepend_path: Vec::new(),
        is_main: false,
        built_image,
    };
    let limit = context.config.step_timeout;
    let left = limit.saturating_sub(age::of(session).await?);
    let pod = context.agents.hold(address);
    let ended = program::run(&pod, Program { start: &start, before }, session);
    let late = |_| Err(PlacementError::StepLate { limit }.into());
    let exit_code = tokio::time::timeout(left, ended).await.unwrap_or_else(late)?;
    let left = limit.saturating_sub(age::of(session).await?);
    hold.after(Failed { exit_code, left }, &pod, session).await?;
    Ok(exit_code)
}

/// What the container's root is at its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root<'a> {
    /// An image.
    pub(super) image: &'a str,
    /// Who puts another image in its place; none: it is the step's own.
    pub(super) builder: Option<Builder<'a>>,
}

/// A builder in the container of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builder<'a> {
    /// What it may do.
    pub(super) rights: &'a SecurityContext,
    /// What it builds.
    pub(super) dockerfile: &'a Path,
}

/// Where the container goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The volumes of the runner pod.
    pub(super) volumes: &'a JobVolumes,
    /// Its agent.
    pub(super) address: &'a AgentAddress,
}

/// Prepares all that the container of the step needs, and tells what differs from docker.
pub(super) async fn prepare(
    call: Call<'_>,
    spec: &ContainerStep,
    root: Root<'_>,
    place: Place<'_>,
    session: &mut Session,
) -> Result<EphemeralContainer, Failure> {
    let Call { context, .. } = call;
    let (lowered, mut preparation) = lower(call, spec, root, place).await?;
    preparation.agents.extend(place.address.socket.clone());
    let runner = &context.cluster_info().await?.runner;
    let warnings = step_job::warnings(runner, spec).into_iter();
    let warnings =
        warnings.chain(lowered.warnings).chain(preparation.make(context).await?).collect();
    for note in context.warnings.only_new(warnings) {
        session.progress(Phase::RunPending, note).await?;
    }
    open_files(context, spec).await?;
    Ok(lowered.container)
}

async fn lower(
    call: Call<'_>,
    spec: &ContainerStep,
    root: Root<'_>,
    place: Place<'_>,
) -> Result<(Lowered, Preparation), Failure> {
    let Call { context, .. } = call;
    let runner = with_work(&context.cluster_info().await?.runner);
    let (work_dir, work) = (&context.config.work_dir, runner.work.as_ref());
    let mut mounts = mounts::of_step(&spec.mounts, work_dir, work)?;
    mounts.add_user(names::STEP_CONTAINER, &spec.volumes.volumes, work_dir, work)?;
    let mut container = Container {
        name: names::STEP_CONTAINER.to_owned(),
        image: Some(root.image.to_owned()),
        volume_mounts: Some(mounts.mounts),
        ..Container::default()
    };
    spec.options.apply(&mut container, ContainerKind::Step, None);
    let of_options = container.security_context.clone();
    let spec = PodSpec {
        containers: vec![container],
        volumes: Some(mounts.volumes),
        ..step_job::base_pod()
    };
    let (mut spec, mut warnings) = templated(context, spec)?;
    let container = spec.containers.iter_mut().find(|one| one.name == names::STEP_CONTAINER);
    let container = container.ok_or_else(|| PlacementError::NotPlanned {
        container: names::STEP_CONTAINER.to_owned(),
    })?;
    if let Some(Builder { rights, dockerfile }) = root.builder {
        if container.security_context != of_options {
            let dockerfile = dockerfile.to_owned();
            return Err(KanikoError::RightsOfTemplate { dockerfile }.into());
        }
        warnings.extend(for_builder(container, rights));
    }
    let request = Request {
        container: &container.clone(),
        volumes: spec.volumes.as_deref().unwrap_or_default(),
        name: &place.address.container,
        agent: &place.volumes.agents.steps,
        secret: "",
    };
    let mut lowered = with_volumes(context, request, place.volumes)?;
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

/// Gives the container the rights of a builder, which replaces its root; lines for the user if it loses
/// something by that. The step's user is stepd's matter then.
fn for_builder(container: &mut Container, rights: &SecurityContext) -> Vec<String> {
    let given = container.security_context.replace(rights.clone()).unwrap_or_default();
    let given = SecurityContext { run_as_user: None, run_as_group: None, ..given };
    // Kaniko deletes other directories while it builds.
    container.working_dir = Some("/".to_owned());
    let name = &container.name;
    let options = (given != SecurityContext::default()).then(|| {
        format!("Container {name}: `options:` do not change its rights: those of its build hold")
    });
    let from = container.env_from.as_ref().is_some_and(|from| !from.is_empty()).then(|| {
        format!(
            "Container {name}: `envFrom` of the hook template is for the build, not for its program"
        )
    });
    options.into_iter().chain(from).collect()
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
