//! The warm client, and what its errors mean for the user.
//!
//! Whatever it asks for has deadlines: the head of an answer, which is the first item of a watch or
//! a log, and the pause between two chunks of it. The whole life of a watch is the server's to end
//! (290 s); that of a log is its Job's.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder, service_fn};
use tower_http::timeout::TimeoutBody;

use crate::cluster::error::ClusterError;
use crate::error::Failure;
use crate::metrics::metrics;

/// A request that is not answered by then is repeated.
pub const ANSWER: Duration = Duration::from_secs(15);
/// An answer of which nothing more has come for so long is asked for again: its connection may be
/// dead without an error. A watch is never as quiet, since the API server sends a bookmark a minute.
const IDLE: Duration = Duration::from_secs(75);
/// An API server that does not take a connection by then is away.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that was unused for so long is not used again: one that is dead costs the next request
/// the whole time of an answer.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// Between two looks whether a quiet connection's other end is there; the third failure ends it.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Makes the client from the service account, or from KUBECONFIG outside a cluster.
///
/// # Errors
/// `API_UNREACHABLE` when neither is there.
pub async fn connect() -> Result<(Client, String), Failure> {
    let away = |source| ClusterError::NotConfigured { source };
    let config = Config::infer().await.map_err(|error| away(error.into()))?;
    let client = over_prompt_connections(&config).map_err(|error| away(error.into()))?;
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
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(connector);
    let answers = service_fn(move |request: Request<kube::client::Body>| {
        let idle = idle_limit(request.uri().path());
        let asked = metrics().ask(request.method(), request.uri());
        let answer = client.request(request);
        async move {
            let answer = answer.await?;
            asked.answered(answer.status());
            Ok::<_, BoxError>(answer.map(|body| TimeoutBody::new(idle, body)))
        }
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .timeout(ANSWER)
        .map_response(as_the_server_would)
        .service(answers);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// How long an answer may pause. A log may be quiet for hours, and a stream of it that is dropped may be
/// the only one that leads to the next line: it is looked after where it is read.
fn idle_limit(path: &str) -> Duration {
    let mut parts = path.rsplit('/');
    let is_log = (parts.next(), parts.nth(1)) == (Some("log"), Some("pods"));
    if is_log { Duration::MAX } else { IDLE }
}

/// Makes an error of what is no answer of the API server's own: the header `Retry-After`, which its
/// priority and fairness and proxies send with a line of text, goes into a Status, where kube keeps
/// it; and a proxy's page, which comes as success, is none.
pub(super) fn as_the_server_would<B>(response: Response<B>) -> Response<Either<B, Full<Bytes>>> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let seconds =
        header(header::RETRY_AFTER).and_then(|seconds| seconds.trim().parse::<u32>().ok());
    let is_page = header(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    let (code, message) = match (response.status(), seconds) {
        (
            code @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE),
            Some(seconds),
        ) => (code, format!("{code}; it asks for a retry after {seconds} s")),
        (StatusCode::OK, _) if is_page => {
            (StatusCode::BAD_GATEWAY, "the answer is a web page".to_owned())
        }
        _ => return response.map(Either::Left),
    };
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "code": code.as_u16(), "details": {"retryAfterSeconds": seconds.unwrap_or_default()},
    });
    let mut response = response.map(|_| Either::Right(Full::from(status.to_string())));
    *response.status_mut() = code;
    response
}

#[cfg(test)]
mod tests;
