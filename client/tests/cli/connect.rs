//! The way to hookd's socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::Place;
use crate::support::hookd::FakeHookd;
use crate::support::process::HookCommand;

#[tokio::test]
async fn a_socket_that_appears_late_is_waited_for_and_reported_once() {
    let place = Place::new();
    let hook = place.step();
    let socket = place.socket().display().to_string();
    let waiting = format!("hookd is not answering on {socket}; waiting up to 30 s\n");
    hook.complained(&waiting).await;
    let mut hookd = place.hookd().await;
    hookd.step().await.conclude(0).await;
    let finished = hook.finished().await;
    assert_eq!(finished.own_lines(), format!("{waiting}hookd is answering; carrying on\n"));
    assert_eq!(finished.code, 0);
}

#[tokio::test]
async fn a_socket_that_never_appears_is_an_error_after_the_time_set() {
    let place = Place::new();
    for (seconds, waits) in [("0", false), ("2", true)] {
        let hook =
            place.command().env("HOOK_CONNECT_TIMEOUT_SECONDS", seconds).start(&place.step_input());
        let finished = hook.finished().await;
        let socket = place.socket().display().to_string();
        let waiting = format!("hookd is not answering on {socket}; waiting up to 2 s\n");
        let error = format!(
            "::error title=hookd is not answering::hookd did not answer on {socket} within \
             {seconds} s: No such file or directory (os error 2). Check that the hookd container \
             of the runner pod is running (its log says why not), and that both containers mount \
             the directory of the socket.\n"
        );
        assert_eq!(finished.own_lines(), if waits { waiting + &error } else { error });
        assert_eq!(finished.code, 1);
    }
}

#[tokio::test]
async fn a_socket_that_forbids_is_an_error_at_once() {
    const OTHER_USER: u32 = 65_534;
    let place = Place::new();
    let _hookd = place.hookd().await;
    let open = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(place.socket().parent().unwrap(), open(0o755)).unwrap();
    std::fs::set_permissions(place.socket(), open(0)).unwrap();
    // Root may connect to anything.
    let root = rustix::process::geteuid().is_root();
    // The build's own folder may be closed to others. Another process writes the copy: a file that
    // this one has written may be "busy" for as long as another test forks.
    let program = place.socket().with_file_name("hook");
    let mut copy = std::process::Command::new("cp");
    copy.arg("-p").arg(env!("CARGO_BIN_EXE_hook")).arg(&program);
    assert!(copy.status().unwrap().success());
    let command = HookCommand::at(&program).env("HOOKD_SOCKET", place.socket());
    let command = if root { command.uid(OTHER_USER) } else { command };
    let mut input = place.step_input();
    // That user may not write there either.
    input["responseFile"] = serde_json::Value::Null;
    command.start(&input).finished().await.assert_error(&format!(
        "::error title=The socket of hookd cannot be used::The socket {} cannot be used: \
         Permission denied (os error 13). Run the hookd container with the user id of the runner \
         container: the socket is for that user only.",
        place.socket().display()
    ));
}

#[tokio::test]
async fn a_path_that_cannot_be_a_socket_is_an_error_at_once() {
    let place = Place::new();
    let long = format!("/tmp/{}", "x".repeat(200));
    let hook = place.command().env("HOOKD_SOCKET", &long).start(&place.step_input());
    let finished = hook.finished().await;
    assert_eq!(finished.code, 1);
    assert!(finished.own_lines().contains("Set HOOKD_SOCKET to the path of hookd's socket"));
}

#[tokio::test]
async fn a_time_out_that_is_no_number_is_named_and_the_default_taken() {
    let place = Place::new();
    let hook =
        place.command().env("HOOK_CONNECT_TIMEOUT_SECONDS", "soon").start(&place.step_input());
    hook.complained("HOOK_CONNECT_TIMEOUT_SECONDS is \"soon\"").await;
    hook.complained("the default 300 is used").await;
    let mut hookd = place.hookd().await;
    hookd.step().await.conclude(0).await;
    assert_eq!(hook.finished().await.code, 0);
}

#[tokio::test]
async fn the_runner_s_way_to_start_hook_finds_the_socket_beside_it() {
    let place = Place::beside_the_build();
    let directory = place.socket().parent().unwrap().to_owned();
    let binary = directory.join("hook");
    // Not a copy: a file that was just written may be "busy" for as long as another test forks.
    std::fs::hard_link(env!("CARGO_BIN_EXE_hook"), &binary).unwrap();
    let script = directory.join("hook.sh");
    std::fs::write(&script, format!("exec \"{}\"\n", binary.display())).unwrap();
    let mut hookd = FakeHookd::start(&place.socket()).await;

    let input = std::process::Stdio::from(input_file(&directory, &place.step_input().to_string()));
    let mut bash = tokio::process::Command::new("bash");
    bash.arg("-e").arg(&script).env_remove("HOOKD_SOCKET").stdin(input).kill_on_drop(true);
    let mut child = bash.spawn().unwrap();
    hookd.step().await.conclude(7).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
}

/// A file with `text`, open for reading.
fn input_file(directory: &Path, text: &str) -> std::fs::File {
    let path = directory.join("input.json");
    std::fs::write(&path, text).unwrap();
    std::fs::File::open(path).unwrap()
}
