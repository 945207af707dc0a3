//! Logs that are cut, rotated and out of order.

use super::*;

const A: &str = "2026-01-01T00:00:01.000000000Z";
const A2: &str = "2026-01-01T00:00:01.000000300Z";
const B: &str = "2026-01-01T00:00:01.000000500Z";
const C: &str = "2026-01-01T00:00:03.000000000Z";

fn log(lines: &[(&str, &str)]) -> Vec<u8> {
    lines.iter().flat_map(|(stamp, text)| format!("{stamp} {text}").into_bytes()).collect()
}

/// Feeds in chunks of every size from one byte on: the result must not depend on the cut.
fn read(position: &LogPosition, input: &[u8]) -> Result<(Vec<u8>, LogPosition), Gap> {
    let whole = read_in_chunks(position, input, usize::MAX);
    for size in [1, 2, 3, 7, 31] {
        assert_eq!(read_in_chunks(position, input, size), whole, "chunks of {size}");
    }
    whole
}

fn read_in_chunks(
    position: &LogPosition,
    input: &[u8],
    size: usize,
) -> Result<(Vec<u8>, LogPosition), Gap> {
    let mut lines = Lines::resume(position.clone());
    let mut output = Vec::new();
    for chunk in input.chunks(size.min(input.len().max(1))) {
        output.extend_from_slice(&lines.feed(chunk)?);
    }
    lines.finish(false)?;
    Ok((output, lines.position().clone()))
}

#[test]
fn the_program_bytes_come_without_time_stamps() {
    let (output, position) =
        read(&LogPosition::default(), &log(&[(A, "one\n"), (A, "\n"), (B, "t\0o\r")])).unwrap();
    assert_eq!(output, b"one\n\nt\0o\r");
    assert_eq!(position.timestamp.as_deref(), Some(B));
    assert_eq!((position.nth, position.bytes, position.line_ended), (1, 4, false));
}

#[test]
fn a_resume_at_every_byte_neither_repeats_nor_loses() {
    let input = log(&[(A, "one\n"), (A, "one\n"), (B, "three\n"), (C, "four\n"), (C, "no end")]);
    let (all, _) = read(&LogPosition::default(), &input).unwrap();
    for cut in 0..=input.len() {
        let (mut before, position) =
            read_in_chunks(&LogPosition::default(), &input[..cut], usize::MAX).unwrap();
        let (after, end) = read(&position, &input).unwrap();
        before.extend_from_slice(&after);
        assert_eq!(before, all, "cut at {cut}");
        assert_eq!(end.timestamp.as_deref(), Some(C));
    }
}

#[test]
fn a_rotated_log_is_a_gap() {
    let (_, position) = read(&LogPosition::default(), &log(&[(A, "one\n")])).unwrap();
    let gap = read(&position, &log(&[(C, "ten\n")])).unwrap_err();
    assert_eq!(gap, Gap { after: A.into(), next: Some(C.into()) });
}

#[test]
fn fewer_lines_of_the_same_time_are_a_gap_too() {
    let seen = log(&[(A, "one\n"), (A, "two\n")]);
    let (_, position) = read(&LogPosition::default(), &seen).unwrap();
    assert!(read(&position, &log(&[(A, "two\n"), (B, "x\n")])).is_err());
}

#[test]
fn lines_whose_time_stamps_are_out_of_order_are_no_gap() {
    let input = log(&[(A, "one\n"), (B, "err\n"), (A2, "out\n"), (A, "late\n"), (C, "end\n")]);
    let (all, _) = read(&LogPosition::default(), &input).unwrap();
    // At the end of "out", which stands behind a line that was stamped later.
    let cut = input.len() - log(&[(A, "late\n"), (C, "end\n")]).len();
    let (before, position) =
        read_in_chunks(&LogPosition::default(), &input[..cut], usize::MAX).unwrap();
    assert_eq!(position.timestamp.as_deref(), Some(A2));
    let (after, _) = read(&position, &input).unwrap();
    assert_eq!([before, after].concat(), all);
}

#[test]
fn the_rest_of_a_long_line_before_the_time_asked_for_is_dropped() {
    let (_, position) = read(&LogPosition::default(), &log(&[(A, "one\n")])).unwrap();
    let mut again = b"xxxx xxx\n".to_vec();
    again.extend(log(&[(A, "one\n"), (B, "two\n")]));
    assert_eq!(read(&position, &again).unwrap().0, b"two\n");
}

#[test]
fn content_that_looks_like_a_time_stamp_stays() {
    let text = format!("{A} {A} x\n");
    let (output, _) = read(&LogPosition::default(), &log(&[(B, &text)])).unwrap();
    assert_eq!(output, text.as_bytes());
}

#[test]
fn an_empty_log_after_a_rotation_is_a_gap_unless_all_was_read() {
    let (_, position) = read(&LogPosition::default(), &log(&[(A, "one\n")])).unwrap();
    let empty = Lines::resume(position);
    assert_eq!(empty.finish(false), Err(Gap { after: A.into(), next: None }));
    assert_eq!(empty.finish(true), Ok(()));
    assert_eq!(Lines::resume(LogPosition::default()).finish(false), Ok(()));
}

#[test]
fn a_line_stamped_long_after_the_one_before_is_a_timestamp_gap() {
    let mut lines = Lines::resume(LogPosition::default());
    lines.feed(&log(&[(A, "one\n"), (B, "two\n")])).unwrap();
    assert_eq!(lines.take_timestamp_gap(), None);
    let before = lines.position().clone();
    lines.feed(&log(&[("2026-01-01T00:00:11.000000000Z", "three\n")])).unwrap();
    let timestamp_gap = lines.take_timestamp_gap().unwrap();
    assert_eq!(
        (timestamp_gap.before, timestamp_gap.time),
        (before, SignedDuration::from_nanos(9_999_999_500))
    );
    assert_eq!(lines.take_timestamp_gap(), None);
}

#[test]
fn what_the_kubelet_says_of_an_error_is_no_output() {
    let error = "failed to create fsnotify watcher: too many open files";
    for seen in [log(&[(A, "one\n")]), Vec::new()] {
        let mut lines = Lines::resume(LogPosition::default());
        let input = [&seen[..], error.as_bytes()].concat();
        let output: Vec<u8> =
            input.chunks(3).flat_map(|chunk| lines.feed(chunk).unwrap()).collect();
        assert_eq!(output, if seen.is_empty() { &b""[..] } else { b"one\n" });
        assert_eq!(lines.kubelet_error().as_deref(), Some(error));
    }
}
