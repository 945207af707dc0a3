use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::error::Reason;
use crate::hooks::orphans::delete_orphans;

/// The Jobs of steps with these ids.
fn jobs_of(steps: &[&str]) -> Expected {
    let jobs: Vec<_> = steps.iter().map(|step| partial(metadata("any", "r", step))).collect();
    get(JOBS).with_query("labelSelector=runner-pod=r,hookd.dev/step").answers(200, listed(&jobs))
}

/// Nothing else is left of the step.
fn no_build_nor_secret(step: &str) -> [Expected; 4] {
    [
        absent(SECRETS, &format!("r-step-{step}")),
        absent(JOBS, &format!("r-build-{step}")),
        absent(JOBS, &format!("r-build-1-{step}")),
        absent(JOBS, &format!("r-build-2-{step}")),
    ]
}

fn no_job_pod() -> Expected {
    absent(PODS, "r-workflow")
}

/// Why a client that comes for the step now is refused.
fn refused(hookd: &Hookd, step: &str) -> Option<Reason> {
    let steps = &hookd.context.sessions.steps;
    steps.attach(&step.parse().unwrap(), CancellationToken::new()).err().map(|error| error.reason)
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_client_did_not_come_back_is_deleted() {
    let own = [
        jobs_of(&["lost", "held", "Bad_Id"]),
        found(JOBS, "r-step-lost", "r"),
        deletes(JOBS, "r-step-lost"),
        no_job_pod(),
    ];
    let hookd = Hookd::expecting(own.into_iter().chain(no_build_nor_secret("lost")));
    let held = "held".parse().unwrap();
    let _held = hookd.context.sessions.steps.attach(&held, CancellationToken::new()).unwrap();
    let began = Instant::now();
    hookd.api.during(delete_orphans(&hookd.context)).await;
    // Clients had their time to come back.
    assert!(began.elapsed() >= Duration::from_secs(60));
    assert_eq!(refused(&hookd, "lost"), Some(Reason::StepLost));
    assert!(hookd.requests("held").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_runner_is_never_deleted() {
    let own = [
        jobs_of(&["lost"]),
        found(JOBS, "r-step-lost", "r2"),
        found(SECRETS, "r-step-lost", "r2"),
        found(JOBS, "r-build-lost", "r2"),
        found(JOBS, "r-build-1-lost", "r2"),
        found(JOBS, "r-build-2-lost", "r2"),
        // Nor is its agent asked for steps.
        found(PODS, "r-workflow", "r2"),
    ];
    let hookd = Hookd::expecting(own);
    hookd.api.during(delete_orphans(&hookd.context)).await;
    assert!(hookd.requests("DELETE").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_cannot_be_deleted_takes_its_client_again() {
    let denied = crate::cluster::scripted::delete(format!("{JOBS}/r-step-lost"));
    let denied = denied.refuses(403, "Forbidden", "webhook denied the request: protected");
    let own = [jobs_of(&["lost"]), found(JOBS, "r-step-lost", "r"), denied, no_job_pod()];
    let hookd = Hookd::expecting(own.into_iter().chain(no_build_nor_secret("lost")));
    hookd.api.during(delete_orphans(&hookd.context)).await;
    assert_eq!(refused(&hookd, "lost"), None);
}

#[tokio::test(start_paused = true)]
async fn orphans_that_cannot_be_listed_are_left_alone() {
    let refusal = "jobs.batch is forbidden: User \"u\" cannot list resource \"jobs\"";
    let list = get(JOBS).refuses(403, "Forbidden", refusal).repeated();
    let hookd = Hookd::expecting([list, no_job_pod()]);
    hookd.api.during(delete_orphans(&hookd.context)).await;
    assert_eq!(refused(&hookd, "lost"), None);
}
