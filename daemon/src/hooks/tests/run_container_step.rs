//! A step whose program the kubelet starts.

use super::*;
use hookd_api::transport::STEPD_DIR;

use crate::cluster::logs::LogPosition;
use crate::cluster::scripted::End;
use crate::error::{Failure, Reason};
use crate::hooks::run_container_step::RunContainerStep;
use crate::names::COMPONENT_LABEL;
use crate::objects::agent::STEPD;
use crate::objects::container::{ContainerStep, Source};
use crate::registry::image_config::ImageConfig;
use crate::session::cursor::RunPosition;
use crate::session::operation::Operation;

fn job(step: &str) -> Value {
    let mut metadata = metadata("r-step-s", "r", step);
    metadata["labels"][COMPONENT_LABEL] = json!("step");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata})
}

fn creates_secret() -> Expected {
    let secret = json!({"metadata": {"name": "r-step-s"}, "data": {"v0": "MQ=="}});
    post(SECRETS).with_body(secret.clone()).answers(201, secret)
}

fn create() -> Expected {
    post(JOBS).with_body(json!({"metadata": {"name": "r-step-s"}, "spec": {"backoffLimit": 0}}))
}

fn finds(job: Value) -> Expected {
    get(format!("{JOBS}/r-step-s")).answers(200, job)
}

/// The pod of the Job of this uid, with its container in this state.
fn pod_of(job: &str, name: &str, state: Value) -> [Expected; 4] {
    let status = json!({"name": "step", "image": "busybox", "imageID": "", "ready": false,
        "restartCount": 0, "state": state});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "uid": "p", "resourceVersion": "5"},
        "spec": {"containers": [{"name": "step"}]},
        "status": {"phase": "Failed", "containerStatuses": [status]}});
    let added = json!({"type": "ADDED", "object": pod});
    let name = format!("fieldSelector=metadata.name={name}");
    let label = format!("labelSelector=batch.kubernetes.io/controller-uid={job}");
    let pods = listed(std::slice::from_ref(&pod));
    [
        get(PODS).with_query(&label).with_query("watch=true").streams([added], End::Open),
        get(PODS).with_query(&label).answers(200, pods),
        get(PODS).with_query(&name).answers(200, listed(&[pod])),
        get(PODS).with_query(&name).with_query("watch=true").streams([], End::Open),
    ]
}

