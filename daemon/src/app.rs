//! The daemon's life: build what it needs, serve, stop.

use std::sync::Arc;
use std::time::Duration;

use hookd_api::v1::DESCRIPTORS;
use hookd_api::v1::hook_service_server::HookServiceServer;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use crate::cluster::client;
use crate::config::Config;
use crate::error::{Failure, report};
use crate::hooks::{Context, built_images, cleanup_job};
use crate::install::{self, InstallError};
use crate::rpc::{Service, listener};

/// Name of the socket in its directory.
pub const SOCKET: &str = "hookd.sock";
/// A hook input carries the environment of its step, which can be large.
const LARGEST_CALL: usize = 64 << 20;
/// h2 breaks a connection on which many small frames lie unread; how many is a share of this.
/// Streams have windows of their own, so this is no memory.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// After TERM there may be as little as 2 s until KILL.
const STOP_PATIENCE: Duration = Duration::from_millis(1500);

/// The daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No access to the cluster is configured.
    #[error(transparent)]
    Cluster(#[from] Failure),
    /// See [`InstallError`].
    #[error(transparent)]
    Install(#[from] InstallError),
    /// See [`listener::BindError`].
    #[error(transparent)]
    Bind(#[from] listener::BindError),
    /// Signals cannot be handled.
    #[error("signals cannot be handled")]
    Signals(#[source] std::io::Error),
    /// Reflection or the transport.
    #[error("serving failed")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs the daemon until TERM or INT.
///
/// # Errors
/// See [`AppError`].
pub async fn run(config: Config) -> Result<(), AppError> {
    let (client, namespace) = client::connect().await?;
    let namespace = config.namespace.clone().unwrap_or(namespace);
    let context = Arc::new(Context::new(config, client, namespace));
    warm(&context).await;
    install::install(&context.config.socket_dir)?;
    let listener = listener::bind(&context.config.socket_dir.join(SOCKET))?;
    let orphans = context.clone();
    tokio::spawn(async move { cleanup_job::delete_orphans(&orphans).await });
    let served = serve(context.clone(), listener).await;
    stop(&context).await;
    built_images::delete(&context).await;
    served
}

/// Asks the cluster for what every step needs; a failure is told now and by the calls to come.
async fn warm(context: &Context) {
    match context.warm().await {
        Ok(known) => tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            cluster = known.cluster_version,
            namespace = context.namespace,
            runner = known.runner.name,
            "ready"
        ),
        Err(failure) => {
            tracing::error!(reason = %failure.reason, remedy = failure.remedy, "{}", report(&failure));
        }
    }
}

async fn serve(context: Arc<Context>, listener: tokio::net::UnixListener) -> Result<(), AppError> {
    let own = rustix::process::getuid().as_raw();
    let allowed = match context.config.allowed_uids.as_slice() {
        [] => vec![own],
        uids => uids.to_vec(),
    };
    let service = HookServiceServer::new(Service::new(context.clone()))
        .max_decoding_message_size(LARGEST_CALL);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<HookServiceServer<Service>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let failed = |error: tonic_reflection::server::Error| AppError::Serve(error.into());
    // Python's reflection client speaks the older version only.
    let (newer, older) = (reflection().build_v1(), reflection().build_v1alpha());
    let stopping = context.stopping.clone();
    let signals = stop_on_signal(context.clone())?;
    let server = Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(service)
        .add_service(health)
        .add_service(newer.map_err(failed)?)
        .add_service(older.map_err(failed)?)
        .serve_with_incoming(listener::connections(listener, allowed));
    tokio::select! {
        served = server => served.map_err(|error| AppError::Serve(error.into())),
        () = signals => Ok(()),
        () = stopping.cancelled() => Ok(()),
    }
}

/// TERM and INT: cancel all steps, and let them delete what they made.
fn stop_on_signal(context: Arc<Context>) -> Result<impl Future<Output = ()>, AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: cancelling all steps");
        context.stopping.cancel();
        context.tasks.close();
        // The callers hear of it while the server still runs.
        let _ = tokio::time::timeout(STOP_PATIENCE, context.tasks.wait()).await;
    })
}

/// Waits a little for deletions that are under way.
async fn stop(context: &Context) {
    context.stopping.cancel();
    context.tasks.close();
    let _ = tokio::time::timeout(STOP_PATIENCE, context.tasks.wait()).await;
}
