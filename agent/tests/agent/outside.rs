//! stepd in a container of the runner pod: its clients are in other containers, and its socket in a
//! volume that both have.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use hookd_api::stepd::v1::step_service_client::StepServiceClient;
use hookd_api::stepd::v1::{GetStatusRequest, IdentifyRequest, StartStepRequest, StopRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Stepd, until};

const OUTSIDE: [&str; 2] = ["--clients", "outside"];

/// A client of another pid namespace, as hookd is.
async fn connect(stepd: &Stepd) -> StepServiceClient<Channel> {
    let socket = stepd.dir.path().join("stepd.sock");
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://stepd").connect_with_connector(connector).await;
    StepServiceClient::new(channel.unwrap())
}

fn program(id: &str, script: &str) -> StartStepRequest {
    StartStepRequest {
        step_id: id.to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..StartStepRequest::default()
    }
}

#[tokio::test]
async fn a_client_of_another_container_is_answered_whoever_it_is() {
    // As in a container whose image has a user.
    let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
    let stepd = Stepd::start_as(&OUTSIDE, &user);
    let mut client = connect(&stepd).await;
    assert!(client.start_step(program("s", "exit 3")).await.unwrap().into_inner().started);
    let status = client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.steps[0].step_id, "s");
}

#[tokio::test]
async fn stepd_keeps_the_identity_that_its_first_client_gave_it() {
    let stepd = Stepd::start(&OUTSIDE);
    let mut client = connect(&stepd).await;
    for (given, expected) in [("", ""), ("one", "one"), ("other", "one"), ("", "one")] {
        let request = IdentifyRequest { identity: given.to_owned() };
        assert_eq!(client.identify(request).await.unwrap().into_inner().identity, expected);
    }
}

#[tokio::test]
async fn no_process_of_its_own_container_is_answered() {
    let stepd = Stepd::start(&OUTSIDE);
    // One that came by exec has a number in the container too.
    assert!(
        stepd.try_connect().await.unwrap().client.get_status(GetStatusRequest {}).await.is_err()
    );
    let mut client = connect(&stepd).await;
    let me = env!("CARGO_BIN_EXE_stepd");
    let dir = stepd.dir.path().display();
    let script = format!("echo x | timeout 5 {me} connect --dir {dir} > {dir}/answer");
    client.start_step(program("attack", &script)).await.unwrap();
    until("the attack is over", || {
        let ended = stepd.dir.path().join("answer").exists()
            && !stepd.processes().iter().any(|line| line.contains("timeout"));
        ended.then_some(())
    });
    assert_eq!(std::fs::read(stepd.dir.path().join("answer")).unwrap(), b"");
}

#[tokio::test]
async fn stop_ends_every_process_and_leaves_an_empty_directory() {
    let stepd = Stepd::start(&OUTSIDE);
    let mut client = connect(&stepd).await;
    let script = "trap '' INT TERM; (setsid sleep 4321 &); sleep 4321";
    client.start_step(program("s", script)).await.unwrap();
    until("it runs", || (stepd.processes().len() >= 3).then_some(()));
    client.stop(StopRequest { grace_milliseconds: 50 }).await.unwrap();
    assert_eq!(stepd.processes(), Vec::<String>::new());
    until("the directory is empty", || is_empty(stepd.dir.path()).then_some(()));
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[tokio::test]
async fn a_container_ends_with_its_main_program_and_its_code() {
    let mut stepd = Stepd::start(&OUTSIDE);
    let mut client = connect(&stepd).await;
    let request = StartStepRequest { is_main: true, ..program("service", "exit 5") };
    client.start_step(request).await.unwrap();
    let ended = stepd.wait();
    assert_eq!((ended.code(), ended.signal()), (Some(5), None));
    assert!(is_empty(stepd.dir.path()));
}

#[tokio::test]
async fn a_main_program_that_cannot_be_started_is_told_by_127() {
    let mut stepd = Stepd::start(&OUTSIDE);
    let mut client = connect(&stepd).await;
    let argv = vec!["/none".to_owned()];
    let request = StartStepRequest { argv, is_main: true, ..program("service", "") };
    client.start_step(request).await.unwrap();
    assert_eq!(stepd.wait().code(), Some(127));
}
