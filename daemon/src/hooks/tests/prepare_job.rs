//! A job with one service and no container: its pod needs no agent.

use hookd_api::v1::{ContainerSpec, JobPrepared};

use super::*;
use crate::cluster::scripted::End;
use crate::error::{Failure, Reason};
use crate::hooks::prepare_job::PrepareJob;
use crate::names::COMPONENT_LABEL;
use crate::objects::job_pod::JobSpec;
use crate::session::operation::Operation;

/// Metadata of an object of a step's job.
fn of_job(name: &str, runner: &str, step: &str) -> Value {
    let mut metadata = metadata(name, runner, step);
    metadata["labels"][COMPONENT_LABEL] = json!("job");
    metadata
}

/// The pod of a step's job, whose service runs.
fn pod_of(runner: &str, step: &str) -> Value {
    let status = json!({"name": "redis", "image": "redis", "imageID": "", "ready": true,
        "started": true, "restartCount": 0, "state": {"running": {}}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": of_job("r-workflow", runner, step),
        "spec": {"nodeName": "n1", "containers": [{"name": "redis"}]},
        "status": {"phase": "Running", "containerStatuses": [status]}})
}

fn creates_secret() -> Expected {
    let fields = json!({"metadata": {"name": "r-services-s"}, "immutable": true});
    post(SECRETS).with_body(fields).answers(201, json!({"metadata": {"name": "r-services-s"}}))
}

fn create() -> Expected {
    post(PODS).with_body(json!({"metadata": {"name": "r-workflow", "labels": {STEP_LABEL: "s"}}}))
}

fn creates() -> Expected {
    create().answers(201, pod_of("r", "s"))
}

fn exists() -> Expected {
    create().refuses(409, "AlreadyExists", "pods \"r-workflow\" already exists")
}

/// The pod that has the name.
fn stands(pod: Value) -> Expected {
    get(format!("{PODS}/r-workflow")).answers(200, pod)
}

fn list_by_name(name: &str, items: &[Value]) -> Expected {
    get(PODS).with_query(&format!("fieldSelector=metadata.name={name}")).answers(200, listed(items))
}

fn watch_by_name(name: &str) -> Expected {
    get(PODS)
        .with_query("watch=true")
        .with_query(&format!("fieldSelector=metadata.name={name}"))
        .streams([], End::Open)
        .repeated()
}

/// The pod becomes ready.
fn gets_ready() -> [Expected; 2] {
    [list_by_name("r-workflow", &[pod_of("r", "s")]), watch_by_name("r-workflow")]
}

/// The Secrets of this step's job are deleted.
fn deletes_secrets() -> [Expected; 3] {
    [
        found(SECRETS, "r-services-s", "r"),
        deletes(SECRETS, "r-services-s"),
        absent(SECRETS, "r-pull-s"),
    ]
}

/// What comes of the job, and what its client reads; behind the start, the script stands alone.
async fn prepared(
    script: impl IntoIterator<Item = Expected>,
) -> (Result<JobPrepared, Failure>, String, Hookd) {
    let hookd = Hookd::expecting(discovery().into_iter().chain(script));
    let service = ContainerSpec {
        image: "redis".to_owned(),
        create_options: "--no-healthcheck".to_owned(),
        ..ContainerSpec::default()
    };
    let spec = JobSpec::read(None, vec![service]).unwrap();
    let mut operation = PrepareJob::new(hookd.context.clone(), step(), spec);
    let mut client = Client::at(Cursor::default());
    let prepared = hookd.api.during(operation.run(&mut client.session)).await;
    (prepared, client.read(), hookd)
}

/// The watch of the runner pod, which lives as long as that of the job's pod.
fn runner_lives() -> [Expected; 2] {
    let runner = json!({"metadata": {"name": "r", "uid": "runner", "resourceVersion": "5"}});
    [list_by_name("r", &[runner]), watch_by_name("r")]
}

