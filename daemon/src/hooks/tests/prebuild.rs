use super::*;
use crate::hooks::prebuild::end;
use crate::names::BUILD_KEY_LABEL;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";

/// A Job that builds what has the key "abc".
fn build_of(name: &str, step: &str) -> Value {
    let mut job = partial(metadata(name, "r", step));
    job["metadata"]["labels"][BUILD_KEY_LABEL] = "abc".into();
    job
}

#[tokio::test(start_paused = true)]
async fn prebuilds_end_with_their_leases_and_no_step_does() {
    let jobs = [build_of("r-build-prebuild-1", "prebuild-1"), build_of("r-build-s", "s")];
    let list = get(JOBS).with_query("labelSelector=runner-pod=r,hookd.dev/build-key");
    let hookd = Hookd::expecting([
        list.clone().answers(200, listed(&jobs)),
        found(LEASES, "hookd-build-abc", "r"),
        deletes(LEASES, "hookd-build-abc"),
        deletes(JOBS, "r-build-prebuild-1"),
        // Once more, for a create that was under way.
        list.answers(200, listed(&jobs[1..])),
    ]);
    let prebuilds = &hookd.context.prebuilds;
    let work = prebuilds.begin(&hookd.context.sessions.stopping);
    work.tasks.spawn(work.cancel.cancelled_owned());
    prebuilds.remembered.add(&"prebuild-1".parse().unwrap()).await.unwrap();
    hookd.api.during(end(&hookd.context)).await;
    let tasks = &hookd.context.sessions.tasks;
    tasks.close();
    hookd.api.during(tasks.wait()).await;
    assert!(prebuilds.remembered.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_without_prebuilds_asks_for_none() {
    let hookd = Hookd::expecting([]);
    hookd.api.during(end(&hookd.context)).await;
}
