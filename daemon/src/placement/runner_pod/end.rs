//! The end of containers in the runner pod. The records of them stay in the pod's specification: no
//! container of a pod can be removed, and one that has ended is never started again.

use std::time::Duration;

use futures::future::join_all;
use hookd_api::stepd::v1::StopRequest;

use super::record::Record;
use super::{containers, pull_secret};
use crate::cluster::client::ANSWER;
use crate::cluster::watch::PodState;
use crate::context::Context;
use crate::error::Failure;
use crate::names;
use crate::objects::ephemeral;
use crate::placement::error::PlacementError;
use crate::placement::own_pod::deletion;
use crate::placement::{Call, CleanedUp, end_script_orphans, orphan, service_logs};
use crate::runner::job_volumes;
use crate::session::cursor::{BUILD_ATTEMPTS, Cursor};
use crate::session::state::Event;
use crate::stepd::calls;
use crate::stepd::pods::AgentAddress;

/// stepd answers once the last process is gone: within twice its grace, unless one cannot be killed.
const STOPPED: Duration = Duration::from_secs(10);
/// Milliseconds after INT, and again after TERM.
const GRACE: u32 = 500;
/// The kubelet looks at its containers once a second.
const REPORTED: Duration = Duration::from_secs(5);

/// Ends the containers of a step and the Jobs of its builds, which are made if there is a registry.
pub(super) async fn step(call: Call<'_>, cursor: Option<&Cursor>) {
    containers_of(call, cursor).await;
    builds(call, cursor).await;
}

/// Ends the containers of a step, as far as its cursor shows; all that it can have if there is none. True
/// if one was there.
async fn containers_of(call: Call<'_>, cursor: Option<&Cursor>) -> bool {
    let Call { context, step } = call;
    let run = cursor.and_then(|cursor| cursor.run.as_ref());
    if let Some(run) = run {
        return stop(context, &containers::of_run(context, step, run)).await;
    }
    let attempts = match cursor {
        Some(cursor) => cursor.build.as_ref().map_or(1, |build| build.attempt.saturating_add(1)),
        None => BUILD_ATTEMPTS,
    };
    let mut found = false;
    for attempt in 0..attempts.min(BUILD_ATTEMPTS) {
        found |= self::attempt(Call { context, step }, attempt).await;
    }
    found
}

/// Ends the container of an attempt at building a step's image, and those that took its place.
pub(super) async fn attempt(call: Call<'_>, attempt: u32) -> bool {
    let Call { context, step } = call;
    let first = containers::of_step(context, step, attempt).container;
    let names = std::iter::successors(Some(first), |name| Some(names::again(name)));
    let names = names.take(1 + names::MOST_AGAIN);
    let all: Vec<_> =
        names.map(|name| containers::address(context, job_volumes::STEPS, &name)).collect();
    !stop_all(context, &all).await.is_empty()
}

/// Deletes the Jobs of a step's builds.
async fn builds(call: Call<'_>, cursor: Option<&Cursor>) {
    let Call { context, step } = call;
    let may_have_built = cursor.is_none_or(|cursor| cursor.build.is_some());
    if may_have_built && context.config.registry.host.is_some() {
        deletion::delete_jobs(context, step, cursor).await;
    }
}

/// Ends a step of any kind; true if it was there.
pub(super) async fn any(call: Call<'_>) -> Result<bool, Failure> {
    let Call { context, step: id } = call;
    let container = containers_of(call, None).await;
    builds(call, None).await;
    let of_job = job_of(call).await;
    let in_job = !of_job && context.agents.for_job().is_local();
    let script = in_job && calls::cancel_unattended(&context.agents, id).await;
    Ok(of_job || script || container)
}

/// Ends the job that this step has started; true if it was there.
pub(super) async fn job_of(call: Call<'_>) -> bool {
    let Call { context, step } = call;
    let record = Record::load(&context.config.socket_dir);
    let is_it = record.step == step.as_str();
    if is_it {
        context.network.clear().await;
        let containers = of_job(context, &record);
        // It stays recorded: a request that gives them may still be under way, and this is done again then.
        let taken_back = async { record.has_given && pull_secret::take_back(context).await };
        tokio::join!(taken_back, stop_all(context, &containers));
        // It stays recorded: a request to add its containers may still be under way, and this is done
        // again then. The next job, or the end of this one, looks whether all have ended.
    }
    is_it
}

/// Takes back the workflow's credentials that the job has given to the node, and records that.
pub(super) async fn take_back_credentials(context: &Context, record: &mut Record) {
    if record.has_given && pull_secret::take_back(context).await {
        record.has_given = false;
        if let Err(error) = record.save(&context.config.socket_dir) {
            tracing::warn!(%error, "that a job's credentials are taken back cannot be recorded");
        }
    }
}

