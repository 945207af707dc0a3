//! Where something is used up: the step says what, and nothing is lost silently.

use std::path::{Path, PathBuf};
use std::process::Command;

use hookd_api::stepd::v1::ForgetStepRequest;

use crate::support::{Stepd, text};

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    fn mount(dir: &Path) -> Self {
        let options = ["-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs"];
        assert!(Command::new("mount").args(options).arg(dir).status().unwrap().success());
        Self(dir.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_volume_that_is_full_ends_the_step_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let stepd = Stepd::start_in(dir, &[], &[]);
    let mut session = stepd.connect().await;
    session.start("full", &["sh", "-c", "seq 1 2000000; echo over; exit 0"]).await;
    let mut attached = session.attach("full").await.silent();
    let end = attached.end().await;
    assert_eq!(end.exit_code, 1, "{end:?}");
    assert!(end.error.contains("No space left") && end.error.contains("is missing"), "{end:?}");
    assert!(end.error.contains(&text(&small.0)), "{end:?}");
    // What was kept arrives whole, from its first byte on.
    let whole: String = (1..=500_000).map(|number| format!("{number}\n")).collect();
    assert!(whole.starts_with(&attached.text()) && attached.stdout.len() > 1 << 20);
    let forget = ForgetStepRequest { step_id: "full".to_owned() };
    session.client.forget_step(forget).await.unwrap();
    drop(attached);
    let (end, attached) = session.run("next", "echo next").await;
    assert_eq!((end.exit_code, attached.text().as_str()), (0, "next\n"));
}

#[tokio::test]
async fn a_volume_that_became_read_only_ends_the_step_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let stepd = Stepd::start_in(dir, &[], &[]);
    let mut session = stepd.connect().await;
    let mut remount = stepd.exec();
    remount.args(["mount", "-o", "remount,ro"]).arg(&small.0);
    assert!(remount.status().unwrap().success());
    let (end, _) = session.run("refused", "echo x").await;
    assert_eq!(end.exit_code, 1);
    assert!(end.error.contains("Read-only file system"), "{end:?}");
}

#[tokio::test]
async fn an_environment_that_linux_does_not_take_is_named() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let large = "v".repeat(200_000);
    for (id, variables, words) in
        [("one", 1, "the variable \"V0\" has 200003 bytes"), ("all", 250, "cannot be executed")]
    {
        session
            .start_with(id, &["true"], |request| {
                let length = if variables == 1 { large.len() } else { 100_000 };
                let pairs = (0..variables).map(|at| (format!("V{at}"), large[..length].to_owned()));
                request.environment = pairs.collect();
            })
            .await;
        let end = session.attach(id).await.end().await;
        assert_eq!(end.exit_code, 126, "{end:?}");
        assert!(end.error.contains(words) && !end.error.contains("vvv"), "{end:?}");
    }
    // 25 MB of it leave nothing behind.
    assert!(stepd.resident_mb() < 100.0, "{} MB", stepd.resident_mb());
    assert_eq!(session.run("next", "exit 4").await.0.exit_code, 4);
}

#[tokio::test]
async fn steps_that_no_client_forgets_are_refused_at_a_limit() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    for number in 0..256 {
        assert!(session.start(&format!("s{number}"), &["/no/such/program"]).await);
    }
    let request = |id: &str| hookd_api::stepd::v1::StartStepRequest {
        step_id: id.to_owned(),
        argv: vec!["true".to_owned()],
        ..Default::default()
    };
    let refused = session.client.start_step(request("more")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    let forget = ForgetStepRequest { step_id: "s7".to_owned() };
    session.client.forget_step(forget).await.unwrap();
    assert!(session.client.start_step(request("more")).await.is_ok());
    for id in ["", "UPPER", "a/b", &"x".repeat(41)] {
        let refused = session.client.start_step(request(id)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn stepd_may_open_many_files_and_its_programs_as_many_as_before() {
    let stepd = Stepd::start_as(&[], &["prlimit", "--nofile=512:4096"]);
    let mut session = stepd.connect().await;
    let (_, attached) = session.run("limits", "ulimit -Sn; ulimit -Hn").await;
    assert_eq!(attached.text(), "512\n4096\n");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", stepd.pid)).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "{line}");
}
