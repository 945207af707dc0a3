//! Output: every byte as it was, nothing between that does not belong there.

use std::collections::HashMap;
use std::time::Duration;

use hookd_api::v1::step_event::Kind;
use hookd_api::v1::{Output, Stream};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::process::Hook;
use crate::support::{Place, within};

/// An error as hookd reports it.
fn typed(reason: &str, message: &str, remedy: &str) -> Status {
    let metadata = HashMap::from([("remedy".to_owned(), remedy.to_owned())]);
    let details = ErrorDetails::with_error_info(reason, "hookd", metadata);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

#[tokio::test]
async fn bytes_arrive_unchanged_on_the_stream_that_they_belong_to() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;

    let mut stdout = b"nul \0 cr \r\n lone \r half \xe2\x82".to_vec();
    stdout.extend((0..=255).cycle().take(1 << 20).filter(|byte| *byte != b'\n'));
    stdout.extend(b"\n\n \xff\xfe no end");
    let stderr = b"::error::not ours\r";
    for (index, piece) in stdout.chunks(60_000).enumerate() {
        step.stdout(piece).await;
        if index == 1 {
            step.output(Stream::Stderr, stderr).await;
        }
    }
    let ack = step.conclude(0).await;
    assert_eq!((ack.stdout_offset, ack.stderr_offset), (stdout.len() as u64, stderr.len() as u64));

    let finished = hook.finished().await;
    assert!(finished.stdout == stdout, "stdout differs");
    assert_eq!(finished.stderr, stderr);
    assert_eq!(finished.code, 0);
}

#[tokio::test]
async fn the_exit_code_is_the_program_s_own() {
    for code in [0, 1, 3, 126, 127, 137, 255] {
        let place = Place::new();
        let mut hookd = place.hookd().await;
        let hook = place.step();
        hookd.step().await.conclude(code).await;
        assert_eq!(hook.finished().await.code, code);
    }
}

#[tokio::test]
async fn output_is_acknowledged_once_it_is_written() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.stdout("line\n").await;
    let ack = step.ack(|_| true).await;
    assert_eq!((ack.stdout_offset, ack.stderr_offset, ack.result), (5, 0, false));
    hook.printed("line\n").await;
    step.output(Stream::Stderr, b"err").await;
    step.ack(|ack| ack.stderr_offset == 3).await;
    step.conclude(0).await;
    assert_eq!(hook.finished().await.code, 0);
}

#[tokio::test]
async fn output_is_acknowledged_in_steps_while_more_is_coming() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    // hookd waits at 1 MiB without acknowledgement; this is more than that.
    let piece = [b'x'; 32 << 10];
    for number in 1..=64_u64 {
        step.stdout(piece).await;
        let far = (number * piece.len() as u64).saturating_sub(512 << 10);
        if far > 0 && number % 8 == 0 {
            step.ack(|ack| ack.stdout_offset >= far).await;
        }
    }
    step.conclude(0).await;
    assert_eq!(hook.finished().await.stdout.len(), 64 * piece.len());
}

#[tokio::test]
async fn the_result_is_acknowledged_even_if_hookd_ends_its_side_first() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.stdout("line").await;
    step.result(0).await;
    step.end();
    assert_eq!(hook.finished().await.code, 0);
    let ack = step.ack(|ack| ack.result).await;
    assert_eq!(ack.stdout_offset, 4);
}

#[tokio::test]
async fn progress_waits_for_the_end_of_a_line_on_standard_error() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.progress("waiting for a node").await;
    step.stderr("::set-output name=a").await;
    step.progress("the cluster cannot be reached").await;
    step.stderr("::b\nnext").await;
    step.conclude(0).await;
    assert_eq!(
        hook.finished().await.own_lines(),
        "waiting for a node\n::set-output name=a::b\nthe cluster cannot be reached\nnext"
    );
}

