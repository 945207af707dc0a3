//! What registries are asked before a build.

use std::time::Duration;

use futures::future::select_ok;

use super::reuse::TIMEOUT;

/// An answer that takes longer is asked for once more. What a lost packet holds up comes so in time; a second
/// connection that cannot be made is given up before the end.
const REPEAT: Duration = Duration::from_secs(3);

/// What `ask` answers within [`TIMEOUT`]; none: nothing. An error that comes before [`REPEAT`] counts; then all is
/// asked once more, and what comes first counts.
pub(super) async fn in_time<T, E, F: Future<Output = Result<T, E>>>(
    ask: impl Fn() -> F,
) -> Option<Result<T, E>> {
    let asked = async {
        let mut first = Box::pin(ask());
        if let Ok(answer) = tokio::time::timeout(REPEAT, &mut first).await {
            return answer;
        }
        select_ok([first, Box::pin(ask())]).await.map(|(answer, _)| answer)
    };
    tokio::time::timeout(TIMEOUT, asked).await.ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// What comes of answers that take so many seconds, after how many, and how often it was asked.
    async fn outcome(
        answers: [Option<(u64, Result<u8, u8>)>; 2],
    ) -> (Option<Result<u8, u8>>, u64, usize) {
        let (begun, asked) = (Instant::now(), Cell::new(0));
        let answer = in_time(|| {
            let answer = answers[asked.replace(asked.get() + 1)];
            async move {
                let Some((seconds, answer)) = answer else { return std::future::pending().await };
                sleep(Duration::from_secs(seconds)).await;
                answer
            }
        });
        (answer.await, begun.elapsed().as_secs(), asked.get())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_asked_for_once_more() {
        let silent = None;
        assert_eq!(outcome([silent, Some((1, Ok(2)))]).await, (Some(Ok(2)), 4, 2));
        // A connection that cannot be made.
        let late = Some((5, Err(5)));
        assert_eq!(outcome([late, Some((3, Ok(2)))]).await, (Some(Ok(2)), 6, 2));
        assert_eq!(outcome([late, late]).await, (Some(Err(5)), 8, 2));
        // A registry that is slow.
        assert_eq!(outcome([Some((9, Ok(1))), silent]).await, (Some(Ok(1)), 9, 2));
        assert_eq!(outcome([silent, silent]).await, (None, TIMEOUT.as_secs(), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_is_not_there_is_named_at_once() {
        assert_eq!(outcome([Some((0, Err(1))), None]).await, (Some(Err(1)), 0, 1));
        assert_eq!(outcome([Some((2, Ok(1))), None]).await, (Some(Ok(1)), 2, 1));
    }
}
