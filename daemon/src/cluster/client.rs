//! The warm client, and the one way in which requests are repeated.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use kube::core::Status;
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder};

use crate::error::{Failure, Reason, report};

/// A request that is not answered by then is repeated.
const ANSWER: Duration = Duration::from_secs(15);
/// What looks like a missing permission is believed after this: what hookd may do is looked at once
/// at start, and an API server that has just started knows no roles yet.
const FORBIDDEN_PATIENCE: Duration = Duration::from_secs(10);
/// An API server that does not take a connection by then is away.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two looks whether a quiet connection's other end is there; the third failure ends it.
const KEEPALIVE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Makes the client from the service account, or from KUBECONFIG outside a cluster.
///
/// # Errors
/// `API_UNREACHABLE` when neither is there.
pub async fn connect() -> Result<(Client, String), Failure> {
    let away = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(
            Reason::ApiUnreachable,
            format!("No access to a Kubernetes API is configured: {}", report(error)),
            "Mount a service-account token into the sidecar (deploy/runner-pod.yaml shows how)",
        )
    };
    let config = Config::infer().await.map_err(|error| away(&error))?;
    let client = over_prompt_connections(&config).map_err(|error| away(&error))?;
    Ok((client, config.default_namespace))
}

/// kube's own client lets the kernel gather small writes (Nagle's algorithm), which costs a step over
/// an exec session 40 ms and more each way; and it takes a proxy's settings, which the API server of
/// the own cluster never needs.
fn over_prompt_connections(config: &Config) -> kube::Result<Client> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    // Watches and logs are quiet for long: a dead peer is noticed by this, not by a read time-out.
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE));
    connector.set_keepalive_retries(Some(3));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// True for what may well go better the next time: no connection, no answer, an overloaded or
/// restarting server.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        kube::Error::UpgradeConnection(_) => true,
        _ => false,
    }
}

/// An account that lacks a permission; also what an API server says to everybody in the first
/// second after its start.
fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if matches!(status.code, 401 | 403) && refused("", status).reason == Reason::PermissionMissing)
}

/// How long requests are repeated, and whether the caller was told.
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
    /// [`failure`] words it.
    pub async fn run<T, F>(&self, action: &str, request: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>>,
    {
        self.attempt(request).await.map_err(|error| failure(action, error))
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
        let mut forbidden = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match tokio::time::timeout(ANSWER, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => kube::Error::Service("no answer within 15 s".into()),
            };
            let believed = is_forbidden(&error)
                && forbidden.get_or_insert_with(Instant::now).elapsed() >= FORBIDDEN_PATIENCE;
            let lasting = !is_transient(&error) && !is_forbidden(&error);
            if believed || lasting || started.elapsed() >= self.budget {
                return Err(error);
            }
            tracing::debug!(error = report(&error), "repeating a request");
            tokio::time::sleep(retry_after(&error).unwrap_or_else(|| jittered(pause))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What the server asks for with `Retry-After`.
fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// Half to one and a half of the pause, so that many runners do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let share = now.map_or(0, |now| now.subsec_nanos() % 1000);
    pause / 2 + pause * share / 1000
}

/// Says what an API error means for the user.
pub fn failure(action: &str, error: kube::Error) -> Failure {
    let kube::Error::Api(status) = &error else {
        return Failure::new(
            Reason::ApiUnreachable,
            format!("The Kubernetes API server did not answer when hookd tried to {action}"),
            "Look at the API server and at the network between it and the runner pod",
        )
        .because(error);
    };
    refused(action, status)
}

fn refused(action: &str, status: &Status) -> Failure {
    let words = &status.message;
    let (reason, remedy) = match status.code {
        403 if words.contains("exceeded quota") => (
            Reason::QuotaExceeded,
            "Raise the ResourceQuota of the namespace, or run fewer jobs at a time",
        ),
        403 if is_admission_denial(words) => (
            Reason::AdmissionDenied,
            "Let the namespace's policy allow this pod, or change the pod by configuration \
             (docs/operations.md lists what each pod needs)",
        ),
        401 | 403 => (
            Reason::PermissionMissing,
            "Apply deploy/rbac.yaml in the runner's namespace and bind its Role to the sidecar's \
             service account",
        ),
        400 | 422 if is_admission_denial(words) => {
            (Reason::AdmissionDenied, "Let the namespace's policy allow this pod")
        }
        400 | 413 | 422 => (
            Reason::InvalidInput,
            "Change the value that the message names; if it is none of yours, report it",
        ),
        _ => (Reason::ApiUnreachable, "Look at the API server's log; run the job again"),
    };
    Failure::new(reason, format!("Kubernetes refused to {action}: {words}"), remedy)
}

/// Pod Security, ValidatingAdmissionPolicy and webhooks each have their own words; a missing
/// permission always says who cannot do what.
fn is_admission_denial(words: &str) -> bool {
    ["violates PodSecurity", "admission webhook", "denied the request", "denied request"]
        .iter()
        .any(|mark| words.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::default() }))
    }

    #[test]
    fn each_refusal_has_its_own_reason() {
        for (code, words, reason) in [
            (403, "pods \"x\" is forbidden: exceeded quota: q", Reason::QuotaExceeded),
            (403, "pods \"x\" is forbidden: violates PodSecurity \"b\"", Reason::AdmissionDenied),
            (403, "User \"u\" cannot create resource \"jobs\"", Reason::PermissionMissing),
            (422, "Job.batch \"x\" is invalid", Reason::InvalidInput),
        ] {
            let failure = failure("create Job ns/x", api(code, words));
            assert_eq!(failure.reason, reason, "{words}");
            assert!(failure.message.contains("create Job ns/x"), "{failure}");
            assert!(failure.message.contains(words), "{failure}");
        }
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
}
