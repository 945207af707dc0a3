//! What a step tries against stepd, and against its own end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hookd_api::stepd::v1::GetStatusRequest;

use crate::support::{Session, Stepd, file, text, until};

const STEPD: &str = env!("CARGO_BIN_EXE_stepd");
/// Starts a program as a user of the container that is not stepd's.
const OTHER: &str = "setpriv --reuid=65533 --regid=65533 --clear-groups";

/// How many processes have a command line that begins so.
fn count(stepd: &Stepd, what: &str) -> usize {
    let line = |process: &String| process.split_once(' ').map(|(_, line)| line.trim().to_owned());
    stepd.processes().iter().filter_map(line).filter(|line| line.starts_with(what)).count()
}

/// What a session says that carries nothing, and whether it ends well.
fn session(stepd: &Stepd) -> (bool, String) {
    let mut command = stepd.exec();
    command.args([STEPD, "connect", "--dir"]).arg(stepd.dir.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Where each user can start stepd: cargo's folder may be open to root only.
fn for_everybody(stepd: &Stepd) -> String {
    let program = file(stepd, "program");
    std::fs::copy(STEPD, &program).unwrap();
    text(&program)
}

/// As the kubelet makes a volume for a container whose user is not its owner.
fn open_to_all(stepd: &Stepd) {
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(stepd.dir.path(), all).unwrap();
}

#[tokio::test]
async fn another_user_cannot_change_the_directory_or_open_the_socket() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let dir = text(stepd.dir.path());
    let program = for_everybody(&stepd);
    for (id, attempt) in [
        ("rename", format!("mv {dir}/stepd.sock {dir}/mine")),
        ("remove", format!("rm -f {dir}/stepd.sock")),
        ("spool", format!("mv {dir}/spool {dir}/mine")),
        ("look", format!("ls {dir}/spool")),
        ("make", format!("touch {dir}/mine")),
        ("speak", format!("{program} connect --dir {dir} </dev/null")),
    ] {
        let (end, attached) = session.run(id, &format!("{OTHER} {attempt} 2>&1")).await;
        let words = attached.text();
        assert!(end.exit_code != 0 && words.contains("ermission denied"), "{id}: {end:?} {words}");
    }
    assert!(session.client.get_status(GetStatusRequest {}).await.is_ok());
}

#[tokio::test]
async fn a_session_sends_nothing_to_a_socket_that_is_not_stepds() {
    let stepd = Stepd::start(&[]);
    let mut before = stepd.connect().await;
    open_to_all(&stepd);
    assert!(session(&stepd).0);
    // The fake is the best there is: another stepd, of another user.
    let dir = text(stepd.dir.path());
    let program = for_everybody(&stepd);
    let fake = format!(
        "mkdir -m 777 {dir}/fake; {OTHER} sh -c '{program} serve --dir {dir}/fake & \
         while [ ! -e {dir}/fake/stepd.sock ]; do sleep 0.05; done; \
         mv {dir}/stepd.sock {dir}/real; mv {dir}/fake/stepd.sock {dir}/stepd.sock'"
    );
    before.run("fake", &fake).await;
    let (well, words) = session(&stepd);
    assert!(!well && words.contains("which is not stepd"), "{words}");
    // One outside of the container.
    let socket = file(&stepd, "stepd.sock");
    std::fs::remove_file(&socket).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (well, words) = session(&stepd);
    assert!(!well && words.contains("a process outside"), "{words}");
    // A session that was there before goes on.
    assert_eq!(before.run("next", "exit 3").await.0.exit_code, 3);
}

#[tokio::test]
async fn a_spool_that_was_replaced_by_links_is_not_followed() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    open_to_all(&stepd);
    let dir = text(stepd.dir.path());
    let replace = format!(
        "echo whole > {dir}/victim; chmod 600 {dir}/victim; \
         {OTHER} sh -c 'mv {dir}/spool {dir}/old; mkdir -m 777 {dir}/spool; \
         ln -s {dir}/victim {dir}/spool/segment'; test -h {dir}/spool/segment"
    );
    assert_eq!(session.run("replace", &replace).await.0.exit_code, 0);
    let (end, attached) = session.run("print", "seq 1 2000000").await;
    assert_eq!(end.exit_code, 0);
    assert_eq!(attached.stdout.iter().filter(|byte| **byte == b'\n').count(), 2_000_000);
    assert_eq!(std::fs::read_to_string(file(&stepd, "victim")).unwrap(), "whole\n");
}

#[tokio::test]
async fn a_step_of_stepds_user_reads_neither_its_memory_nor_files() {
    // What containerd gives to root: not the right to trace others.
    let capabilities = "--bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+mknod,\
                        +net_bind_service,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+sys_chroot";
    let stepd = Stepd::start_as(&[], &["setpriv", capabilities]);
    let mut session = stepd.connect().await;
    for (id, what) in [
        ("environ", "cat /proc/1/environ"),
        ("mem", "head -c 1 /proc/1/mem"),
        ("root", "ls /proc/1/root/"),
        ("files", "for f in /proc/1/fd/*; do cat <$f >/dev/null && echo opened $f; done; false"),
        // Its session and the supervisors are as closed as it is.
        ("session", "cat /proc/$PPID/environ"),
    ] {
        let (end, attached) = session.run(id, &format!("exec 2>&1; {what}")).await;
        let words = attached.text();
        assert!(end.exit_code != 0 && words.contains("ermission denied"), "{what}: {words}");
        assert!(!words.contains("opened"), "{words}");
    }
}

