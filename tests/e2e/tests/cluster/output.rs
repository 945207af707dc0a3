//! Output arrives as the program wrote it, but for what Kubernetes' own log path changes.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use test_support::cluster::run;
use test_support::wait::{s, until};
use test_support::{Outcome, RunnerPod, Setup};

/// The SHA-256 of bytes, as sha256sum prints it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let folder =
        std::env::temp_dir().join(format!("hookd-{}", fake_runner::layout::guid().unwrap()));
    fs::write(&folder, bytes).unwrap();
    let sum = run(Command::new("sha256sum").arg(&folder), None).unwrap();
    fs::remove_file(folder).unwrap();
    sum.split(' ').next().unwrap().to_owned()
}

/// Compares by hash, and tells where the first difference is.
fn assert_same(what: &str, printed: &[u8], expected: &[u8]) {
    if sha256(printed) == sha256(expected) {
        return;
    }
    let at = printed.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let near = |bytes: &[u8]| {
        let piece = &bytes[at.saturating_sub(20)..bytes.len().min(at + 20)];
        format!("{} bytes, {:?}", bytes.len(), String::from_utf8_lossy(piece))
    };
    panic!("{what} differs from byte {at} on: {} instead of {}", near(printed), near(expected));
}

/// A runner whose container steps are started by the kubelet, so that their output is a Pod log.
fn natively() -> RunnerPod {
    RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet"))
}

/// What a program prints that prints these bytes.
fn printed(runner: &RunnerPod, bytes: &[u8]) -> Outcome {
    runner.write("/home/runner/_work/demo/demo/bytes", bytes);
    let outcome = runner.run(&runner.script("cat /github/workspace/bytes"));
    outcome.assert_code(0);
    outcome
}

#[test]
fn bytes_of_every_kind_arrive_unchanged() {
    let runner = natively();
    let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\r').collect();
    for (what, bytes) in [
        ("NUL", &b"a\0b\0\0\n\0"[..]),
        ("CR within a line", b"10%\r20%\r30% done\nx\ry"),
        ("CR at the very end", b"last\r"),
        ("invalid UTF-8", b"\xff\xfe\xc3(\xe2\x82\n\xf0\x9f\n\x80\n"),
        ("no final newline", b"one\ntwo"),
        ("empty lines", b"\n\n\n\nx\n\n"),
        ("a time stamp of its own", b"2026-01-01T00:00:00.000000000Z stdout F x\n"),
        ("one byte", b"x"),
        ("nothing", b""),
        ("every byte but CR", &all),
    ] {
        assert_same(what, &printed(&runner, bytes).stdout, bytes);
    }
}

#[test]
fn lines_of_any_length_arrive_unchanged() {
    let runner = natively();
    let line = |length: usize| -> Vec<u8> {
        (0..length).map(|at| b"abcdefghijklmnopqrstuvwxyz0123456789 ."[at % 38]).collect()
    };
    for length in [16_383, 16_384, 16_385, 32_768, 1 << 20] {
        let line = line(length);
        let ended = [&line[..], b"\n", &line, b"\nshort\n"].concat();
        assert_same(&format!("lines of {length}"), &printed(&runner, &ended).stdout, &ended);
        assert_same(
            &format!("a line of {length} without end"),
            &printed(&runner, &line).stdout,
            &line,
        );
    }
}

#[test]
fn two_hundred_thousand_short_lines_arrive_once_and_in_order() {
    let runner = natively();
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    assert_same("200,000 lines", &printed(&runner, lines.as_bytes()).stdout, lines.as_bytes());
}

/// The list of what a Pod log changes; a step that stepd starts has none of it.
#[test]
fn a_pod_log_drops_cr_before_lf_and_merges_both_streams() {
    let runner = natively();
    let outcome = printed(&runner, b"dos\r\nunix\n\r\n\r\r\nend");
    assert_same("CR before LF", &outcome.stdout, b"dos\nunix\n\n\r\nend");

    let outcome = runner
        .run(&runner.script("echo out; usleep 300000; echo err >&2; usleep 300000; echo out"));
    outcome.assert_code(0);
    assert_eq!(outcome.text(), "out\nerr\nout\n");
}

