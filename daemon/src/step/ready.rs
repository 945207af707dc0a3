//! Waits until all containers of a job's pod are ready.

use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use tokio::time::Instant;

use crate::cluster::logs;
use crate::cluster::pod::{self, Standing};
use crate::cluster::watch::{PodWatch, Seen};
use crate::error::{Failure, Reason, report};
use crate::hooks::Context;
use crate::step::caller::Caller;
use crate::step::start::{Awaited, Told, started_while};

/// A job's pod that has not started after this long is worth a look at its events.
const SLOW: Duration = Duration::from_secs(3);
/// Lines of a container that did not start.
const LAST_LINES: i64 = 20;

/// Waits until every container runs and is healthy.
///
/// # Errors
/// Why one is not; what it wrote last was told before.
pub async fn ready(
    context: &Context,
    (name, containers): (&str, &[String]),
    watch: &mut PodWatch,
    caller: &mut Caller,
) -> Result<(), Failure> {
    let mut events = Told::after(SLOW);
    for container in containers {
        let awaited = Awaited { job: None, container, phase: Phase::RunPending };
        started_while(context, watch, awaited, caller, &mut events).await?;
    }
    let mut told = String::new();
    let began = Instant::now();
    let deadline = began + context.config.start_timeout;
    loop {
        let Seen::Pod(pod) = watch.now() else { return Err(pod::deleted(name)) };
        for container in containers {
            if let Some(failure) = ended(context, &pod, container, caller).await? {
                return Err(failure);
            }
        }
        let waiting = containers.iter().find(|container| !is_healthy(&pod, container));
        if !told.is_empty() && Some(&told) != waiting {
            let took = began.elapsed().as_secs_f64();
            let message = format!("Container {told} is healthy after {took:.1} s");
            caller.progress(Phase::RunPending, message).await?;
        }
        let Some(waiting) = waiting else { return Ok(()) };
        if told != *waiting {
            told.clone_from(waiting);
            let message = format!("Waiting: container {waiting} is not healthy yet");
            caller.progress(Phase::RunPending, message).await?;
        }
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Err(unhealthy(context, waiting)),
        }
    }
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)
}

fn is_healthy(pod: &Pod, container: &str) -> bool {
    status(pod, container).is_some_and(|status| status.started == Some(true))
}

/// The failure of a container that has ended, after its last lines were printed.
async fn ended(
    context: &Context,
    pod: &Pod,
    container: &str,
    caller: &mut Caller,
) -> Result<Option<Failure>, Failure> {
    let failure = match pod::standing(pod, container) {
        Standing::Ended(_) if pod.metadata.deletion_timestamp.is_some() => pod::going(pod),
        Standing::Ended(ended) if ended.exit_code != 0 && ended.reason == pod::OOM_KILLED => {
            pod::oom_failure(pod, container)
        }
        Standing::Ended(ended) => Failure::new(
            Reason::StartFailed,
            format!(
                "Container {container} of the job ended with exit code {} before the job was ready",
                ended.exit_code
            ),
            "Read its last lines above; a health check that fails until its time is up ends its \
             container too",
        ),
        Standing::Doomed(failure) => failure,
        _ => return Ok(None),
    };
    print_last_lines(context, &pod.name_any(), container, caller).await?;
    Ok(Some(failure))
}

async fn print_last_lines(
    context: &Context,
    pod: &str,
    container: &str,
    caller: &mut Caller,
) -> Result<(), Failure> {
    let pods = context.pods();
    let asked = || logs::tail(&pods, (pod, container), LAST_LINES);
    let lines = context.retry().attempt(asked).await;
    let lines =
        lines.unwrap_or_else(|error| format!("(its log cannot be read: {})", report(&error)));
    for line in lines.lines() {
        caller.progress(Phase::RunPending, format!("{container}: {line}")).await?;
    }
    Ok(())
}

fn unhealthy(context: &Context, container: &str) -> Failure {
    Failure::new(
        Reason::DeadlineExceeded,
        format!(
            "Container {container} of the job was not healthy within {} s",
            context.config.start_timeout.as_secs()
        ),
        "Check its health command; to wait longer, raise ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS",
    )
}