/// Waits until a program that is made to go on for ever goes on.
async fn started(session: &mut Session, id: &str, script: &str) {
    session.start(id, &["sh", "-c", script]).await;
    session.attach(id).await.until("started\n").await;
}

#[tokio::test]
async fn what_a_step_leaves_that_kills_its_supervisor_is_ended() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    started(&mut session, "other", "echo started; sleep 971 & wait").await;
    let kills = "setsid sleep 972 & (sleep 973 &) ; kill -9 $PPID; sleep 974";
    let (end, _) = session.run("kills", kills).await;
    assert_eq!((end.exit_code, end.signal), (137, 9));
    until("all of it is gone", || {
        (["sleep 972", "sleep 973", "sleep 974"].iter().all(|what| count(&stepd, what) == 0))
            .then_some(())
    });
    assert_eq!(count(&stepd, "sleep 971"), 1);
    // Nothing is left to cancel, and the cancel returns.
    assert!(session.cancel("kills").await);
    assert!(session.cancel("other").await);
    assert_eq!(count(&stepd, "sleep 97"), 0);
}

#[tokio::test]
async fn a_step_that_stops_its_supervisor_is_cancelled_all_the_same() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let stops = "trap '' INT TERM; kill -STOP $PPID; echo started; while :; do sleep 975; done";
    started(&mut session, "stops", stops).await;
    let began = Instant::now();
    assert!(session.cancel("stops").await);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(count(&stepd, "sleep 975"), 0);
    assert_eq!(session.attach("stops").await.end().await.signal, 9);
}

#[tokio::test]
async fn a_step_that_stops_every_supervisor_holds_up_no_other_call() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let stops = "echo started; while :; do for p in /proc/[0-9]*; do \
                 grep -aqs supervise $p/cmdline && [ ${p#/proc/} != $PPID ] && \
                 kill -STOP ${p#/proc/}; done; done";
    started(&mut session, "stops", stops).await;
    // More than a socket holds, so that it waits for its supervisor.
    let pad = "x".repeat(100_000);
    for number in 0..3 {
        session
            .start_with(&format!("held-{number}"), &["true"], |request| {
                request.environment = (0..20).map(|at| (format!("V{at}"), pad.clone())).collect();
            })
            .await;
    }
    assert!(session.client.get_status(GetStatusRequest {}).await.is_ok());
    assert!(session.cancel("stops").await);
    for number in 0..3 {
        assert!(session.cancel(&format!("held-{number}")).await);
    }
}

#[tokio::test]
async fn thousands_of_processes_are_ended_in_time() {
    const MANY: usize = 3000;
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let many = format!(
        "trap '' INT TERM; for i in $(seq {MANY}); do sleep 976 & done; echo started; \
         while :; do wait; done"
    );
    started(&mut session, "many", &many).await;
    assert_eq!(count(&stepd, "sleep 976"), MANY);
    let began = Instant::now();
    assert!(session.cancel("many").await);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(count(&stepd, "sleep 976"), 0);
}

#[tokio::test]
async fn a_step_that_forks_without_end_is_ended() {
    // Never more than these, or this machine is the victim. The user is changed last: only setpriv
    // can start a program from a folder that is closed to that user.
    let limited = [
        "prlimit",
        "--nproc=300:300",
        "setpriv",
        "--reuid=61234",
        "--regid=61234",
        "--clear-groups",
    ];
    let stepd = Stepd::start_as(&[], &limited);
    let mut session = stepd.connect().await;
    let dir = text(stepd.dir.path());
    let bomb = format!("{dir}/bomb");
    std::fs::write(
        &bomb,
        "#!/bin/sh\ntrap '' INT TERM\nwhile :; do \"$0\" & \"$0\" & done 2>/dev/null\n",
    )
    .unwrap();
    // One that is never there for long, and never where it was.
    let comet = format!("{dir}/comet");
    std::fs::write(&comet, "#!/bin/sh\ntrap '' INT TERM\n\"$0\" &\n").unwrap();
    for (id, program) in [("bomb", &bomb), ("comet", &comet)] {
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(program, executable).unwrap();
        session
            .start(id, &["sh", "-c", &format!("{program} & echo started; exec sleep 977")])
            .await;
        session.attach(id).await.until("started\n").await;
        let began = Instant::now();
        assert!(session.cancel(id).await);
        assert!(began.elapsed() < Duration::from_secs(30), "{id}: {:?}", began.elapsed());
        let left =
            stepd.processes().into_iter().filter(|process| process.contains(program.as_str()));
        assert_eq!(left.count(), 0, "{id}");
    }
}

#[test]
fn where_containers_share_their_processes_a_session_finds_stepd() {
    let dir = tempfile::tempdir().unwrap();
    // PID 1 is the pod's.
    let mut pod = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--kill-child", "sleep", "1000"])
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", pod.id());
    let pid = until("the pod has a process", || {
        let children = std::fs::read_to_string(&children).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    });
    let enter = |role: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--pid", "--mount", STEPD, role, "--dir"]).arg(dir.path());
        command.stdin(Stdio::null());
        command
    };
    let mut serve = enter("serve").spawn().unwrap();
    let socket = dir.path().join("stepd.sock");
    until("stepd listens", || socket.exists().then_some(()));
    let session = enter("connect").output().unwrap();
    assert!(session.status.success(), "{session:?}");
    // The end of PID 1 is the end of all.
    pod.kill().unwrap();
    pod.wait().unwrap();
    serve.wait().unwrap();
}
