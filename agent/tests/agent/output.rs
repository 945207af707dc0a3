//! Output arrives whole, once, in order, each stream apart, whatever the connection does.

use std::process::Command;
use std::time::Duration;

use hookd_api::stepd::v1::{GetStatusRequest, Offsets, StepStatus};

use crate::support::{Session, Stepd, TIMEOUT, file, text};

/// Waits until what stepd says of a step is so.
async fn until_status(session: &mut Session, id: &str, so: impl Fn(&StepStatus) -> bool) {
    let waited = async {
        loop {
            let status = session.client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
            if status.steps.iter().any(|step| step.step_id == id && so(step)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waited).await.expect("the step's status comes in time");
}

#[tokio::test]
async fn the_streams_arrive_apart_and_byte_for_byte() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let script = "printf 'a\\0b\\r\\n\\377 no end'; printf 'err\\n' >&2; printf ' at all'";
    let (end, attached) = session.run("bytes", script).await;
    assert_eq!(end.exit_code, 0);
    assert_eq!(attached.stdout, b"a\0b\r\n\xff no end at all");
    assert_eq!(attached.stderr, b"err\n");
}

#[tokio::test]
async fn two_hundred_megabytes_pass_through_a_small_spool() {
    let stepd = Stepd::start(&["--spool-limit", "1000000"]);
    let mut session = stepd.connect().await;
    let script = "head -c 200000000 /dev/urandom | tee /proc/self/fd/2 2>/dev/null | \
                  head -c 200000000; exit 4";
    let sum = file(&stepd, "sum");
    let script = script.replace(
        "tee /proc/self/fd/2 2>/dev/null",
        &format!("tee /dev/stderr 2>/dev/null | tee {}", text(&file(&stepd, "copy"))),
    );
    session.start("large", &["sh", "-c", &script]).await;
    let mut attached = session.attach("large").await;
    let end = attached.end().await;
    assert_eq!((end.exit_code, attached.stdout.len()), (4, 200_000_000));
    std::fs::write(&sum, &attached.stdout).unwrap();
    let same = Command::new("cmp").arg(&sum).arg(file(&stepd, "copy")).status().unwrap();
    assert!(same.success(), "the output is not what was written");
    assert!(stepd.resident_mb() < 24.0, "{} MB", stepd.resident_mb());
}

#[tokio::test]
async fn output_goes_on_where_a_broken_connection_stopped() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let script = "i=0; while [ $i -lt 3000 ]; do echo $i; echo e$i >&2; i=$((i+1)); \
                  [ $((i % 100)) = 0 ] && sleep 0.02; done; exit 5";
    session.start("numbers", &["sh", "-c", script]).await;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for mark in ["\n500\n", "\n1200\n", "\n2000\n"] {
        let at = Offsets { stdout: stdout.len() as u64, stderr: stderr.len() as u64 };
        let attached = session.attach_at("numbers", at).await.unwrap();
        attached.acknowledge_at(0, 0);
        let mut attached = attached.silent();
        while !String::from_utf8_lossy(&[&stdout[..], &attached.stdout].concat()).contains(mark) {
            assert_eq!(attached.next().await.unwrap(), None);
        }
        stdout.extend(&attached.stdout);
        stderr.extend(&attached.stderr);
        session.break_off().await;
        session = stepd.connect().await;
    }
    let at = Offsets { stdout: stdout.len() as u64, stderr: stderr.len() as u64 };
    let mut attached = session.attach_at("numbers", at).await.unwrap().silent();
    assert_eq!(attached.end().await.exit_code, 5);
    stdout.extend(&attached.stdout);
    stderr.extend(&attached.stderr);
    let lines = |prefix: &str| (0..3000).map(|n| format!("{prefix}{n}\n")).collect::<String>();
    assert!(String::from_utf8_lossy(&stdout) == lines(""), "standard output");
    assert!(String::from_utf8_lossy(&stderr) == lines("e"), "standard error");
}

