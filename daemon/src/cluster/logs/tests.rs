//! Streams of a log that are quiet, and what the node has of it then.

use futures::TryStreamExt;
use jiff::SignedDuration;

use super::probe::{Probe, ends_there, probe};
use super::stream::{IDLE, Next, next};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_quiet_for_a_minute_is_idle() {
    let silent = futures::stream::pending::<std::io::Result<Vec<u8>>>();
    let mut silent = silent.into_async_read();
    let began = Instant::now();
    let came = next(&mut silent, &mut [0; 8], futures::future::pending(), IDLE).await;
    assert!(matches!(came, Next::End(Read::Idle)) && began.elapsed() == IDLE);
}

#[test]
fn a_timestamp_gap_is_safe_for_a_reader_at_the_end_of_its_file() {
    let seconds = SignedDuration::from_secs;
    let large = |follows: bool, waited: u64| RotationTracker {
        total: usize::MAX,
        follows,
        waited: Duration::from_secs(waited),
        held: true,
    };
    for (rotation, apart, believed) in [
        (large(true, 100), 100, true),
        (large(true, 93), 100, true),
        (large(false, 0), 2, true),
        // It was behind, or its kubelet may not have watched for new files.
        (large(true, 0), 11, false),
        (large(true, 90), 100, false),
        (large(false, 100), 100, false),
        // No second file can have been begun.
        (RotationTracker::from(&LogPosition::default()), 1000, true),
    ] {
        assert_eq!(rotation.is_unbroken(seconds(apart)), believed, "{rotation:?}, {apart} s");
    }
}

const SEEN: &str = "2026-01-01T00:00:01.000000000Z";
const LATER: &str = "2026-01-01T00:00:05.000000000Z";

/// What a probe of `log` finds after the line stamped [`SEEN`].
async fn probe_of(log: &str) -> Probe {
    let seen = LogPosition { timestamp: Some(SEEN.to_owned()), nth: 1, bytes: 4, line_ended: true };
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(log.as_bytes().to_vec())]);
    probe(&mut chunks.into_async_read(), &mut Lines::resume(seen)).await
}

#[tokio::test]
async fn a_probe_detects_a_log_that_was_begun_anew() {
    let log = format!("{SEEN} one\n{LATER} two\n");
    assert!(matches!(probe_of(&log).await, Probe::Joins));
    assert!(matches!(probe_of("").await, Probe::Empty));
    let gap = probe_of(&format!("{LATER} two\n")).await;
    assert!(matches!(gap, Probe::Gap(Gap { next: Some(next), .. }) if next == LATER));
}

#[tokio::test]
async fn a_log_is_at_its_end_if_nothing_is_behind_the_newest_line() {
    for (log, expected) in [
        (format!("{SEEN} one\n"), true),
        (format!("{SEEN} one\n{LATER} two\n"), false),
        (String::new(), false),
        (format!("{SEEN} one\nunable to read on"), false),
    ] {
        let seen =
            LogPosition { timestamp: Some(SEEN.to_owned()), nth: 1, bytes: 4, line_ended: true };
        let chunks = futures::stream::iter([Ok::<_, std::io::Error>(log.as_bytes().to_vec())]);
        let mut lines = Lines::resume(seen);
        let ends = ends_there(&mut chunks.into_async_read(), &mut lines).await;
        assert_eq!(ends, Some(expected), "{log}");
    }
}
