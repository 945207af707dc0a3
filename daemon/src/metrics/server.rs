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
use crate::error::report;

/// Connections at one time; more wait.
const MOST_CONNECTIONS: usize = 8;
/// For a whole connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are buffered for one connection: the least that hyper takes.
const BUFFER: usize = 8 << 10;
/// Between two attempts to listen: the first pause, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be served at {address}")]
struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Serves for as long as it is polled. An address that is taken, or is none of this pod, is tried again until
/// it can be used; the log has a line when it cannot, and one when it can after all.
pub async fn serve(address: SocketAddr) {
    accept(listening(address).await).await;
}

pub(super) async fn listening(address: SocketAddr) -> TcpListener {
    let (mut pause, mut has_failed) = (FIRST_PAUSE, false);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if has_failed {
                    tracing::info!(%address, "metrics are served after all");
                }
                return listener;
            }
            Err(source) => {
                if !has_failed {
                    let error = ServeError { address, source };
                    tracing::error!(error = report(&error), "no metrics yet; trying again");
                }
                has_failed = true;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
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
