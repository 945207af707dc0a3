//! `run_script_step`: a program in the job container, run by stepd.

use hookd_api::stepd::v1::StartStepRequest;

use crate::error::Failure;
use crate::hooks::Context;
use crate::ids::StepId;
use crate::spec::names;
use crate::spec::script::ScriptStep;
use crate::step::caller::Caller;
use crate::step::{files, program};

/// Runs the step; its exit code.
///
/// # Errors
/// Why its program did not run to its end.
pub async fn run(
    context: &Context,
    step: &StepId,
    spec: &ScriptStep,
    caller: &mut Caller,
) -> Result<i32, Failure> {
    let pod = context.agents.pod(context, &names::job_pod(&context.config.pod_name));
    make_ready(context, spec).await?;
    let spec = spec.clone();
    let program = StartStepRequest {
        step_id: step.to_string(),
        argv: spec.argv,
        environment: spec.environment.into_iter().collect(),
        working_directory: spec.working_directory.unwrap_or_default(),
        prepend_path: spec.prepend_path,
    };
    program::run(context, &pod, (&program, (0, 0)), caller).await
}

/// Lets the step's user write to what the step writes to.
async fn make_ready(context: &Context, spec: &ScriptStep) -> Result<(), Failure> {
    let (environment, work_dir) = (spec.environment.clone(), context.config.work_dir.clone());
    let opened =
        tokio::task::spawn_blocking(move || files::open_file_commands(&environment, &work_dir));
    opened.await.map_err(|error| Failure::internal("Opening files failed").because(error))?
}
