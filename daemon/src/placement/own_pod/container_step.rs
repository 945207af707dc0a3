//! A container step as a Job. Where the image's own program is known, stepd starts the step in the Job's
//! pod: then its environment is nowhere in the cluster, its two streams stay apart, and its end is known
//! at once. Elsewhere the kubelet starts it, with the environment from a Secret, and its log is followed.

use std::time::Duration;

use hookd_api::stepd::v1::StartStepRequest;
use hookd_api::v1::{Phase, Stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::cluster::ContainerRef;
use crate::cluster::error::ClusterError;
use crate::cluster::logs::LogPosition;
use crate::cluster::pod::{self, FailedProgram};
use crate::cluster::watch::PodWatch;
use crate::error::Failure;
use crate::ids::StepId;
use crate::metrics;
use crate::names;
use crate::objects::container::ContainerStep;
use crate::placement::Call;
use crate::placement::error::PlacementError;
use crate::registry::image_config::ImageConfig;
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::stepd::pods::AgentAddress;
use crate::stepd::program::{self, Program};
use crate::workload::hold::{Failed, Hold};
use crate::workload::output::{self, Place};
use crate::workload::start::{self, Awaited, started};
use crate::workload::timing;

mod job;

use job::Made;

/// The program's log: the kubelet keeps its two streams as one.
const LOG: Place<'static> =
    Place { stream: Stream::Stdout, position: log_position, shown: None, observer: None };

/// Runs the image; its exit code.
pub(super) async fn run(
    call: Call<'_>,
    spec: ContainerStep,
    image: String,
    session: &mut Session,
) -> Result<i32, Failure> {
    let Call { context, step } = call;
    let begun = match begin(call, &spec, &image, session).await {
        Err(failure) if may_begin_again(&failure, session) => {
            let message = format!("{failure}. The step's Job is made again");
            session.progress(Phase::RunPending, message).await?;
            job::give_up(context, step, session).await?;
            begin(call, &spec, &image, session).await?
        }
        begun => begun?,
    };
    let Begun { made: Made { job, agent_launch }, mut watch, pod: name } = begun;
    let hold = Hold::asked(&spec.environment, context.config.longest_hold);
    if let Some(config) = agent_launch {
        let before = session.cursor.run.as_ref().map(|run| run.before).unwrap_or_default();
        let pod = context.agents.at(AgentAddress::in_pod(&name, names::STEP_CONTAINER), watch);
        let start =
            program_of(step, spec, &config).ok_or(PlacementError::ProgramUnknown { image })?;
        let exit_code = match program::run(&pod, Program { start: &start, before }, session).await {
            Err(failure) => return Err(start::loss(&context.cluster, &job, failure).await),
            Ok(exit_code) => exit_code,
        };
        let left = context.config.step_timeout.saturating_sub(age(&job));
        hold.after(Failed { exit_code, left }, &pod, session).await?;
        return Ok(exit_code);
    }
    let target = ContainerRef { pod: &name, container: names::STEP_CONTAINER };
    let began = Instant::now();
    let ended = output::stream(&context.cluster, &mut watch, &job, target, LOG, session).await?;
    if session.is_new() {
        session.timings.took(metrics::Phase::Run, began.elapsed());
    }
    if ended.reason == pod::OOM_KILLED {
        let message = pod::oom_note(watch.now().pod(), names::STEP_CONTAINER);
        session.progress(Phase::RunRunning, message).await?;
    } else if ended.exit_code != 0 {
        let failed = FailedProgram { exit_code: ended.exit_code, ..FailedProgram::default() };
        let note = failed.note(watch.now().pod(), names::STEP_CONTAINER);
        session.progress(Phase::RunRunning, note).await?;
    }
    hold.after_container(ended.exit_code, session).await?;
    Ok(ended.exit_code)
}

/// How long ago the Job was made, which ends it when its step's time is over.
fn age(job: &Job) -> Duration {
    let created = job.metadata.creation_timestamp.as_ref();
    let age = created.map(|created| Timestamp::now().duration_since(created.0));
    age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default()
}

/// A Job whose container runs or has ended.
struct Begun {
    made: Made,
    watch: PodWatch,
    /// Name of its pod.
    pod: String,
}

/// Makes the Job, or finds it, and waits for its container.
async fn begin(
    call: Call<'_>,
    spec: &ContainerStep,
    image: &str,
    session: &mut Session,
) -> Result<Begun, Failure> {
    let Call { context, step } = call;
    let made = job::ensure(context, step, spec, image, session).await?;
    session.settled();
    let mut watch = PodWatch::for_job(context.cluster.pods(), &made.job);
    let (job, container) = (Some(&made.job), names::STEP_CONTAINER);
    let awaited = Awaited { job, container, phase: Phase::RunPending };
    let pod = started(&context.cluster, &mut watch, awaited, session).await?;
    if session.is_new() {
        timing::observe(&pod, container, &mut session.timings);
    }
    Ok(Begun { made, watch, pod: pod.name_any() })
}

/// True if the kubelet was killed before it started the step's program. It may have run for a moment if
/// the image's own was being started; stepd starts none before it is asked.
fn may_begin_again(failure: &Failure, session: &Session) -> bool {
    let by_agent = session.cursor.run.as_ref().is_some_and(|run| run.agent_launch.is_some());
    let begun_nothing = |error: &ClusterError| {
        error.is_interrupted_start() && (by_agent || error.is_before_start())
    };
    failure.cause().is_some_and(begun_nothing)
}

fn log_position(cursor: &mut Cursor) -> Option<&mut LogPosition> {
    cursor.run.as_mut().map(|run| &mut run.log)
}

/// What stepd starts; none if the image has no program.
fn program_of(
    step: &StepId,
    spec: ContainerStep,
    config: &ImageConfig,
) -> Option<StartStepRequest> {
    let argv = config.command(spec.entry_point.as_deref(), &spec.args)?;
    Some(StartStepRequest {
        step_id: step.to_string(),
        argv,
        environment: spec.environment.into_iter().collect(),
        working_directory: spec.working_directory.unwrap_or_default(),
        prepend_path: Vec::new(),
        is_main: false,
        built_image: None,
    })
}
