//! The one way in which requests are repeated: pauses that grow and differ, what the server asks for,
//! a budget.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kube::client::UpgradeConnectionError;
use tokio::time::Instant;

use crate::cluster::client::ANSWER;
use crate::cluster::error::ClusterError;
use crate::cluster::refusal;
use crate::error::{Failure, report};
use crate::metrics::metrics;

/// What looks like a missing permission is believed after this: what hookd may do is looked at once
/// at start, and an API server that has just started knows no roles yet.
const FORBIDDEN_GRACE_PERIOD: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Backoff between attempts: the first pause is 30 ms, each further one twice as long, up to 2 s; each
/// gets up to as much again at random, so that many runners do not come back in step.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Default for Backoff {
    fn default() -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        Self(pauses.build())
    }
}

impl Backoff {
    /// Waits for the next pause.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST_PAUSE)
    }
}

/// True for what may well go better the next time: no connection, no answer, an overloaded or
/// restarting server.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        // We ask for nothing on a condition: a conflict is one of the server's own writes, such as
        // that of a quota which several creates are counted on at once.
        kube::Error::Api(status) if refusal::is_final(status) => false,
        kube::Error::Api(status) => {
            status.is_conflict() || matches!(status.code, 429 | 500 | 502 | 503 | 504)
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
            code.as_u16() == 429 || code.is_server_error()
        }
        kube::Error::UpgradeConnection(_) => true,
        // A page of a proxy, or an answer that was cut off.
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => true,
        _ => false,
    }
}

/// An account that lacks a permission; also what an API server says to everybody in the first
/// second after its start.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if refusal::is_missing_permission(status))
}

/// As [`is_forbidden`], and an admission that is not ready yet: both are believed after a while.
fn is_doubtful(error: &kube::Error) -> bool {
    is_forbidden(error) || matches!(error, kube::Error::Api(status) if refusal::is_passing(status))
}

/// How long requests are repeated.
#[derive(Debug)]
pub struct Retry {
    budget: Duration,
}

impl Retry {
    /// Repeats for as long as `budget`.
    pub fn new(budget: Duration) -> Self {
        Self { budget }
    }

    /// Makes a request until it is answered by other than a transient error. `action` completes
    /// "could not ...": "create Job ns/name".
    ///
    /// # Errors
    /// The last error once the budget is used up, or the first that is not transient, as
    /// [`ClusterError`] reports it.
    pub async fn run<T, F>(&self, action: &str, request: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>>,
    {
        self.attempt(request)
            .await
            .map_err(|error| ClusterError::from_request(action, error).into())
    }

    /// As [`Retry::run`], with the error as it came.
    ///
    /// # Errors
    /// The API's own.
    pub async fn attempt<T, F>(&self, mut request: impl FnMut() -> F) -> kube::Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let started = Instant::now();
        let mut doubted = None;
        let mut backoff = Backoff::default();
        loop {
            let error = match tokio::time::timeout(ANSWER, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => kube::Error::Service("no answer within 15 s".into()),
            };
            let believed = is_doubtful(&error)
                && doubted.get_or_insert_with(Instant::now).elapsed() >= FORBIDDEN_GRACE_PERIOD;
            let lasting = !is_transient(&error) && !is_doubtful(&error);
            if believed || lasting || started.elapsed() >= self.budget {
                return Err(error);
            }
            tracing::debug!(error = report(&error), "repeating a request");
            metrics().retried();
            let left = self.budget.saturating_sub(started.elapsed());
            let pause = retry_after(&error).unwrap_or_else(|| backoff.next());
            tokio::time::sleep(pause.min(left)).await;
        }
    }
}