/// The Job's pod has ended with 3, after one line of output.
fn ends() -> [Expected; 5] {
    let terminated = json!({"exitCode": 3, "reason": "Error",
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"});
    let [appears, is_alone, is_listed, is_watched] =
        pod_of("uid of r-step-s", "r-step-s-x", json!({"terminated": terminated}));
    [
        appears,
        is_alone,
        is_listed,
        is_watched,
        get(format!("{PODS}/r-step-s-x/log"))
            .with_query("container=step")
            .answers_text("2026-01-01T00:00:00.500000000Z hello\n")
            .repeated(),
    ]
}

/// A client to which the Job of this uid was shown.
fn resumed(uid: &str, agent_launch: Option<ImageConfig>) -> Cursor {
    let run = RunPosition {
        job_uid: uid.to_owned(),
        agent_launch,
        built: None,
        before: Offsets::default(),
        log: LogPosition::default(),
    };
    Cursor { run: Some(run), ..Cursor::default() }
}

/// What comes of the step, what its client reads, and its last cursor.
async fn ran(
    cursor: Cursor,
    script: impl IntoIterator<Item = Expected>,
) -> (Result<i32, Failure>, String, Cursor) {
    let hookd = Hookd::expecting(discovery().into_iter().chain(script));
    let spec = ContainerStep {
        source: Source::Image("busybox".to_owned()),
        environment: [("ONE".to_owned(), "1".to_owned())].into(),
        ..ContainerStep::default()
    };
    let mut operation = RunContainerStep::new(hookd.context.clone(), step(), spec);
    let mut client = Client::at(cursor);
    let ended = hookd.api.during(operation.run(&mut client.session)).await;
    let text = client.read();
    (ended, text, client.session.into_cursor())
}

#[tokio::test(start_paused = true)]
async fn a_step_is_created_once_and_returns_its_exit_code() {
    let script = [absent(PODS, "r-workflow"), creates_secret(), create().answers(201, job("s"))];
    let (ended, text, cursor) = ran(Cursor::default(), script.into_iter().chain(ends())).await;
    assert_eq!(ended.unwrap(), 3);
    assert!(text.contains("hello\n"), "{text}");
    assert_eq!(cursor.run.unwrap().job_uid, "uid of r-step-s");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_create_was_not_answered_is_adopted() {
    let script = [
        absent(PODS, "r-workflow"),
        creates_secret(),
        create().loses_its_answer(),
        create().refuses(409, "AlreadyExists", "jobs.batch \"r-step-s\" already exists"),
        finds(job("s")),
    ];
    let (ended, _, cursor) = ran(Cursor::default(), script.into_iter().chain(ends())).await;
    assert_eq!(ended.unwrap(), 3);
    assert_eq!(cursor.run.unwrap().job_uid, "uid of r-step-s");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_the_name_by_chance_is_not_adopted() {
    let script = [
        absent(PODS, "r-workflow"),
        creates_secret(),
        create().refuses(409, "AlreadyExists", "jobs.batch \"r-step-s\" already exists"),
        finds(job("another")),
    ];
    let (ended, _, cursor) = ran(Cursor::default(), script).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.reason, Reason::StepLost);
    assert!(failure.message.contains("Job r-step-s exists"), "{failure}");
    assert_eq!(cursor.run, None);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_step_finds_its_job_by_name() {
    let cursor = resumed("uid of r-step-s", None);
    let (ended, text, _) = ran(cursor, [finds(job("s"))].into_iter().chain(ends())).await;
    assert_eq!(ended.unwrap(), 3);
    assert!(text.contains("hello\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_gone_is_never_made_a_second_time() {
    let own = "uid of r-step-s";
    for (what, cursor, answer, message) in [
        ("gone", resumed(own, None), absent(JOBS, "r-step-s"), "Job r-step-s of this step is gone"),
        ("another", resumed("older", None), finds(job("s")), "Job r-step-s of this step is gone"),
        (
            "with another launcher",
            resumed(own, Some(ImageConfig::default())),
            finds(job("s")),
            "Job r-step-s was created by an earlier hookd",
        ),
    ] {
        // The script has no create.
        let (ended, _, _) = ran(cursor, [answer]).await;
        let failure = ended.unwrap_err();
        assert_eq!(failure.reason, Reason::StepLost, "{what}");
        assert!(failure.message.contains(message), "{what}: {failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_step_waits_for_an_api_server_that_is_away() {
    let read = || get(format!("{JOBS}/r-step-s"));
    let script = [
        read().loses_its_answer(),
        read().asks_to_wait(503, 5),
        read().answers_a_page(),
        finds(job("s")),
    ];
    let cursor = resumed("uid of r-step-s", None);
    let (ended, _, _) = ran(cursor, script.into_iter().chain(ends())).await;
    assert_eq!(ended.unwrap(), 3);
}

/// A program that the kubelet was about to start, when it was killed.
#[tokio::test(start_paused = true)]
async fn a_job_whose_program_has_not_begun_is_replaced() {
    let own = "uid of r-step-s";
    let mut second = job("s");
    second["metadata"]["uid"] = json!("second");
    let script = [finds(job("s"))]
        .into_iter()
        .chain(pod_of(own, "r-step-s-x", interrupted_start("create")))
        .chain([
            found(JOBS, "r-step-s", "r"),
            deletes(JOBS, "r-step-s"),
            absent(PODS, "r-workflow"),
        ])
        .chain([creates_secret(), create().answers(201, second)])
        .chain(pod_of("second", "r-step-s-y", interrupted_start("start")));
    let (ended, text, cursor) = ran(resumed(own, None), script).await;
    assert!(text.contains("The step's Job is made again"), "{text}");
    assert_eq!(ended.unwrap_err().reason, Reason::StartFailed);
    assert_eq!(cursor.run.unwrap().job_uid, "second");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_agent_start_was_interrupted_is_replaced() {
    let by_agent = |uid: &str| {
        let container = json!({"name": "step",
            "command": [STEPD, "serve", "--dir", STEPD_DIR]});
        let mut job = job("s");
        job["metadata"]["uid"] = json!(uid);
        job["spec"] = json!({"template": {"spec": {"containers": [container]}}});
        job
    };
    let own = "uid of r-step-s";
    let first = [finds(by_agent(own))].into_iter().chain(pod_of(
        own,
        "r-step-s-x",
        interrupted_start("start"),
    ));
    let replaced = [
        found(JOBS, "r-step-s", "r"),
        deletes(JOBS, "r-step-s"),
        absent(PODS, "r-workflow"),
        creates_secret(),
    ];
    let mut second = job("s");
    second["metadata"]["uid"] = json!("second");
    let script = first.chain(replaced).chain([create().answers(201, second)]).chain(pod_of(
        "second",
        "r-step-s-y",
        interrupted_start("start"),
    ));
    let (ended, text, cursor) = ran(resumed(own, Some(ImageConfig::default())), script).await;
    assert!(text.contains("The step's Job is made again"), "{text}");
    // The second is the kubelet's to start: its program may have run.
    assert_eq!(ended.unwrap_err().reason, Reason::StartFailed);
    assert_eq!(cursor.run.unwrap().job_uid, "second");
}
