//! What a step runs, and how its program's end arrives.

use hookd_api::stepd::v1::{ConfigureRequest, ForgetStepRequest, GetStatusRequest};

use hookd_api::stepd::v1::{AttachStart, StartStepRequest};

use crate::support::{Stepd, environment, file, text, until};

#[tokio::test]
async fn exit_codes_and_signals_arrive_as_they_are() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    for code in [0, 1, 3, 126, 127, 255] {
        let (end, _) = session.run(&format!("code-{code}"), &format!("exit {code}")).await;
        assert_eq!((end.exit_code, end.signal, end.error.as_str()), (code, 0, ""));
    }
    let (end, _) = session.run("killed", "kill -KILL $$").await;
    assert_eq!((end.exit_code, end.signal), (137, 9));
}

#[tokio::test]
async fn a_program_that_cannot_start_has_the_code_of_docker_exec() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let plain = file(&stepd, "plain");
    std::fs::write(&plain, "x").unwrap();
    for (id, argv, directory, code, words) in [
        ("none", vec!["no-such-program"], "", 127, "\"no-such-program\" is not on the PATH"),
        ("path", vec!["/no/such/file"], "", 127, "\"/no/such/file\" does not exist"),
        ("plain", vec![plain.to_str().unwrap()], "", 126, "not an executable file"),
        ("dir", vec!["true"], "/no/such/dir", 127, "working directory \"/no/such/dir\""),
    ] {
        let edit = |request: &mut hookd_api::stepd::v1::StartStepRequest| {
            request.working_directory = directory.to_owned();
        };
        session.start_with(id, &argv, edit).await;
        let end = session.attach(id).await.end().await;
        assert_eq!(end.exit_code, code, "{end:?}");
        assert!(end.error.contains(words), "{end:?}");
    }
    // The kernel's own refusal: no "#!".
    let script = file(&stepd, "script");
    std::fs::write(&script, "echo x\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    session.start("format", &[script.to_str().unwrap()]).await;
    let end = session.attach("format").await.end().await;
    assert_eq!(end.exit_code, 126);
    assert!(end.error.contains("another platform"), "{end:?}");
}

#[tokio::test]
async fn a_step_that_is_started_twice_runs_once() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let count = file(&stepd, "count");
    let script = format!("echo ran >> {}", text(&count));
    assert!(session.start("once", &["sh", "-c", &script]).await);
    assert!(!session.start("once", &["sh", "-c", &script]).await);
    session.attach("once").await.end().await;
    session.break_off().await;
    let mut session = stepd.connect().await;
    assert!(!session.start("once", &["sh", "-c", &script]).await);
    assert_eq!(session.attach("once").await.end().await.exit_code, 0);
    assert_eq!(std::fs::read_to_string(count).unwrap(), "ran\n");
}

#[tokio::test]
async fn the_environment_of_a_step_shows_nowhere() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let large = "v".repeat(100_000);
    let container = environment(&[("A", "container"), ("B", "container"), ("HOME", "/home/c")]);
    session.client.configure(ConfigureRequest { environment: container }).await.unwrap();
    // This shell passes on plain names only; its own environment has them all.
    let script = "printf '%s\\n' \"$A\" \"$B\" \"$HOME\" \"$FROM_IMAGE\" \"${#LARGE}\"; \
                  tr '\\0' '\\n' < /proc/$$/environ | grep -a '^INPUT_FETCH-DEPTH=\\|^odd.name='; \
                  echo $PATH; pwd; echo started; sleep 100";
    session
        .start_with("env", &["sh", "-c", script], |request| {
            request.environment = environment(&[
                ("A", "s3cret of the step"),
                ("INPUT_FETCH-DEPTH", "3"),
                ("odd.name", "x"),
                ("LARGE", &large),
            ]);
            request.prepend_path = vec!["/new".to_owned(), "/old".to_owned()];
            request.working_directory = "/usr".to_owned();
        })
        .await;
    let mut attached = session.attach("env").await;
    attached.until("started\n").await;
    let text = attached.text();
    for line in [
        "s3cret of the step",
        "container",
        "/home/c",
        "yes",
        "100000",
        "INPUT_FETCH-DEPTH=3",
        "odd.name=x",
        "/usr",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("/new:/old:/")), "{text}");
    let lines = stepd.exec().args(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&lines.stdout).contains("s3cret"), "on a command line");
    session.cancel("env").await;
}

