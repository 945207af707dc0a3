//! The endpoint's server: HTTP/1.1 on loopback.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::{Body, Refusal, whole};
use super::config::{ADDRESS, EndpointConfig, VARIABLE};
use super::direct::TwoUsers;
use super::kept::Kept;
use super::pull::{Asked, Pulls};
use super::push::{Pushes, Sent};
use super::route::{Item, Push, Route, route};
use super::upstream::{Registries, Upstream, UpstreamError};
use crate::registry::digest::is_digest;

/// Connections at one time: Kaniko has about ten.
const MOST_CONNECTIONS: usize = 64;
/// For the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the endpoint may take to listen, and between two looks whether it does.
const START: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// Characters of a path and of a message that are passed on.
const MOST_SHOWN: usize = 1000;
/// Refusals that are logged: a `RUN` may ask without end.
const MOST_LOGGED: u64 = 100;
/// Bytes that are buffered for one connection.
const BUFFER: usize = 64 << 10;

/// The endpoint cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The variable with the configuration is missing or wrong.
    #[error("{VARIABLE} is not the configuration of a registry endpoint: {0}")]
    Config(String),
    /// See [`UpstreamError`].
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// See [`TwoUsers`].
    #[error(transparent)]
    TwoUsers(#[from] TwoUsers),
    /// The builder's credentials cannot be written.
    #[error("{} cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address is taken, or signals cannot be handled.
    #[error("The build's registry endpoint cannot listen")]
    Serve(#[source] std::io::Error),
}

/// Serves until TERM or INT, with the configuration in the environment.
///
/// # Errors
/// See [`EndpointError`].
pub async fn run() -> Result<(), EndpointError> {
    // First: without them the process, which is PID 1, cannot be asked to end.
    let mut terminate = signal(SignalKind::terminate()).map_err(EndpointError::Serve)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(EndpointError::Serve)?;
    let config = of_environment()?;
    let registries = Registries::mounted(&config)?;
    let endpoint = Arc::new(Endpoint::new(config, registries)?);
    let listener = TcpListener::bind(ADDRESS).await.map_err(EndpointError::Serve)?;
    tracing::info!(
        repository = endpoint.config.push_path(),
        images = endpoint.config.images.len(),
        "the build's registry endpoint serves {ADDRESS}"
    );
    tokio::select! {
        () = accept(listener, endpoint) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// The configuration in the environment.
pub(super) fn of_environment() -> Result<EndpointConfig, EndpointError> {
    let text = std::env::var(VARIABLE).map_err(|error| EndpointError::Config(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| EndpointError::Config(error.to_string()))
}

/// Waits until an endpoint listens; an exit code: 1 if none does in time.
pub async fn wait() -> u8 {
    let listens = async {
        while TcpStream::connect(ADDRESS).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    u8::from(tokio::time::timeout(START, listens).await.is_err())
}

/// Accepts connections for ever.
pub(super) async fn accept(listener: TcpListener, endpoint: Arc<Endpoint>) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // They end with this.
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((connection, _)) => {
                let endpoint = endpoint.clone();
                connections.spawn(async move {
                    serve(connection, endpoint).await;
                    drop(slot);
                });
            }
            // Out of descriptors: those of connections come back.
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(connection: TcpStream, endpoint: Arc<Endpoint>) {
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(connection), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// What one build may do, and what it has done.
#[derive(Debug)]
pub(super) struct Endpoint {
    config: EndpointConfig,
    upstream: Upstream,
    pulls: Pulls,
    pushes: Pushes,
    layers: Pushes,
    kept: Kept,
    refusals: AtomicU64,
}

impl Endpoint {
    pub(super) fn new(
        config: EndpointConfig,
        registries: Registries,
    ) -> Result<Self, UpstreamError> {
        let upstream = Upstream::new(&config, &registries)?;
        let (pulls, kept) = (Pulls::default(), Kept::default());
        let pushes = Pushes::new(config.push_path());
        let layers = config.cache.as_ref().map(|cache| config.keyed(&cache.path()));
        let layers = Pushes::new(layers.unwrap_or_default());
        Ok(Self { config, upstream, pulls, pushes, layers, kept, refusals: AtomicU64::new(0) })
    }

    /// The configuration of the image that was pushed, if it is kept here.
    pub(super) fn image(&self) -> Option<Bytes> {
        self.kept.image()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match self.answered(request).await {
            Ok(response) => response,
            Err(refusal) => {
                let hidden = |text: &str| match &self.config.key {
                    Some(key) => text.replace(key.as_str(), "…"),
                    None => text.to_owned(),
                };
                let path: String = hidden(&path).chars().take(MOST_SHOWN).collect();
                let message: String = hidden(&refusal.message).chars().take(MOST_SHOWN).collect();
                if self.refusals.fetch_add(1, Ordering::Relaxed) < MOST_LOGGED {
                    tracing::info!(%method, path, code = refusal.code, message, "refused");
                }
                Refusal { message, ..refusal }.response()
            }
        }
    }

    async fn answered(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        match route(&self.config, &head)? {
            Route::Base => Ok(whole(StatusCode::OK, "{}".into())),
            Route::Pull { images, item } => {
                let asked = Asked { method: &head.method, item: &item, headers: &head.headers };
                self.pulls.serve(&self.upstream, &images, asked).await
            }
            Route::Cache(push) => self.cached(push, head, body).await,
            Route::Push(push) => {
                let sent = Sent { method: head.method.clone(), headers: head.headers, body };
                match self.upstream.push() {
                    Some(session) => self.pushes.serve(&self.config, session, push, sent).await,
                    None => self.kept.serve(&self.config, &self.pulls, push, sent).await,
                }
            }
        }
    }

    /// Layers are pulled as images are; whether one is there is asked as of what is pushed.
    async fn cached(
        &self,
        push: Push,
        head: Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let session = self.upstream.cache()?;
        let denied = || Refusal::denied("this build caches no layers");
        let cache = self.config.cache.as_ref().ok_or_else(denied)?;
        match push {
            Push::Read(item) if head.method == Method::GET => {
                // A digest is served if an entry that was leads to it.
                let entry = match &item {
                    Item::Manifest(tag) if !is_digest(tag) => cache.entry(tag),
                    Item::Manifest(_) | Item::Blob(_) => cache.entry(""),
                };
                let asked = Asked { method: &head.method, item: &item, headers: &head.headers };
                self.pulls.serve(&self.upstream, &[&entry], asked).await
            }
            push => {
                let sent = Sent { method: head.method.clone(), headers: head.headers, body };
                self.layers.serve(&self.config, session, push, sent).await
            }
        }
    }
}