#[tokio::test]
async fn standard_output_is_the_programs_alone() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.progress("waiting for a node").await;
    step.stdout("half").await;
    step.progress("the cluster cannot be reached").await;
    step.stdout(" a line\nno end").await;
    step.fail(typed("OUTPUT_LOST", "gone", "")).await;
    let finished = hook.finished().await;
    assert_eq!(finished.text(), "half a line\nno end");
    let own = finished.own_lines();
    let lines: Vec<_> = own.lines().collect();
    assert_eq!(lines[..2], ["waiting for a node", "the cluster cannot be reached"]);
    assert!(lines[2].starts_with("::error title=Output lost::"), "{own}");
}

#[tokio::test]
async fn progress_cannot_be_taken_for_a_command() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.progress("::add-mask::a").await;
    step.progress("pull: ##[group]x\ny").await;
    step.conclude(0).await;
    assert_eq!(hook.finished().await.own_lines(), ": :add-mask::a\npull: ## [group]x y\n");
}

#[tokio::test]
async fn an_error_of_hookd_is_printed_with_its_remedy() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.stdout("half").await;
    let message = "the image \"alpin\" is not there\n100% sure";
    step.fail(typed("IMAGE_PULL_FAILED", message, "Check its name.")).await;
    let finished = hook.finished().await;
    assert_eq!(
        finished.own_lines(),
        "::error title=Image pull failed::the image \"alpin\" is not there%0A100%25 sure. \
         Check its name.\n"
    );
    assert_eq!(finished.code, 1);
}

#[tokio::test]
async fn an_error_without_a_reason_of_hookd_is_final_too() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    hookd.step().await.fail(Status::unimplemented("no such method")).await;
    hook.finished().await.assert_error(
        "::error title=hookd refused the call::hookd answered: no such method (Unimplemented). \
         Use hook and hookd of the same version.",
    );
}

#[tokio::test]
async fn missing_output_fails_the_step() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.output_at(Stream::Stdout, 0, b"line\n").await;
    step.output_at(Stream::Stdout, 7, b"late\n").await;
    let finished = hook.finished().await;
    assert_eq!(finished.code, 1);
    assert_eq!(finished.text(), "line\n");
    assert!(
        finished.own_lines().starts_with(
            "::error title=Internal error of hook::hookd left out output: Stdout goes on \
             at byte 7, 5 are written. "
        ),
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_reader_that_stops_stops_hookd_and_loses_nothing() {
    // Many small messages too: h2 would close a connection on which they pile up unread.
    for size in [64 << 10, 10] {
        let place = Place::new();
        let mut hookd = place.hookd().await;
        let input = format!("{}\n", place.step_input());
        let (child, stdout) = place.command().start_unread(input.into_bytes());
        let mut step = hookd.step().await;

        let piece = vec![b'x'; size];
        let mut sent = 0;
        loop {
            let data = piece.clone();
            let output = Output { stream: Stream::Stdout.into(), offset: sent, data };
            let sending = step.try_event(Kind::Output(output));
            // The condition is that nothing moves: only time can show it.
            if tokio::time::timeout(Duration::from_secs(1), sending).await.is_err() {
                break;
            }
            sent += size as u64;
            assert!(sent < 8 << 20, "hook takes more than it can write");
        }
        let resident = resident(child.id().unwrap());
        assert!(resident < 48 << 20, "{resident} bytes in memory");

        let hook = Hook::reading(child, stdout);
        step.output_at(Stream::Stdout, sent, &piece).await;
        sent += size as u64;
        step.conclude(0).await;
        let finished = hook.finished().await;
        assert_eq!((finished.code, finished.stdout.len() as u64), (0, sent), "pieces of {size}");
    }
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_the_step() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let input = format!("{}\n", place.step_input());
    let (mut child, stdout) = place.command().start_unread(input.into_bytes());
    let mut step = hookd.step().await;
    drop(stdout);
    step.stdout("without a reader\n").await;
    // hookd takes the end of the connection for a cancellation.
    let status = within("the end of hook", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(1));
}