/// Ends everything: the job's containers, and those of steps.
///
/// # Errors
/// A container that does not end.
pub(super) async fn all(context: &Context) -> Result<CleanedUp, Failure> {
    let mut record = Record::load(&context.config.socket_dir);
    let services = record.address.services.clone();
    let steps = running_steps(context);
    let mut all = of_job(context, &record);
    all.extend(steps);
    let (ended, ()) =
        tokio::join!(stop_all(context, &all), take_back_credentials(context, &mut record));
    let left: Vec<_> = all.iter().filter(|address| !ended.contains(address)).collect();
    must_have_ended(context, &left).await?;
    let next = record.of_step("");
    if let Err(error) = next.save(&context.config.socket_dir) {
        tracing::warn!(%error, "the record of an ended job cannot be written");
    }
    context.agents.move_job(AgentAddress::in_pod(&context.config.pod_name, ""));
    let service_logs = service_logs::read(context, &context.config.pod_name, services, &[]).await;
    for step in context.built_tags.all().await {
        deletion::delete_jobs(context, &step, None).await;
    }
    Ok(CleanedUp { deleted: ended.len(), service_logs })
}

/// Ends the steps whose hook did not come back.
pub(super) async fn orphans(context: &Context) {
    known(context).await;
    for address in running_steps(context) {
        let step = names::step_of_container(&address.container).unwrap_or_default();
        let Some((id, undoing)) = orphan(context, step) else { continue };
        tracing::info!(step, "client did not reconnect in time; ending the step");
        self::step(Call { context, step: &id }, None).await;
        undoing.on(Event::Undone);
    }
    if context.agents.for_job().is_local() {
        end_script_orphans(context).await;
    }
}

/// The containers of a job.
fn of_job(context: &Context, record: &Record) -> Vec<AgentAddress> {
    let services = record.address.services.iter();
    let services = services
        .map(|service| containers::address(context, job_volumes::SERVICES, &service.container));
    let job = record.address.socket.is_some().then(|| record.address.clone());
    job.into_iter().chain(services).collect()
}

/// Waits until the runner pod has been seen, for as long as the API server may take to answer.
async fn known(context: &Context) {
    let mut watch = context.agents.for_job().watch();
    let seen = watch.until(|seen| !matches!(seen, PodState::NotCreated));
    let _ = tokio::time::timeout(ANSWER, seen).await;
}

/// The containers of steps that run, as the kubelet reports: what a step can write says nothing of them.
fn running_steps(context: &Context) -> Vec<AgentAddress> {
    let seen = context.agents.for_job().watch().now();
    let running = seen.pod().map(ephemeral::running).unwrap_or_default().into_iter();
    let steps = running.filter(|name| names::is_of_step(name) && !context.agents.is_over(name));
    steps.map(|name| containers::address(context, job_volumes::STEPS, &name)).collect()
}

/// Those that have ended.
async fn stop_all<'a>(context: &Context, all: &'a [AgentAddress]) -> Vec<&'a AgentAddress> {
    let ended = join_all(all.iter().map(|address| stop(context, address))).await;
    all.iter().zip(ended).filter(|(_, ended)| *ended).map(|(address, _)| address).collect()
}

/// Ends a container with all that runs in it; false if its agent does not say so.
async fn stop(context: &Context, address: &AgentAddress) -> bool {
    let Some(socket) = &address.socket else { return false };
    let pod = context.agents.hold(address);
    let stopped = async {
        let (_, mut agent) = pod.agent().await.ok()?;
        agent.stop(StopRequest { grace_milliseconds: GRACE }).await.ok()
    };
    let ended = tokio::time::timeout(STOPPED, stopped).await;
    if ended.is_err() {
        let container = &address.container;
        tracing::warn!(container, "its processes did not end in time");
        return false;
    }
    context.agents.release(address);
    // Without it, a container that is still to start ends at once.
    socket.remove();
    let ended = matches!(ended, Ok(Some(_)));
    if ended {
        context.agents.has_ended(address);
    }
    ended
}

/// Looks whether containers have ended whose agents did not say so.
async fn must_have_ended(context: &Context, left: &[&AgentAddress]) -> Result<(), Failure> {
    let mut running = Vec::new();
    let mut watch = context.agents.for_job().watch();
    let ended = watch.until(|seen| {
        running = seen.pod().map(ephemeral::running).unwrap_or_default();
        running.retain(|name| left.iter().any(|address| address.container == *name));
        running.is_empty()
    });
    match tokio::time::timeout(REPORTED, ended).await {
        Ok(_) => Ok(()),
        Err(_) => Err(PlacementError::ContainersStay {
            pod: context.config.pod_name.clone(),
            containers: running.join(", "),
        }
        .into()),
    }
}