#[tokio::test(start_paused = true)]
async fn a_jobs_pod_is_created_with_its_secret() {
    let script = [creates_secret(), creates()].into_iter().chain(runner_lives());
    let (prepared, lines, hookd) = prepared(script.chain(gets_ready())).await;
    assert_eq!(prepared.unwrap().job_pod, "r-workflow");
    assert!(lines.contains("Pod r-workflow is ready on node n1"), "{lines}");
    assert!(hookd.requests("DELETE").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_this_step_made_before_is_adopted() {
    let script = [creates_secret(), exists(), stands(pod_of("r", "s"))];
    let script = script.into_iter().chain(runner_lives()).chain(gets_ready());
    let (prepared, _, hookd) = prepared(script).await;
    assert_eq!(prepared.unwrap().job_pod, "r-workflow");
    assert!(hookd.requests("DELETE").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_pod_of_an_earlier_job_is_replaced() {
    let script = [
        creates_secret(),
        exists(),
        stands(pod_of("r", "earlier")),
        found(PODS, "r-workflow", "r"),
        deletes(PODS, "r-workflow"),
        list_by_name("r-workflow", &[]),
        creates_secret(),
        creates(),
    ];
    let script = script.into_iter().chain(deletes_secrets()).chain(runner_lives());
    let (prepared, _, hookd) = prepared(script.chain(gets_ready())).await;
    assert_eq!(prepared.unwrap().job_pod, "r-workflow");
    // The name is free before it is taken again.
    let requests = hookd.api.requests();
    let at = |line: &str| requests.iter().rposition(|request| request == line).unwrap();
    assert!(at(&format!("DELETE {PODS}/r-workflow")) < at(&format!("POST {PODS}")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_start_was_interrupted_is_replaced() {
    let mut broken = pod_of("r", "s");
    broken["status"]["containerStatuses"][0]["state"] = interrupted_start("start");
    let is_watched = || {
        let query = "fieldSelector=metadata.name=r-workflow";
        get(PODS).with_query("watch=true").with_query(query).streams([], End::Open)
    };
    let script = [
        creates_secret(),
        creates(),
        list_by_name("r-workflow", &[broken]),
        is_watched(),
        found(PODS, "r-workflow", "r"),
        deletes(PODS, "r-workflow"),
        list_by_name("r-workflow", &[]),
        creates_secret(),
        creates(),
    ];
    // The runner pod is watched with each of the two.
    let ([is_listed, is_followed], [is_listed_again, _]) = (runner_lives(), runner_lives());
    let runner = [is_followed, is_listed, is_listed_again];
    let script = script.into_iter().chain(deletes_secrets()).chain(runner);
    let (prepared, lines, _hookd) = prepared(script.chain(gets_ready())).await;
    assert_eq!(prepared.unwrap().job_pod, "r-workflow");
    assert!(lines.contains("The job's pod is made again"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn the_pod_of_another_runner_is_not_replaced() {
    let other = pod_of("r2", "earlier");
    let script = [creates_secret(), exists(), stands(other), found(PODS, "r-workflow", "r2")];
    let (prepared, _, hookd) = prepared(script).await;
    let failure = prepared.unwrap_err();
    assert_eq!(failure.reason, Reason::StepLost);
    assert!(failure.message.contains("Pod r-workflow exists"), "{failure}");
    assert!(failure.message.contains("belongs to runner r2"), "{failure}");
    assert!(hookd.requests("DELETE").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_an_earlier_job_that_does_not_go_fails_the_job() {
    let script = [
        creates_secret(),
        exists(),
        stands(pod_of("r", "earlier")),
        found(PODS, "r-workflow", "r"),
        deletes(PODS, "r-workflow"),
    ];
    let script = script.into_iter().chain(deletes_secrets()).chain(gets_ready());
    let (prepared, _, hookd) = prepared(script).await;
    let failure = prepared.unwrap_err();
    assert_eq!(failure.reason, Reason::DeadlineExceeded);
    assert!(failure.message.contains("Pod r-workflow of an earlier job"), "{failure}");
    assert!(failure.message.contains("120 s"), "{failure}");
    assert_eq!(hookd.requests("POST").iter().filter(|line| line.ends_with("/pods")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_room_in_the_quota() {
    let quota = "pods \"r-workflow\" is forbidden: exceeded quota: q, used: pods=9";
    let secret_exists = || post(SECRETS).refuses(409, "AlreadyExists", "already exists");
    let secret = json!({"metadata": of_job("r-services-s", "r", "s")});
    let script = [
        creates_secret(),
        create().refuses(403, "Forbidden", quota),
        secret_exists(),
        get(format!("{SECRETS}/r-services-s")).answers(200, secret),
        creates(),
    ];
    let script = script.into_iter().chain(runner_lives()).chain(gets_ready());
    let (prepared, lines, _hookd) = prepared(script).await;
    assert_eq!(prepared.unwrap().job_pod, "r-workflow");
    assert!(lines.contains("Waiting: ") && lines.contains("exceeded quota: q"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_pod_is_denied_fails_and_rolls_back() {
    let denial = "pods \"r-workflow\" is forbidden: violates PodSecurity \"baseline:latest\"";
    let script = [creates_secret(), create().refuses(403, "Forbidden", denial)];
    let undone = deletes_secrets().into_iter().chain([absent(PODS, "r-workflow")]);
    let (prepared, _, hookd) = prepared(script.into_iter().chain(undone)).await;
    let failure = prepared.unwrap_err();
    assert_eq!(failure.reason, Reason::AdmissionDenied);
    assert!(failure.message.contains("create Pod r-workflow"), "{failure}");
    assert!(failure.message.contains(denial), "{failure}");
    let operation = PrepareJob::new(hookd.context.clone(), step(), JobSpec::default());
    hookd.api.during(operation.roll_back(None)).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_before_anything_is_made() {
    let rules = json!([{"apiGroups": [""], "resources": ["*"], "verbs": ["*"]}]);
    let review = json!({"spec": {}, "status": {"resourceRules": rules, "nonResourceRules": [],
        "incomplete": false}});
    let review = post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews").answers(201, review);
    // Which permissions are needed depends on the runner pod.
    let [_, runner, _] = discovery();
    let hookd = Hookd::expecting([review, runner]);
    let mut operation = PrepareJob::new(hookd.context.clone(), step(), JobSpec::default());
    let mut client = Client::at(Cursor::default());
    let failure = hookd.api.during(operation.run(&mut client.session)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionMissing);
    assert!(failure.message.contains("create jobs.batch"), "{failure}");
    assert_eq!(hookd.context.missing().len(), 4);
}