#[tokio::test]
async fn it_needs_no_root_and_nothing_but_its_directory() {
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let stepd = Stepd::start_as(&[], &user);
    let mut session = stepd.connect().await;
    let (end, attached) = session.run("id", "id -u; touch /x 2>/dev/null || echo refused").await;
    assert_eq!((end.exit_code, attached.text().as_str()), (0, "65534\nrefused\n"));
    let spool = std::fs::metadata(stepd.dir.path().join("spool")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&spool.permissions()) & 0o777, 0o700);
}

#[tokio::test]
async fn a_step_cannot_speak_to_the_socket() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let me = env!("CARGO_BIN_EXE_stepd");
    let dir = text(stepd.dir.path());
    // The preface of HTTP/2 is answered with settings, or not at all.
    let speak = format!(
        "printf 'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0' | {me} connect --dir {dir} | wc -c"
    );
    let orphan =
        format!("(setsid sh -c \"{}\" > {dir}/orphan) & wait", speak.replace('\\', "\\\\"));
    let (_, attached) = session.run("speak", &speak).await;
    assert_eq!(attached.text().trim(), "0", "a step was answered");
    session.run("orphan", &orphan).await;
    let answer = until("the orphan was refused", || {
        std::fs::read_to_string(file(&stepd, "orphan")).ok().filter(|text| !text.is_empty())
    });
    assert_eq!(answer.trim(), "0", "an orphan was answered");
    // A client that came by exec is.
    assert!(session.client.get_status(GetStatusRequest {}).await.is_ok());
}

#[tokio::test]
async fn the_background_process_of_a_forgotten_step_lives() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    session.run("server", "sleep 987 & echo started").await;
    let forget = ForgetStepRequest { step_id: "server".to_owned() };
    session.client.forget_step(forget).await.unwrap();
    let status = session.client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.steps.is_empty());
    assert!(stepd.processes().iter().any(|process| process.contains("sleep 987")));
    assert!(session.attach_at("server", Default::default()).await.is_err());
}

#[tokio::test]
async fn a_step_that_is_forgotten_is_never_started_again() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    session.run("ended", "true").await;
    // Of this one the start is still under way when its caller gives up.
    assert!(!session.cancel("cancelled").await);
    for id in ["ended", "late"] {
        let forget = ForgetStepRequest { step_id: id.to_owned() };
        session.client.forget_step(forget).await.unwrap();
    }
    for id in ["ended", "late", "cancelled"] {
        let argv = vec!["true".to_owned()];
        let again =
            StartStepRequest { step_id: id.to_owned(), argv, ..StartStepRequest::default() };
        let refused = session.client.start_step(again).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(id), "{refused}");
    }
}

#[test]
fn links_to_the_externals_are_made_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    std::fs::create_dir_all(from.join("node24/bin")).unwrap();
    std::fs::create_dir(&to).unwrap();
    let _stepd = Stepd::start(&["--links", &format!("{}:{}", text(&from), text(&to))]);
    until("the links are there", || to.join("node24/bin").is_dir().then_some(()));
}

#[test]
fn it_does_not_listen_before_its_links_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let stepd = std::process::Command::new(env!("CARGO_BIN_EXE_stepd"))
        .args(["serve", "--link", "/proc/x", "/x", "--dir", &text(dir.path())])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&stepd.stderr);
    assert!(printed.contains("\"/proc/x\" cannot be made to lead"), "{printed}");
    // A caller that found a socket would take the container for ready.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn it_stays_small() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    session.run("one", "echo x").await;
    // A debug build is larger than what is shipped, which the benchmark measures.
    assert!(stepd.resident_mb() < 16.0, "{} MB", stepd.resident_mb());
}

#[tokio::test]
async fn an_attachment_may_start_its_step_and_starts_it_once() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let script = "echo ran >> $HOME/ran; cat $HOME/ran";
    let start = AttachStart {
        step_id: "once".to_owned(),
        resume: None,
        step: Some(StartStepRequest {
            step_id: "once".to_owned(),
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            environment: [("HOME".to_owned(), stepd.dir.path().display().to_string())].into(),
            ..StartStepRequest::default()
        }),
    };
    for _ in 0..2 {
        // The second caller has received nothing and acknowledges nothing before its own end.
        let mut attached = session.attach_by(start.clone()).await.unwrap().silent();
        assert_eq!(attached.end().await.exit_code, 0);
        assert_eq!(attached.text(), "ran\n");
    }
    let unnamed = AttachStart { step: Some(StartStepRequest::default()), ..start };
    let refused = session.attach_by(unnamed).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