#[test]
fn output_arrives_while_the_program_still_runs() {
    let runner = RunnerPod::start();
    let step = runner.script(
        "echo first; while [ ! -e /github/workspace/go ]; do usleep 50000; done; echo last",
    );
    let hook = runner.call(&step).start();
    hook.wait_for("first\n");
    runner.write("/home/runner/_work/demo/demo/go", "");
    assert_eq!(hook.end().assert_code(0).text(), "first\nlast\n");
}

/// What `seq 1 <last>` prints.
fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// More than 10 MiB with what the runtime writes before each line.
const ONE_FILE: u32 = 240_000;

/// The kubelet leads a stream from a file to the next if it had come to the end of the first.
#[test]
fn a_log_that_is_rotated_and_then_quiet_is_complete() {
    let runner = natively();
    // Slow enough for a reader on a busy machine to be at the end of the file most of the time.
    let script = format!(
        "sleep 3; i=0; while [ $i -lt 24 ]; do seq $((i * {each} + 1)) $(((i + 1) * {each})); \
         i=$((i+1)); usleep 300000; done; sleep 100; echo end; exit 3",
        each = ONE_FILE / 24
    );
    let outcome = runner.call(&runner.script(&script)).start().end_within(s(240));
    outcome.assert_code(3);
    assert_same("numbers", &outcome.stdout, format!("{}end\n", numbers(ONE_FILE)).as_bytes());
}

/// Number of files that the log of the runner's step has on the node.
fn log_files(runner: &RunnerPod) -> usize {
    let state = std::env::var("HOOKD_DEVCLUSTER_DIR").unwrap();
    let pods = fs::read_dir(Path::new(&state).join("pod-logs")).unwrap().map(|pod| pod.unwrap());
    let prefix = format!("{}_runner-step-", runner.namespace);
    let mine = pods.filter(|pod| pod.file_name().to_string_lossy().starts_with(&prefix));
    let files = mine.flat_map(|pod| fs::read_dir(pod.path().join("step"))).flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    // Some are there twice, while they are compressed.
    let names = names.map(|name| name.trim_end_matches(".tmp").trim_end_matches(".gz").to_owned());
    names.collect::<HashSet<_>>().len()
}

/// rch#165: the kubelet goes on in the newest file. One that lies between is skipped by a stream
/// that was behind, and nothing in the stream tells of it.
#[test]
fn a_log_rotated_twice_before_it_is_read_is_not_silently_short() {
    let runner = natively();
    // The first file has more than lies on the way to the reader.
    let script = format!(
        "cd /github/workspace; await() {{ while [ ! -e $1 ]; do usleep 50000; done; }}; \
         seq 1 {}; await second; seq 1 {ONE_FILE}; await third; echo end",
        ONE_FILE * 4
    );
    let hook = runner.call(&runner.script(&script)).piped().start();
    hook.wait_for("\n10\n");
    let reader = hook.stop_reader();
    for (files, go_on) in [(2, "second"), (3, "third")] {
        until("the log is rotated", s(60), || (log_files(&runner) >= files).then_some(()));
        runner.write(&format!("/home/runner/_work/demo/demo/{go_on}"), "");
    }
    assert!(reader.signal(Signal::CONT));
    hook.end_within(s(300)).assert_failed_with(300, &["title=Output lost", "containerLogMaxSize"]);
}

/// The kubelet turns the log over at 10 MiB, looking every 10 s.
#[test]
fn thirty_megabytes_at_full_speed_are_complete_or_an_error() {
    let runner = natively();
    let bytes: Vec<u8> = (0..30_000)
        .flat_map(|line| format!("{line:07} {}\n", "x".repeat(991)).into_bytes())
        .collect();
    runner.write("/home/runner/_work/demo/demo/bytes", &bytes);
    let outcome = runner.run(&runner.script("sleep 2; cat /github/workspace/bytes"));
    if outcome.code == 0 {
        assert_same("30 MB", &outcome.stdout, &bytes);
    } else {
        outcome.assert_failed_with(120, &["title=Output lost", "containerLogMaxSize"]);
    }
    runner.assert_nothing_left();
}