#[tokio::test]
async fn what_was_acknowledged_is_gone() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    session.run("ten", "printf 0123456789").await;
    let at = |stdout| Offsets { stdout, stderr: 0 };
    let mut rest = session.attach_at("ten", at(10)).await.unwrap();
    assert_eq!((rest.end().await.exit_code, rest.stdout.len()), (0, 0));
    for offset in [3, 11] {
        let Err(status) = session.attach_at("ten", at(offset)).await else { panic!("attached") };
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{status:?}");
    }
}

#[tokio::test]
async fn an_attachment_passes_over_what_is_acknowledged_ahead_of_it() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    let all = (1_000_001..=2_000_000).map(|number| format!("{number}\n")).collect::<String>();
    let all = all.into_bytes();
    // The first segment of 4 MiB goes; the second time all that is left is acknowledged.
    for acked in [5_000_000, all.len()] {
        let id = format!("ahead-{acked}");
        session.start(&id, &["seq", "1000001", "2000000"]).await;
        until_status(&mut session, &id, |step| step.ended).await;
        let mut attached = session.attach(&id).await.silent();
        assert_eq!(attached.next().await.unwrap(), None);
        // It cannot send on: we take nothing, and the window of a stream is 2 MiB.
        attached.acknowledge_at(acked as u64, 0);
        let expected = Some(Offsets { stdout: acked as u64, stderr: 0 });
        until_status(&mut session, &id, |step| step.acknowledged == expected).await;
        let end = tokio::time::timeout(TIMEOUT, attached.end()).await.expect("the end comes");
        assert_eq!(end.exit_code, 0);
        let before = attached.stdout.len() - (all.len() - acked);
        assert!(before < 4 << 20, "{before} bytes were sent before the acknowledgement");
        let (first, rest) = attached.stdout.split_at(before);
        assert!((first, rest) == (&all[..before], &all[acked..]), "it went on elsewhere");
    }
}

#[tokio::test]
async fn at_a_full_spool_the_step_waits_and_nothing_is_dropped() {
    let stepd = Stepd::start(&["--spool-limit", "100000"]);
    let mut session = stepd.connect().await;
    session.start("full", &["sh", "-c", "head -c 1000000 /dev/zero; echo over >&2"]).await;
    let mut attached = session.attach("full").await.silent();
    while attached.full == 0 {
        assert_eq!(attached.next().await.unwrap(), None);
    }
    // It is reported once.
    let more = tokio::time::timeout(Duration::from_millis(300), attached.next()).await;
    assert!(more.is_err(), "something came of a step that waits");
    assert!((100_000..200_000).contains(&attached.stdout.len()), "{}", attached.stdout.len());
    let at = Offsets { stdout: attached.stdout.len() as u64, stderr: 0 };
    let mut rest = session.attach_at("full", at).await.unwrap();
    let first = attached.stdout.len();
    let end = loop {
        rest.acknowledge_at((first + rest.stdout.len()) as u64, rest.stderr.len() as u64);
        if let Some(end) = rest.silent_next().await {
            break end;
        }
    };
    assert_eq!((end.exit_code, first + rest.stdout.len()), (0, 1_000_000));
    assert_eq!(rest.stderr, b"over\n");
}

#[tokio::test]
async fn a_later_caller_replaces_an_earlier_one() {
    let stepd = Stepd::start(&[]);
    let mut session = stepd.connect().await;
    session.start("two", &["sh", "-c", "echo one; sleep 1; echo two"]).await;
    let mut first = session.attach("two").await.silent();
    first.until("one\n").await;
    let mut second = session.attach("two").await;
    let status = loop {
        if let Err(status) = first.next().await {
            break status;
        }
    };
    assert_eq!(status.code(), tonic::Code::Aborted);
    second.end().await;
    assert_eq!(second.text(), "one\ntwo\n");
}
