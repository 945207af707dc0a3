//! The end of containers in the runner pod. The records of them stay in the pod's specification: no
//! container of a pod can be removed, and one that has ended is never started again.

use std::time::Duration;

use hookd_api::stepd::v1::StopRequest;

use super::containers;
use super::record::Record;
use crate::cluster::watch::PodWatch;
use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::placement::own_pod::deletion;
use crate::placement::{Call, CleanedUp, orphan, service_logs};
use crate::runner::job_volumes;
use crate::session::cursor::Cursor;
use crate::session::state::Event;
use crate::stepd::calls;
use crate::stepd::pods::AgentAddress;

/// stepd answers once the last process is gone: within twice its grace, unless one cannot be killed.
const STOPPED: Duration = Duration::from_secs(10);
/// Milliseconds after INT, and again after TERM.
const GRACE: u32 = 500;
/// Containers of steps that are ended at a clean-up.
const STEPS: usize = 1024;

/// Ends the container of a step and the Jobs of its builds, which are made if there is a registry.
pub(super) async fn step(call: Call<'_>, cursor: Option<&Cursor>) {
    let Call { context, step } = call;
    stop(context, &step_address(context, step)).await;
    let may_have_built = cursor.is_none_or(|cursor| cursor.build.is_some());
    if may_have_built && context.config.registry.host.is_some() {
        deletion::delete_jobs(context, step, cursor).await;
    }
}

/// Ends a step of any kind; true if it was there.
pub(super) async fn any(call: Call<'_>) -> Result<bool, Failure> {
    let Call { context, step: id } = call;
    let of_job = job_of(call).await;
    let script = !of_job && calls::cancel_unattended(&context.agents, id).await;
    let container = stop(context, &step_address(context, id)).await;
    step(call, None).await;
    Ok(of_job || script || container)
}

/// Ends the job that this step has started; true if it was there.
pub(super) async fn job_of(call: Call<'_>) -> bool {
    let Call { context, step } = call;
    let record = Record::load(&context.config.socket_dir);
    let is_it = record.step == step.as_str();
    if is_it {
        context.network.clear().await;
        job(context, &record).await;
    }
    is_it
}

/// Ends the containers of the job that the record has; their number.
pub(super) async fn job(context: &Context, record: &Record) -> usize {
    let services = record.address.services.iter();
    let services = services
        .map(|service| containers::address(context, job_volumes::SERVICES, &service.container));
    let all: Vec<_> = std::iter::once(record.address.clone()).chain(services).collect();
    let ended = all.iter().map(|address| stop(context, address));
    let ended = futures::future::join_all(ended).await.into_iter().filter(|was| *was).count();
    let next = record.clone().of_step("");
    if let Err(error) = next.save(&context.config.socket_dir) {
        tracing::warn!(%error, "the record of an ended job cannot be written");
    }
    context.agents.clear();
    ended
}

/// Ends everything: the job's containers, and steps whose client is gone.
pub(super) async fn all(context: &Context) -> Result<CleanedUp, Failure> {
    let record = Record::load(&context.config.socket_dir);
    let services = record.address.services.clone();
    let mut deleted = 0;
    for address in steps(context) {
        deleted += usize::from(stop(context, &address).await);
    }
    deleted += job(context, &record).await;
    let service_logs = service_logs::read(context, &context.config.pod_name, services, &[]).await;
    for step in context.built_tags.all().await {
        deletion::delete_jobs(context, &step, None).await;
    }
    Ok(CleanedUp { deleted, service_logs })
}

/// Ends the steps whose hook did not come back.
pub(super) async fn orphans(context: &Context) {
    for address in steps(context) {
        let Some(step) = address.container.strip_prefix("step-") else { continue };
        let Some((id, undoing)) = orphan(context, step) else { continue };
        tracing::info!(step, "client did not reconnect in time; ending the step");
        step_of(context, &id).await;
        undoing.on(Event::Undone);
    }
    if !Record::load(&context.config.socket_dir).has_job() {
        return;
    }
    for step in calls::known(&context.agents).await {
        let Some((id, undoing)) = orphan(context, &step) else { continue };
        tracing::info!(step, "client did not reconnect in time; ending the step");
        if calls::cancel(&context.agents, &id).await {
            undoing.on(Event::Undone);
        }
    }
}

async fn step_of(context: &Context, id: &StepId) {
    step(Call { context, step: id }, None).await;
}

fn step_address(context: &Context, step: &StepId) -> AgentAddress {
    containers::address(context, job_volumes::STEPS, &names::step_container(step))
}

/// The containers of steps that may run.
fn steps(context: &Context) -> Vec<AgentAddress> {
    let directory = context.config.agents_dir.join(job_volumes::STEPS);
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(STEPS);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.map(|name| containers::address(context, job_volumes::STEPS, &name)).collect()
}

/// Ends a container with all that runs in it; false if no agent listens.
async fn stop(context: &Context, address: &AgentAddress) -> bool {
    let Some(socket) = &address.socket else { return false };
    if socket.connect().await.is_err() {
        return false;
    }
    let watch = PodWatch::idle();
    let pod = context.agents.at(address.clone(), watch);
    let stopped = async {
        let (_, mut agent) = pod.agent().await.ok()?;
        agent.stop(StopRequest { grace_milliseconds: GRACE }).await.ok()
    };
    if tokio::time::timeout(STOPPED, stopped).await.is_err() {
        let container = &address.container;
        tracing::warn!(container, "its processes did not end in time; they end with the pod");
    }
    socket.remove();
    true
}