/// What the server asks for with `Retry-After`.
fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::default() }))
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_are_repeated_until_the_budget_ends() {
        let mut calls = 0;
        let retry = Retry::new(Duration::from_secs(20));
        let answer: kube::Result<()> = retry
            .attempt(|| {
                calls += 1;
                async { Err(api(503, "starting")) }
            })
            .await;
        assert!(answer.is_err());
        assert!((5..60).contains(&calls), "{calls} calls");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_knows_no_roles_yet_is_given_time() {
        let mut calls = 0;
        let retry = Retry::new(Duration::from_secs(300));
        let denied = || api(403, "User \"u\" cannot create resource \"jobs\"");
        let answer = retry
            .attempt(|| {
                calls += 1;
                let result = if calls < 4 { Err(denied()) } else { Ok(()) };
                async { result }
            })
            .await;
        assert!(answer.is_ok());
        let started = Instant::now();
        let answer: kube::Result<()> = retry.attempt(|| async { Err(denied()) }).await;
        assert!(answer.is_err() && started.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_error_is_not_repeated() {
        let mut calls = 0;
        let retry = Retry::new(Duration::from_secs(20));
        let _: kube::Result<()> = retry
            .attempt(|| {
                calls += 1;
                async { Err(api(404, "not found")) }
            })
            .await;
        assert_eq!(calls, 1);
    }

    // ARC#1071, ARC#1768: what a plugin refuses was asked for again for ten seconds.
    #[tokio::test(start_paused = true)]
    async fn what_admission_refuses_is_not_asked_for_again() {
        for (code, message) in [
            (
                403,
                "pods \"x\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi",
            ),
            (403, "pods \"x\" is forbidden: no PriorityClass with name y was found"),
            (500, "admission webhook \"w\" denied the request: no"),
            (
                500,
                "Internal error occurred: pod tolerations (possibly merged with namespace default \
                   tolerations) conflict with its namespace whitelist",
            ),
        ] {
            let mut calls = 0;
            let _: kube::Result<()> = Retry::new(Duration::from_secs(20))
                .attempt(|| {
                    calls += 1;
                    async { Err(api(code, message)) }
                })
                .await;
            assert_eq!(calls, 1, "{message}");
        }
        let mut calls = 0;
        let started = Instant::now();
        let _: kube::Result<()> = Retry::new(Duration::from_secs(300))
            .attempt(|| {
                calls += 1;
                async { Err(api(403, "pods \"x\" is forbidden: not yet ready to handle request")) }
            })
            .await;
        assert!(calls > 1 && started.elapsed() < Duration::from_secs(20), "{calls} calls");
    }

    #[test]
    fn a_conflict_passes_and_a_name_that_is_taken_does_not() {
        let refused =
            |reason: &str| kube::Error::Api(Status::failure("", reason).with_code(409).boxed());
        assert!(is_transient(&refused("Conflict")) && !is_transient(&refused("AlreadyExists")));
    }

    fn busy(seconds: u32) -> kube::Error {
        let status = serde_json::json!({"code": 429, "details": {"retryAfterSeconds": seconds}});
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_when_to_come_back_is_asked_then() {
        let (started, mut calls) = (Instant::now(), 0);
        let answer = Retry::new(Duration::from_secs(60))
            .attempt(|| {
                calls += 1;
                let result = if calls < 3 { Err(busy(7)) } else { Ok(()) };
                async { result }
            })
            .await;
        assert!(answer.is_ok());
        assert_eq!(started.elapsed().as_secs(), 14);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_ends_even_if_the_server_asks_for_more() {
        let started = Instant::now();
        let retry = Retry::new(Duration::from_secs(20));
        let answer: kube::Result<()> = retry.attempt(|| async { Err(busy(3600)) }).await;
        assert!(answer.is_err() && started.elapsed() <= Duration::from_secs(21));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_object_is_asked_for_again() {
        let mut calls = 0;
        let answer = Retry::new(Duration::from_secs(20))
            .attempt(|| {
                calls += 1;
                let page = serde_json::from_str::<Status>("<html>").map(drop);
                let result = if calls < 3 { page.map_err(kube::Error::SerdeError) } else { Ok(()) };
                async { result }
            })
            .await;
        assert!(answer.is_ok(), "{answer:?}");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let pauses = || {
            let mut backoff = Backoff::default();
            std::iter::repeat_with(|| backoff.next()).take(12).collect::<Vec<_>>()
        };
        let all = pauses();
        for (number, pause) in all.iter().enumerate() {
            let least = (FIRST_PAUSE * (1 << number)).min(LONGEST_PAUSE);
            let slack = least / 1000;
            assert!((least - slack..=least * 2 + slack).contains(pause), "{number}: {all:?}");
        }
        assert_ne!(all, pauses());
    }
}
