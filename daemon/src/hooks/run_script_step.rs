//! `run_script_step`: a program in the job container, run by stepd.

use std::time::{Duration, SystemTime};

use hookd_api::stepd::v1::StartStepRequest;
use hookd_api::v1::Phase;

use crate::blocking;
use crate::cluster::client::ANSWER;
use crate::cluster::watch::Seen;
use crate::error::{Failure, Reason};
use crate::hooks::Context;
use crate::ids::StepId;
use crate::spec::names;
use crate::spec::script::ScriptStep;
use crate::step::agents::AgentPod;
use crate::step::caller::Caller;
use crate::step::{ended_services, files, job_end, program};

/// Runs the step; its exit code.
///
/// # Errors
/// Why its program did not run to its end.
pub async fn run(
    context: &Context,
    step: &StepId,
    spec: ScriptStep,
    caller: &mut Caller,
) -> Result<i32, Failure> {
    let pod = context.agents.pod(context, &names::job_pod(&context.config.pod_name));
    if caller.cursor.started.is_none() {
        not_ended(&pod).await?;
    }
    make_ready(context, &spec).await?;
    ended_services::report(context, caller).await?;
    let name = job_end::name(spec.environment.get("GITHUB_ACTION"));
    let program = StartStepRequest {
        step_id: step.to_string(),
        argv: spec.argv,
        environment: spec.environment.into_iter().collect(),
        working_directory: spec.working_directory.unwrap_or_default(),
        prepend_path: spec.prepend_path,
    };
    let limit = context.config.step_timeout;
    let left = limit.saturating_sub(age(caller).await?);
    let ended = tokio::time::timeout(left, program::run(context, &pod, (&program, (0, 0)), caller));
    let ended = ended.await.unwrap_or_else(|_| Err(late(limit)));
    if ended.is_err() && pod.end().is_some() {
        pod.ended_during(name);
    }
    if ended.is_ok() {
        // It may say why the step failed. A caller that is gone hears of neither.
        let _ = ended_services::report(context, caller).await;
    }
    ended
}

/// The job container may have ended with an earlier step, as with cgroup v2 it does when one uses too
/// much memory. A daemon that was just started has to hear of the pod first.
async fn not_ended(pod: &AgentPod) -> Result<(), Failure> {
    let mut watch = pod.watch();
    let known = watch.until(|seen| !matches!(seen, Seen::NotYet));
    // Without an answer the step itself finds out.
    let _ = tokio::time::timeout(ANSWER, known).await;
    pod.end().map_or(Ok(()), Err)
}

/// How long ago the step was first asked for, by this daemon or one before it.
async fn age(caller: &mut Caller) -> Result<Duration, Failure> {
    let Some(started) = caller.cursor.started else {
        caller.cursor.started = Some(SystemTime::now());
        caller.progress(Phase::RunPending, "").await?;
        return Ok(Duration::ZERO);
    };
    // A clock that was set back only makes it younger.
    Ok(started.elapsed().unwrap_or_default())
}

fn late(limit: Duration) -> Failure {
    Failure::new(
        Reason::DeadlineExceeded,
        format!("The step ran longer than {} s, and was ended", limit.as_secs()),
        "Raise HOOKD_STEP_TIMEOUT_SECONDS",
    )
}

/// Lets the step's user write to what the step writes to.
async fn make_ready(context: &Context, spec: &ScriptStep) -> Result<(), Failure> {
    let (environment, work_dir) =
        (files::paths(&spec.environment), context.config.work_dir.clone());
    blocking::run(blocking::DEADLINE, "Opening the step's command files", move || {
        files::open_file_commands(&environment, &work_dir);
    })
    .await
}
