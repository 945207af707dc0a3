//! The port that is scraped: `GET /metrics`, and nothing else.
//!
//! A program that reaches it can read it, and no more: each connection has one request and little time, and few
//! are open at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{metrics, page};

/// Connections at one time; more wait.
const MOST_CONNECTIONS: usize = 8;
/// For a whole connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are buffered for one connection: the least that hyper takes.
const BUFFER: usize = 8 << 10;

/// The metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be served at {address}")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Listens; the future that is returned serves for as long as it is polled.
///
/// # Errors
/// The address is taken, or is none of this pod.
pub async fn serve(address: SocketAddr) -> Result<impl Future<Output = ()>, ServeError> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServeError { address, source })?;
    Ok(accept(listener))
}

pub(super) async fn accept(listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((connection, _)) => {
                tokio::spawn(async move {
                    // A slower one may come again.
                    let _ = tokio::time::timeout(TIMEOUT, attend(connection)).await;
                    drop(slot);
                });
            }
            // Out of descriptors: those of connections come back.
            Err(error) => {
                tracing::warn!(%error, "a scraper's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(connection: TcpStream) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        std::future::ready(Ok::<_, Infallible>(answer(&request)))
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(connection), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a scraper's connection ended");
    }
}

fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let refused = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return refused(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let mut response = Response::new(Full::from(metrics().text()));
    let kind = HeaderValue::from_static(page::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
