//! Steps whose hook did not come back after a restart of the daemon.

use kube::ResourceExt;
use kube::api::ListParams;

use crate::context::Context;
use crate::error::report;
use crate::names::{self, RUNNER_LABEL, STEP_LABEL};
use crate::placement::own_pod::deletion::delete_step;
use crate::placement::{end_script_orphans, orphan};
use crate::session::cursor::BUILD_ATTEMPTS;
use crate::session::state::Event;

/// Deletes the steps whose hook did not come back.
pub(super) async fn delete_orphans(context: &Context) {
    let params = ListParams::default()
        .labels(&format!("{RUNNER_LABEL}={},{STEP_LABEL}", context.config.pod_name));
    let retry = context.cluster.retry();
    let jobs = context.cluster.jobs();
    let list = retry.run("list Jobs", || jobs.list_metadata(&params)).await;
    let list = list.inspect_err(|failure| {
        tracing::warn!(error = report(failure), "cannot list the Jobs of orphans");
    });
    let jobs = list.into_iter().flatten();
    for step in jobs.filter_map(|job| job.labels().get(STEP_LABEL).cloned()) {
        let Some((id, undoing)) = orphan(context, &step) else { continue };
        tracing::info!(step, "client did not reconnect in time; deleting the step");
        match delete_step(context, &id, BUILD_ATTEMPTS, &retry).await {
            Ok(_) => drop(undoing.on(Event::Undone)),
            Err(failure) => {
                tracing::warn!(step, error = report(&failure), "cannot delete an orphan");
            }
        }
    }
    end_orphans_in_the_job_pod(context).await;
}

/// The steps in the job's pod whose hook did not come back; a runner without a job has none.
async fn end_orphans_in_the_job_pod(context: &Context) {
    let runner = &context.config.pod_name;
    let (pods, name) = (context.cluster.pods(), names::job_pod(runner));
    let found = context.cluster.retry().attempt(|| pods.get_metadata_opt(&name)).await;
    if found.is_ok_and(|pod| pod.is_none_or(|pod| !names::is_of(&pod.metadata, runner))) {
        return;
    }
    end_script_orphans(context).await;
}
