use super::*;
use crate::error::Reason;
use crate::placement::own_pod::deletion::{
    delete_job_pod, delete_job_secrets, delete_jobs, delete_step,
};
use crate::session::cursor::BuildPosition;

const DENIED: &str = "admission webhook \"w\" denied the request: protected";

#[tokio::test(start_paused = true)]
async fn the_objects_of_a_step_are_deleted_and_no_others() {
    let hookd = Hookd::expecting([
        found(JOBS, "r-step-s", "r"),
        deletes(JOBS, "r-step-s"),
        // Objects that have the names by chance stay.
        found(SECRETS, "r-step-s", "r2"),
        found(JOBS, "r-build-s", "r2"),
        found(JOBS, "r-build-1-s", "r"),
        deletes(JOBS, "r-build-1-s"),
    ]);
    let retry = hookd.context.cluster.retry();
    let deleted = hookd.api.during(delete_step(&hookd.context, &step(), 2, &retry)).await;
    assert!(deleted.unwrap());
    assert_eq!(hookd.requests("DELETE").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_step_of_which_nothing_is_left_deletes_nothing() {
    let hookd = Hookd::expecting([absent(JOBS, "r-step-s"), absent(SECRETS, "r-step-s")]);
    let retry = hookd.context.cluster.retry();
    let deleted = hookd.api.during(delete_step(&hookd.context, &step(), 0, &retry)).await;
    assert!(!deleted.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_cursor_says_which_builds_a_step_may_have_made() {
    let build = |attempt| {
        let build = BuildPosition { attempt, ..BuildPosition::default() };
        Some(Cursor { build: Some(build), ..Cursor::default() })
    };
    let all = ["r-build-s", "r-build-1-s", "r-build-2-s"];
    for (cursor, builds) in [
        (None, 3),
        (Some(Cursor::default()), 0),
        (build(0), 1),
        (build(1), 2),
        (build(u32::MAX), 3),
    ] {
        let builds = all.iter().take(builds).map(|name| absent(JOBS, name));
        let run = [absent(JOBS, "r-step-s"), absent(SECRETS, "r-step-s")];
        let hookd = Hookd::expecting(builds.chain(run));
        hookd.api.during(delete_jobs(&hookd.context, &step(), cursor.as_ref())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_runner_does_not_keep_the_jobs_secrets() {
    for (pod, deletion) in [
        (found(PODS, "r-workflow", "r2"), None),
        (absent(PODS, "r-workflow"), None),
        (found(PODS, "r-workflow", "r"), Some(deletes(PODS, "r-workflow"))),
    ] {
        let secrets = [
            found(SECRETS, "r-services-s", "r"),
            deletes(SECRETS, "r-services-s"),
            absent(SECRETS, "r-pull-s"),
        ];
        let hookd = Hookd::expecting(secrets.into_iter().chain([pod]).chain(deletion));
        hookd.api.during(delete_job_pod(&hookd.context, &step())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_secrets_of_all_job_pods_are_deleted_and_forgotten() {
    let hookd = Hookd::expecting([
        found(SECRETS, "r-services-s", "r"),
        deletes(SECRETS, "r-services-s"),
        found(SECRETS, "r-pull-s", "r"),
        deletes(SECRETS, "r-pull-s"),
        found(SECRETS, "r-pull-1-s", "r"),
        deletes(SECRETS, "r-pull-1-s"),
        absent(SECRETS, "r-pull-2-s"),
        absent(SECRETS, "r-services-t"),
        // The name is another runner's.
        found(SECRETS, "r-pull-t", "r2"),
    ]);
    for step in ["s", "t"] {
        hookd.context.job_secrets.add(&step.parse().unwrap()).await.unwrap();
    }
    assert_eq!(hookd.api.during(delete_job_secrets(&hookd.context)).await.unwrap(), 3);
    // Nothing is asked for again.
    assert_eq!(hookd.api.during(delete_job_secrets(&hookd.context)).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn secrets_that_cannot_be_deleted_are_found_again() {
    let denied = || {
        let delete = crate::cluster::scripted::delete(format!("{SECRETS}/r-pull-1-s"));
        delete.refuses(403, "Forbidden", DENIED)
    };
    let hookd = Hookd::expecting([
        absent(SECRETS, "r-services-s"),
        found(SECRETS, "r-pull-s", "r"),
        found(SECRETS, "r-pull-1-s", "r"),
        absent(SECRETS, "r-pull-2-s"),
        denied(),
        // The next clean-up.
        absent(SECRETS, "r-services-s"),
        found(SECRETS, "r-pull-s", "r"),
        found(SECRETS, "r-pull-1-s", "r"),
        absent(SECRETS, "r-pull-2-s"),
        deletes(SECRETS, "r-pull-1-s"),
        deletes(SECRETS, "r-pull-s"),
    ]);
    hookd.context.job_secrets.add(&step()).await.unwrap();
    let failure = hookd.api.during(delete_job_secrets(&hookd.context)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::AdmissionDenied);
    assert!(failure.message.contains("delete Secret r-pull-1-s"), "{failure}");
    assert_eq!(hookd.api.during(delete_job_secrets(&hookd.context)).await.unwrap(), 2);
}
