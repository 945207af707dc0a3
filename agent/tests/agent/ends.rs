//! The end of a step, and of all that it started.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Stepd, file, text, until};

/// A child in a session of its own, a double fork, and a child that keeps standard output.
const FAMILY: &str = "setsid sleep 981 & (sleep 982 &) ; sleep 983 & echo started";

fn sleepers(stepd: &Stepd) -> usize {
    stepd.processes().iter().filter(|process| process.contains("sleep 98")).count()
}

/// A session of a stepd whose socket is in `dir`.
fn connect(dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepd"));
    command.args(["connect", "--server-pid", &own_pid(), "--dir"]).arg(dir);
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// As [`connect`], of a session that says nothing and is not closed.
fn connect_silently(dir: &Path, silence: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepd"));
    command.args(["connect", "--server-pid", &own_pid(), "--silence", silence, "--dir"]).arg(dir);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// Of this test, which listens itself.
fn own_pid() -> String {
    std::process::id().to_string()
}

/// Listens as stepd does.
fn listen(dir: &Path) -> UnixListener {
    let new = dir.join("new");
    let listener = UnixListener::bind(&new).unwrap();
    std::fs::rename(new, dir.join("stepd.sock")).unwrap();
    listener
}

#[tokio::test]
async fn what_a_program_leaves_running_does_not_hold_its_step_back() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let started = Instant::now();
    let (end, attached) = session.run("family", FAMILY).await;
    assert_eq!((end.exit_code, attached.text().as_str()), (0, "started\n"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(sleepers(&stepd), 3);
    assert!(session.cancel("family").await);
    assert_eq!(sleepers(&stepd), 0);
}

#[tokio::test]
async fn a_cancel_ends_descendants_that_ignore_signals() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let stubborn = "trap '' INT TERM; setsid sh -c \"trap '' INT TERM; echo deep; \
                    while :; do sleep 984; done\" & echo started; while :; do sleep 985; done";
    session.start("stubborn", &["sh", "-c", stubborn]).await;
    let mut attached = session.attach("stubborn").await;
    attached.until("deep\n").await;
    attached.until("started\n").await;
    assert!(session.cancel("stubborn").await);
    assert_eq!(sleepers(&stepd), 0, "{:?}", stepd.processes());
    assert_eq!(attached.end().await.signal, 9);
    assert!(!session.cancel("unknown").await);
}

#[tokio::test]
async fn a_program_that_heeds_an_interrupt_ends_by_itself() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let script = "trap 'echo cleaning; exit 130' INT; echo started; while :; do sleep 0.05; done";
    session.start("heeds", &["sh", "-c", script]).await;
    let mut attached = session.attach("heeds").await;
    attached.until("started\n").await;
    let grace = hookd_api::stepd::v1::CancelStepRequest {
        step_id: "heeds".to_owned(),
        grace_milliseconds: 5000,
    };
    session.client.cancel_step(grace).await.unwrap();
    assert_eq!(attached.end().await.exit_code, 130);
    assert_eq!(attached.text(), "started\ncleaning\n");
}

#[tokio::test]
async fn a_background_process_serves_later_steps_and_may_write_late() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let beat = text(&file(&stepd, "beat"));
    let server = format!("(while :; do echo late; date +%N > {beat}; sleep 0.02; done) & echo up");
    let (_, attached) = session.run("server", &server).await;
    assert!(attached.text().contains("up\n"), "{}", attached.text());
    let read = || std::fs::read_to_string(&beat).ok().filter(|text| !text.is_empty());
    let first = until("it beats", read);
    until("it beats on", || read().filter(|now| *now != first));
    let (end, _) = session.run("next", &format!("test -s {beat}")).await;
    assert_eq!(end.exit_code, 0);
    assert!(session.cancel("server").await);
}

#[tokio::test]
async fn a_program_that_kills_all_it_may_is_reported_as_killed() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    session.start("all", &["sh", "-c", "kill -9 -1; sleep 986"]).await;
    // Our session is killed with the rest, and the next one may be: one that is not hears the end.
    let end = loop {
        let Ok(mut session) = stepd.try_connect().await else { continue };
        let Ok(mut attached) = session.attach_at("all", Default::default()).await else { continue };
        match attached.next().await {
            Ok(Some(end)) => break end,
            Ok(None) => panic!("it printed something"),
            Err(_) => {}
        }
    };
    assert_eq!((end.exit_code, end.signal), (137, 9));
}

