//! `run_script_step`: a program in the job container, run by stepd.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hookd_api::stepd::v1::StartStepRequest;

use crate::blocking;
use crate::cluster::client::ANSWER;
use crate::cluster::watch::PodState;
use crate::context::Context;
use crate::error::Failure;
use crate::hooks::error::HookError;
use crate::hooks::summary::Summary;
use crate::ids::StepId;
use crate::metrics;
use crate::objects::script::ScriptStep;
use crate::session::age;
use crate::session::cursor::{Cursor, Offsets};
use crate::session::events::Session;
use crate::session::operation::Operation;
use crate::stepd::pods::AgentPod;
use crate::stepd::program::{self, Program};
use crate::stepd::{calls, job_end};
use crate::work_volume::files;
use crate::workload::ended_services;
use crate::workload::hold::{Failed, Hold};

/// The operation.
pub struct RunScriptStep {
    context: Arc<Context>,
    step: StepId,
    spec: ScriptStep,
}

impl RunScriptStep {
    /// Of this step.
    pub fn new(context: Arc<Context>, step: StepId, spec: ScriptStep) -> Self {
        Self { context, step, spec }
    }
}

impl Operation for RunScriptStep {
    /// The exit code.
    type Output = i32;
    const CALL: metrics::Call = metrics::Call::RunScriptStep;

    fn succeeded(code: &i32) -> bool {
        *code == 0
    }

    async fn run(&mut self, session: &mut Session) -> Result<i32, Failure> {
        let context = &*self.context;
        context.cluster_info().await?;
        let pod = context.agents.for_job();
        if session.cursor.started.is_none() && !pod.is_local() {
            not_ended(&pod).await?;
        }
        let hold = Hold::asked(&self.spec.environment, context.config.longest_hold);
        if let Some(exit_code) = hold.go_on(calls::lost(&pod), session).await? {
            return Ok(exit_code);
        }
        // Its environment may be large: it is moved, not copied.
        let spec = std::mem::take(&mut self.spec);
        make_ready(context, &spec).await?;
        ended_services::report(&context.agents, session).await?;
        let summary = Summary::of_script_step(context, &spec.environment);
        let name = job_end::name(spec.environment.get("GITHUB_ACTION"));
        let start = StartStepRequest {
            step_id: self.step.to_string(),
            argv: spec.argv,
            environment: spec.environment.into_iter().collect(),
            working_directory: spec.working_directory.unwrap_or_default(),
            prepend_path: spec.prepend_path,
            is_main: false,
            built_image: None,
        };
        let limit = context.config.step_timeout;
        let left = limit.saturating_sub(age::of(session).await?);
        let program = Program { start: &start, before: Offsets::default() };
        let ended = tokio::time::timeout(left, program::run(&pod, program, session)).await;
        let ended = ended.unwrap_or_else(|_| Err(HookError::StepLate { limit }.into()));
        if ended.is_err() && pod.end().is_some() {
            pod.ended_during(name);
        }
        if let Ok(exit_code) = ended {
            // It may say why the step failed. A client that is gone hears of neither.
            let _ = ended_services::report(&context.agents, session).await;
            let left = limit.saturating_sub(age::of(session).await?);
            hold.after(Failed { exit_code, left }, &pod, session).await?;
            if let Some(summary) = summary {
                summary.write(context, session, exit_code).await;
            }
        }
        ended
    }

    fn roll_back(&self, _: Option<&Cursor>) -> BoxFuture<'static, ()> {
        let (context, step) = (self.context.clone(), self.step.clone());
        async move {
            calls::cancel(&context.agents, &step).await;
        }
        .boxed()
    }

    async fn finish(&self, _: &Cursor) {
        calls::forget(&self.context.agents, &self.step).await;
    }

    /// It asks stepd, which knows of a step before it runs.
    fn creates_objects(&self) -> bool {
        false
    }
}

/// The job container may have ended with an earlier step, as with cgroup v2 it does when one uses too
/// much memory. A daemon that was just started has to hear of the pod first.
async fn not_ended(pod: &AgentPod) -> Result<(), Failure> {
    let mut watch = pod.watch();
    let known = watch.until(|seen| !matches!(seen, PodState::NotCreated));
    // Without an answer the step itself finds out.
    let _ = tokio::time::timeout(ANSWER, known).await;
    pod.end().map_or(Ok(()), Err)
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
