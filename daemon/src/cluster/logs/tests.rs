//! Streams of a log that are quiet, and what the node has of it then.

use futures::TryStreamExt;

use super::*;

/// Fails the test if it hears of a break.
struct Unbroken;

impl Sink for Unbroken {
    async fn write(&mut self, _: Bytes, _: &LogPosition) -> Result<(), Failure> {
        Ok(())
    }

    async fn broken(&mut self, broken: bool) -> Result<(), Failure> {
        assert!(!broken, "a break was told");
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_quiet_for_a_minute_is_asked_for_again_without_a_word() {
    let silent = futures::stream::pending::<std::io::Result<Vec<u8>>>();
    let mut silent = silent.into_async_read();
    let mut lines = Lines::resume(LogPosition::default());
    let began = Instant::now();
    let never = futures::future::pending();
    let read = copy(&mut silent, &mut lines, (&mut 0, IDLE), never, &mut Unbroken).await;
    assert!(matches!(read, Ok(Read::Idle)) && began.elapsed() == IDLE);
}

const SEEN: &str = "2026-01-01T00:00:01.000000000Z";
const LATER: &str = "2026-01-01T00:00:05.000000000Z";

/// What a look at `log` tells after the line stamped [`SEEN`].
async fn look_at(log: &str) -> Look {
    let seen = LogPosition { timestamp: Some(SEEN.to_owned()), nth: 1, bytes: 4, line_ended: true };
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>(log.as_bytes().to_vec())]);
    look(&mut pieces.into_async_read(), &mut Lines::resume(seen)).await
}

#[tokio::test]
async fn a_look_tells_a_log_that_goes_on_from_one_that_was_begun_anew() {
    let log = format!("{SEEN} one\n{LATER} two\n");
    assert!(matches!(look_at(&log).await, Look::Joins));
    assert!(matches!(look_at("").await, Look::Empty));
    let gap = look_at(&format!("{LATER} two\n")).await;
    assert!(matches!(gap, Look::Gap(Gap { next: Some(next), .. }) if next == LATER));
}