#[tokio::test]
async fn no_zombie_stays() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    for number in 0..20 {
        session.run(&format!("z{number}"), "(true &); sh -c 'sh -c true &' ; true").await;
    }
    until("all are waited for", || {
        let zombies = stepd.exec().args(["ps", "-eo", "stat="]).output().unwrap();
        let zombies = String::from_utf8_lossy(&zombies.stdout).into_owned();
        (!zombies.lines().any(|state| state.starts_with('Z'))).then_some(())
    });
}

#[tokio::test]
async fn at_term_all_steps_end_and_so_does_stepd_with_code_0() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let script = "trap '' INT TERM; echo started; while :; do sleep 987; done";
    session.start("last", &["sh", "-c", script]).await;
    session.attach("last").await.until("started\n").await;
    let began = Instant::now();
    assert_eq!(stepd.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_program_that_ends_as_stepd_stops_is_reported_as_stopped() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let (end, _) = session.run("fails", "exit 3").await;
    assert_eq!((end.exit_code, end.stopped), (3, false));
    // It is not its own end, whatever the code.
    let heeds = "trap 'exit 0' INT; echo started; while :; do sleep 0.05; done";
    session.start("heeds", &["sh", "-c", heeds]).await;
    session.start("runs", &["sh", "-c", "echo started; exec sleep 986"]).await;
    let mut attached = [session.attach("heeds").await, session.attach("runs").await];
    for one in &mut attached {
        one.until("started\n").await;
    }
    let pid = rustix::process::Pid::from_raw(stepd.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    for (one, code) in attached.iter_mut().zip([0, 130]) {
        let end = one.end().await;
        assert_eq!((end.stopped, end.exit_code), (true, code), "{end:?}");
    }
}

#[tokio::test]
async fn what_a_program_left_in_its_pipe_is_kept() {
    let stepd = Stepd::start(&["--spool-limit", "100000"]);
    let mut session = stepd.connect().await;
    let (alive, over) = (text(&file(&stepd, "alive")), file(&stepd, "over"));
    let script = format!(
        "(while :; do echo y >&2; date +%N > {alive}; sleep 0.02; done) & \
         head -c 150000 /dev/zero | tr '\\0' a; touch {}",
        text(&over)
    );
    session.start("tail", &["sh", "-c", &script]).await;
    // No client makes room until the program has ended and the time for stragglers is over.
    until("the program has ended", || over.exists().then_some(()));
    let ended = Instant::now();
    until("a second has passed", || (ended.elapsed().as_millis() > 1000).then_some(()));
    let mut attached = session.attach("tail").await;
    assert_eq!(attached.end().await.exit_code, 0);
    assert_eq!(attached.text().matches('a').count(), 150_000);
    let read = || std::fs::read_to_string(&alive).ok().filter(|text| !text.is_empty());
    let last = until("it lives", read);
    until("it writes on", || read().filter(|now| *now != last));
}

#[test]
fn a_session_that_comes_before_stepd_listens_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut early = connect(dir.path());
    let watches = format!("/proc/{}/fdinfo", early.id());
    // It waits once it watches the directory.
    until("it waits", || {
        let open = std::fs::read_dir(&watches).ok()?.flatten();
        let texts = open.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        texts.into_iter().any(|text| text.contains("inotify")).then_some(())
    });
    let listener = listen(dir.path());
    drop(listener.accept().unwrap());
    assert!(early.wait().unwrap().success());
    drop(listener);
    // No process replaces this socket.
    let started = Instant::now();
    assert!(!connect(dir.path()).wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn a_session_that_cannot_watch_looks_again_until_stepd_listens() {
    let root = tempfile::tempdir().unwrap();
    // What is not there cannot be watched.
    let dir = root.path().join("late");
    let mut early = connect(&dir);
    let status = format!("/proc/{}/status", early.id());
    let pauses = || {
        let status = std::fs::read_to_string(&status).ok()?;
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        count.trim().parse::<u64>().ok()
    };
    let first = until("it runs", pauses);
    until("it pauses again and again", || pauses().filter(|now| *now > first + 5));
    std::fs::create_dir(&dir).unwrap();
    let listener = listen(&dir);
    drop(listener.accept().unwrap());
    assert!(early.wait().unwrap().success());
}

#[test]
fn a_session_without_a_holder_ends_though_its_pipes_stay_open() {
    let dir = tempfile::tempdir().unwrap();
    let listener = listen(dir.path());
    let (mut silent, mut patient) =
        (connect_silently(dir.path(), "1"), connect_silently(dir.path(), "3600"));
    let both = [listener.accept().unwrap(), listener.accept().unwrap()];
    until("the silent session is over", || silent.try_wait().unwrap());
    assert!(patient.try_wait().unwrap().is_none());
    drop(both);
    until("the other is over with its socket", || patient.try_wait().unwrap());
}
