//! Registries that do not take an image, or are not there.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use test_support::cluster::cluster;
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

/// The cluster's registry, which answers the first requests of a method otherwise; its port, and how many
/// such requests there were.
fn shaky(method: &'static str, answer: &'static str, times: u32) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind((NODE, 0)).expect("the devcluster's bridge has 10.88.0.1");
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicU32::new(0));
    let count = seen.clone();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let count = count.clone();
            thread::spawn(move || {
                pass(connection, || count.fetch_add(1, Ordering::SeqCst) < times, method, answer)
            });
        }
    });
    (port, seen)
}

/// One request of a connection.
fn pass(
    connection: TcpStream,
    is_wrong: impl Fn() -> bool,
    method: &str,
    answer: &str,
) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|length| *length > 0)?;
    }
    if head.starts_with(method) && is_wrong() {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return (&connection).write_all(answer.as_bytes()).ok();
    }
    let cluster = cluster();
    let address = format!("{}:{}", cluster.registry_host, cluster.registry_port);
    let registry = TcpStream::connect(address).ok()?;
    // The next request has a connection of its own.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    (&registry).write_all(head.as_bytes()).ok()?;
    let answers = registry.try_clone().ok()?;
    thread::spawn(move || {
        let _ = io::copy(&mut reader, &mut &registry);
    });
    io::copy(&mut &answers, &mut &connection).ok()?;
    connection.shutdown(std::net::Shutdown::Both).ok()
}

fn built_for(port: u16) -> Outcome {
    let setup = Setup::default()
        .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", NODE)
        .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", port.to_string())
        .set(
            "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST",
            format!("localhost:{}", cluster().registry_node_port),
        );
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
fn a_registry_that_fails_for_a_moment_is_asked_again() {
    for (method, answer) in [
        ("POST", "429 Too Many Requests\r\nRetry-After: 1"),
        ("POST", "503 Service Unavailable"),
        ("PATCH", "500 Internal Server Error"),
        ("PUT", "502 Bad Gateway"),
    ] {
        let (port, seen) = shaky(method, answer, 2);
        built_for(port).assert_code(0);
        assert!(seen.load(Ordering::SeqCst) > 2, "{method}: {seen:?}");
    }
}

#[test]
fn a_registry_that_stays_busy_or_broken_is_told_with_the_remedy() {
    for (answer, words) in [
        ("429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", ["TOOMANYREQUESTS", "later"]),
        ("500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", ["answers 500", "storage"]),
    ] {
        let port = registry(answer);
        built_for(port)
            .assert_failed_with(60, &[&[&*format!("{NODE}:{port}")], &words[..]].concat());
    }
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
