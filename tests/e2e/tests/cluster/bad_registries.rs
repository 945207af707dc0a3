//! Registries that do not take an image, or are not there.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use test_support::{Outcome, RunnerPod, Setup};

/// The node as pods reach it.
const NODE: &str = "10.88.0.1";

/// A registry that answers each request that is not a GET with `answer`; its port.
fn registry(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((NODE, 0)).expect("the devcluster's bridge has 10.88.0.1");
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || serve(connection, answer));
        }
    });
    port
}

fn serve(connection: TcpStream, answer: &str) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    loop {
        let mut request = String::new();
        reader.read_line(&mut request).ok().filter(|length| *length > 0)?;
        let mut header = String::new();
        while header != "\r\n" {
            header.clear();
            reader.read_line(&mut header).ok().filter(|length| *length > 0)?;
        }
        let answer = match request.split(' ').next() {
            Some("GET") => "200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            Some("HEAD") => "404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => answer.to_owned(),
        };
        (&connection).write_all(format!("HTTP/1.1 {answer}").as_bytes()).ok()?;
    }
}

fn built_for(port: u16) -> Outcome {
    let setup = Setup::default()
        .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", NODE)
        .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", port.to_string());
    let runner = RunnerPod::with(&setup);
    let outcome =
        runner.run(&runner.action("push", &[("Dockerfile", "FROM busybox:1\nRUN true\n")]));
    runner.assert_nothing_left();
    outcome
}

#[test]
fn a_registry_that_is_down_is_told_with_its_address() {
    let port = TcpListener::bind((NODE, 0)).unwrap().local_addr().unwrap().port();
    let outcome = built_for(port);
    let setting = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST";
    outcome.assert_failed_with(
        30,
        &[&format!("{NODE}:{port}"), "connection refused", "cannot be reached", setting],
    );
}

#[test]
fn a_registry_that_is_read_only_is_told_in_its_words() {
    let body = r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#;
    let answer = format!(
        "405 Method Not Allowed\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let port = registry(answer.leak());
    let outcome = built_for(port);
    outcome.assert_failed_with(
        30,
        &[&format!("{NODE}:{port}"), "UNSUPPORTED", "does not take the image", "writable"],
    );
}

#[test]
fn a_registry_that_wants_credentials_is_told_with_the_setting() {
    let body =
        r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let answer = format!(
        "403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let port = registry(answer.leak());
    let outcome = built_for(port);
    let setting = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET";
    outcome.assert_failed_with(30, &[&format!("{NODE}:{port}"), "denied", setting]);
}

#[test]
fn a_hookd_without_a_registry_says_which_settings_name_one() {
    let runner =
        RunnerPod::with(&Setup::default().set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", ""));
    let outcome = runner.run(&runner.action("push", &[("Dockerfile", "FROM busybox:1\n")]));
    outcome.assert_failed_with(10, &["registry", "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST"]);
    // Images need none.
    runner.run(&runner.script("echo well")).assert_code(0);
    runner.assert_nothing_left();
}
