use super::*;
use crate::hooks::prebuild::{dockerfiles, end, some_at_once};
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

#[tokio::test]
async fn no_more_is_built_ahead_than_the_settings_say() {
    let directory = tempfile::tempdir().unwrap();
    for repository in ["one", "two", "three"] {
        let action = directory.path().join("_actions/octo").join(repository).join("v1");
        std::fs::create_dir_all(&action).unwrap();
        let definition = "runs: {using: docker, image: Dockerfile}\n";
        std::fs::write(action.join("action.yml"), definition).unwrap();
        std::fs::write(action.join("Dockerfile"), "FROM scratch\n").unwrap();
    }
    let work = ["--work-dir", directory.path().to_str().unwrap()];
    for (limit, expected) in [("0", 0), ("2", 2), ("5", 3)] {
        let config = Config::of(&[&work[..], &["--prebuild-limit", limit]].concat());
        assert_eq!(dockerfiles(&config).await.len(), expected, "{limit}");
    }
}

#[tokio::test]
async fn as_many_are_built_at_once_as_the_settings_say() {
    for (at_once, expected) in [("0", 1), ("1", 1), ("3", 3), ("9", 5)] {
        let config = Config::of(&["--prebuild-at-once", at_once]);
        let (running, most) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let build = || async {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            tokio::task::yield_now().await;
            running.set(running.get() - 1);
        };
        some_at_once(&config, (0..5).map(|_| build()).collect()).await;
        assert_eq!((most.get(), running.get()), (expected, 0), "{at_once}");
    }
}
