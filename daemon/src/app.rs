//! The daemon's life: build what it needs, serve, stop.

use std::sync::Arc;
use std::time::Duration;

use hookd_api::transport::{HOOKD_SOCKET, MAX_HOOKD_REQUEST_SIZE};
use hookd_api::v1::DESCRIPTORS;
use hookd_api::v1::hook_service_server::HookServiceServer;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::server::Router;

use crate::cluster::client;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Failure, report};
use crate::hooks::{built_images, orphans, prebuild};
use crate::install::{self, InstallError};
use crate::metrics;
use crate::placement;
use crate::rpc::{self, Service, listener};
use crate::traces::exporter::{self, Collector, Exporting};
use crate::workload::pod_security;

/// After TERM there may be as little as 2 s until KILL.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

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
    let mut context = Context::new(config, client, namespace);
    let exporting = export_traces(&mut context);
    let context = Arc::new(context);
    serve_metrics(&context.config);
    let network = context.clone();
    tokio::spawn(async move { placement::restore(&network).await });
    warm(&context).await;
    // A later job may find it corrected: each call says what is wrong with it until then.
    if let Err(failure) = context.policy() {
        tracing::error!(reason = %failure.reason, remedy = failure.remedy, "{}", report(&failure));
    }
    install::install(&context.config.socket_dir)?;
    let listener = listener::bind(&context.config.socket_dir.join(HOOKD_SOCKET))?;
    let (security, orphaned) = (context.clone(), context.clone());
    tokio::spawn(async move {
        if let Some(known) = security.cached_cluster_info() {
            pod_security::warn_if_unenforced(&security.cluster.client, &known.runner).await;
        }
    });
    prebuild::delete_left(&context).await;
    tokio::spawn(async move { orphans::delete_orphans(&orphaned).await });
    let served = serve(context.clone(), listener).await;
    let _ = tokio::time::timeout(STOP_TIMEOUT, prebuild::end(&context)).await;
    stop(&context).await;
    let traced = async {
        if let Some(exporting) = exporting {
            exporting.stop().await;
        }
    };
    tokio::join!(built_images::delete(&context), traced);
    served
}

/// Steps run without traces too: the log says what is wrong with the endpoint.
fn export_traces(context: &mut Context) -> Option<Exporting> {
    let Context { config, cluster, traces, .. } = context;
    let endpoint = config.traces_endpoint.as_deref()?;
    let (pod, namespace) = (config.pod_name.as_str(), cluster.namespace.as_str());
    match exporter::start(&Collector { endpoint, pod, namespace }) {
        Ok((begun, exporting)) => {
            *traces = begun;
            Some(exporting)
        }
        Err(error) => {
            tracing::error!(error = report(&error), "there are no traces");
            None
        }
    }
}

/// Steps run without metrics too: a port that is taken is no reason to end.
fn serve_metrics(config: &Config) {
    let address = config.metrics_address.as_ref().and_then(|address| address.parse().ok());
    if let Some(address) = address {
        tokio::spawn(metrics::serve(address));
    }
}

/// Asks the cluster for what every step needs; a failure is logged now and reported by the calls to come.
async fn warm(context: &Context) {
    match context.warm().await {
        Ok(known) => {
            tracing::info!(
                version = env!("CARGO_PKG_VERSION"),
                cluster = known.cluster_version,
                namespace = context.cluster.namespace,
                runner = known.runner.name,
                "ready"
            );
            if let Err(failure) = known.runner.check_work() {
                tracing::error!(reason = %failure.reason, remedy = failure.remedy, "{failure}");
            }
        }
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
    let server = router(&context).await?;
    let stopping = context.sessions.stopping.clone();
    let signals = stop_on_signal(context)?;
    let server = server.serve_with_incoming(listener::connections(listener, allowed));
    tokio::select! {
        served = server => served.map_err(|error| AppError::Serve(error.into())),
        () = signals => Ok(()),
        () = stopping.cancelled() => Ok(()),
    }
}

/// What the socket serves: hookd.v1, health and reflection.
///
/// # Errors
/// [`AppError::Serve`]: the compiled description of an API cannot be read.
pub async fn router(context: &Arc<Context>) -> Result<Router, AppError> {
    let service = HookServiceServer::new(Service::new(context.clone()))
        .max_decoding_message_size(MAX_HOOKD_REQUEST_SIZE);
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
    Ok(rpc::server()
        .add_service(service)
        .add_service(health)
        .add_service(newer.map_err(failed)?)
        .add_service(older.map_err(failed)?))
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
        context.sessions.stopping.cancel();
        context.sessions.tasks.close();
        // The clients hear of it while the server still runs.
        let _ = tokio::time::timeout(STOP_TIMEOUT, context.sessions.tasks.wait()).await;
        // An end that was asked for is no death.
        context.sessions.crashes.clear();
    })
}

/// Waits a little for deletions that are under way.
async fn stop(context: &Context) {
    context.sessions.stopping.cancel();
    context.sessions.tasks.close();
    let _ = tokio::time::timeout(STOP_TIMEOUT, context.sessions.tasks.wait()).await;
}
