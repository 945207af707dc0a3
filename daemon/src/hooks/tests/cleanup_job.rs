use super::*;
use crate::error::Reason;
use crate::hooks::cleanup_job::cleanup;

fn jobs(names: &[&str]) -> Expected {
    let jobs: Vec<_> = names.iter().map(|name| partial(metadata(name, "r", "s"))).collect();
    get(JOBS).with_query("labelSelector=runner-pod=r").answers(200, listed(&jobs))
}

fn pods(names: &[&str]) -> Expected {
    let pods: Vec<_> = names.iter().map(|name| partial(metadata(name, "r", "s"))).collect();
    get(PODS)
        .with_query("labelSelector=runner-pod=r,!batch.kubernetes.io/job-name")
        .answers(200, listed(&pods))
}

/// The job's pod with two services.
fn job_pod(runner: &str) -> Expected {
    let mut metadata = metadata("r-workflow", runner, "s");
    metadata["annotations"] = json!({"hookd.dev/services": "db,cache"});
    let ended = json!({"name": "db", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": 3}}});
    let containers = json!([{"name": "job"}, {"name": "db"}, {"name": "cache"}]);
    let pod = json!({"metadata": metadata, "spec": {"containers": containers},
        "status": {"containerStatuses": [ended]}});
    get(format!("{PODS}/r-workflow")).answers(200, pod)
}

fn log_of(container: &str) -> Expected {
    get(format!("{PODS}/r-workflow/log"))
        .with_query(&format!("container={container}"))
        .with_query("tailLines=1000")
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_deletes_all_of_its_runner_and_counts_it() {
    let gone = crate::cluster::scripted::delete(format!("{JOBS}/b"));
    let hookd = Hookd::expecting([
        absent(PODS, "r-workflow"),
        jobs(&["a", "b"]),
        pods(&["r-workflow"]),
        deletes(JOBS, "a"),
        gone.refuses(404, "NotFound", "went by itself"),
        deletes(PODS, "r-workflow"),
        found(SECRETS, "a", "r"),
        deletes(SECRETS, "a"),
        found(SECRETS, "b", "r2"),
        absent(SECRETS, "r-services-s"),
        absent(SECRETS, "r-pull-s"),
    ]);
    hookd.context.job_secrets.add(&step()).await.unwrap();
    let cleaned = hookd.api.during(cleanup(&hookd.context)).await.unwrap();
    // Job a, its Secret, and the pod.
    assert_eq!(cleaned.deleted, 3);
    assert!(cleaned.service_logs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_shows_what_the_services_wrote() {
    let hookd = Hookd::expecting([
        job_pod("r"),
        log_of("db").answers_text("out of space\n"),
        log_of("cache").refuses(500, "InternalError", "the kubelet is away"),
        jobs(&[]),
        pods(&["r-workflow"]),
        deletes(PODS, "r-workflow"),
    ]);
    let cleaned = hookd.api.during(cleanup(&hookd.context)).await.unwrap();
    let [db, cache] = cleaned.service_logs.as_slice() else { panic!("{cleaned:?}") };
    assert_eq!((db.name.as_str(), cache.name.as_str()), ("db", "cache"));
    assert!(db.text.starts_with("out of space\n"), "{}", db.text);
    assert!(db.text.contains("ended with exit code 3"), "{}", db.text);
    assert!(cache.text.contains("cannot be read"), "{}", cache.text);
    assert!(cache.text.contains("the kubelet is away"), "{}", cache.text);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_come_delays_a_clean_up_by_seconds() {
    let began = tokio::time::Instant::now();
    let hookd =
        Hookd::expecting([job_pod("r"), log_of("db"), log_of("cache"), jobs(&[]), pods(&[])]);
    let cleaned = hookd.api.during(cleanup(&hookd.context)).await.unwrap();
    assert_eq!(cleaned.service_logs.len(), 2);
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_pod_of_another_runner_is_neither_read_nor_deleted() {
    let hookd = Hookd::expecting([job_pod("r2"), jobs(&[]), pods(&[])]);
    let cleaned = hookd.api.during(cleanup(&hookd.context)).await.unwrap();
    assert_eq!((cleaned.deleted, cleaned.service_logs.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_that_is_not_allowed_names_verb_and_resource() {
    let refusal = "jobs.batch is forbidden: User \"u\" cannot list resource \"jobs\" in API group";
    let hookd = Hookd::expecting([
        absent(PODS, "r-workflow"),
        get(JOBS).refuses(403, "Forbidden", refusal).repeated(),
        pods(&[]),
    ]);
    let failure = hookd.api.during(cleanup(&hookd.context)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionMissing);
    assert!(failure.message.contains("list jobs"), "{failure}");
    assert!(failure.message.contains(refusal), "{failure}");
}
