//! Sends finished spans to the collector: OTLP over gRPC, without TLS.
//!
//! No step waits for it. What does not fit into the queue is dropped and counted; a collector that is down is
//! tried again, and costs one line of the log.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookd_api::otlp::collector::trace::v1::trace_service_client::TraceServiceClient;
use hookd_api::otlp::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest};
use hookd_api::otlp::common::v1::InstrumentationScope;
use hookd_api::otlp::resource::v1::Resource;
use hookd_api::otlp::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::Traces;
use super::span::{self, bounded};
use crate::error::report;

/// Spans that wait.
const QUEUE: usize = 512;
/// Spans of one request.
const BATCH: usize = 128;
/// For more spans to come, after the first of a batch.
const DELAY: Duration = Duration::from_secs(1);
/// For one request.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between a request that failed and the next: doubled each time, up to the second.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// Between the signs of life that the collector is asked for while it answers.
const PING: Duration = Duration::from_secs(10);
/// For the last spans when hookd stops: the pod's end waits for them.
const LAST: Duration = Duration::from_secs(2);
/// Bytes of an answer.
const ANSWER: usize = 16 << 10;

/// Where finished spans go.
#[derive(Clone, Debug)]
pub struct Queue {
    spans: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// One with room for so many, and its other end.
    pub(super) fn of(room: usize) -> (Self, mpsc::Receiver<Span>) {
        let (spans, received) = mpsc::channel(room);
        (Self { spans, dropped: Arc::default() }, received)
    }

    /// Takes a span, if there is room.
    pub(super) fn push(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.drop_one();
        }
    }

    /// Counts a span for which there is no room.
    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The collector, and whose spans it gets.
#[derive(Clone, Debug)]
pub struct Collector<'a> {
    /// `http://otel-collector.monitoring:4317`.
    pub endpoint: &'a str,
    /// The runner pod.
    pub pod: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// The task that exports.
#[derive(Debug)]
pub struct Exporting {
    traces: Traces,
    stopping: CancellationToken,
    task: JoinHandle<()>,
}

/// The endpoint is no address.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint} cannot be a collector's endpoint")]
pub struct EndpointError {
    endpoint: String,
    source: tonic::transport::Error,
}

/// Begins to export, in the runtime that this is called in. The collector is connected to when the first spans
/// are sent.
///
/// # Errors
/// The endpoint is none.
pub fn start(collector: &Collector<'_>) -> Result<(Traces, Exporting), EndpointError> {
    let endpoint = collector.endpoint.to_owned();
    let channel = match Endpoint::from_shared(endpoint.clone()) {
        // A connection that is dead without a reset is noticed.
        Ok(channel) => channel
            .connect_timeout(DEADLINE)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(DEADLINE)
            .connect_lazy(),
        Err(source) => return Err(EndpointError { endpoint, source }),
    };
    let (queue, spans) = Queue::of(QUEUE);
    let stopping = CancellationToken::new();
    let exporter = Exporter {
        client: TraceServiceClient::new(channel).max_decoding_message_size(ANSWER),
        endpoint,
        resource: resource(collector),
        spans,
        batch: Vec::new(),
        dropped: queue.dropped.clone(),
        stopping: stopping.clone(),
        is_down: false,
        has_refused: false,
    };
    let traces = Traces::new(collector.pod, queue);
    let task = tokio::spawn(exporter.run());
    Ok((traces.clone(), Exporting { traces, stopping, task }))
}

impl Exporting {
    /// Sends what there is, if that takes no more than 2 s.
    pub async fn stop(self) {
        self.traces.end();
        self.stopping.cancel();
        let _ = self.task.await;
    }
}

fn resource(collector: &Collector<'_>) -> Resource {
    let known = [
        ("service.name", "hookd"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("k8s.pod.name", collector.pod),
        ("k8s.namespace.name", collector.namespace),
        ("cicd.worker.name", collector.pod),
    ];
    Resource { attributes: span::attributes(&known) }
}

struct Exporter {
    client: TraceServiceClient<Channel>,
    endpoint: String,
    resource: Resource,
    spans: mpsc::Receiver<Span>,
    /// Those that are sent next, or again.
    batch: Vec<Span>,
    dropped: Arc<AtomicU64>,
    stopping: CancellationToken,
    /// The log has said that the collector takes nothing.
    is_down: bool,
    /// The log has said that the collector refused spans that it was sent.
    has_refused: bool,
}

impl Exporter {
    async fn run(mut self) {
        let stopping = self.stopping.clone();
        stopping.run_until_cancelled(self.export()).await;
        let left = async {
            while self.fill() > 0 {
                if self.send().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(LAST, left).await;
        let left = self.batch.len() + self.spans.len();
        let lost = self.dropped.load(Ordering::Relaxed) + left as u64;
        if lost > 0 {
            tracing::warn!(lost, endpoint = self.endpoint, "spans were not taken by the collector");
        }
    }

    /// Sends batch after batch.
    async fn export(&mut self) {
        loop {
            if self.batch.is_empty() && self.spans.recv_many(&mut self.batch, 1).await == 0 {
                return;
            }
            sleep(DELAY).await;
            self.fill();
            let mut pause = PAUSES[0];
            while let Err(status) = self.send().await {
                self.report_failure(&status);
                if !is_passing(status.code()) {
                    self.dropped.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
                    self.batch.clear();
                    break;
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }

    /// Takes what waits into the batch; the spans in it.
    fn fill(&mut self) -> usize {
        while self.batch.len() < BATCH
            && let Ok(span) = self.spans.try_recv()
        {
            self.batch.push(span);
        }
        self.batch.len()
    }

    /// Sends the batch, which is empty afterwards; one that fails stays.
    async fn send(&mut self) -> Result<(), Status> {
        let scope = InstrumentationScope {
            name: "hookd".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: self.batch.clone() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans }];
        let sent = self.client.export(ExportTraceServiceRequest { resource_spans });
        let answer = timeout(DEADLINE, sent).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let answer = answer?.into_inner();
        self.batch.clear();
        if let Some(partial) = answer.partial_success {
            self.report_partial(&partial);
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if mem::take(&mut self.is_down) {
            tracing::info!(dropped, endpoint = self.endpoint, "the collector takes spans again");
        } else if dropped > 0 {
            tracing::warn!(dropped, "there was no room for spans while they waited to be sent");
        }
        Ok(())
    }

    fn report_failure(&mut self, status: &Status) {
        if !mem::replace(&mut self.is_down, true) {
            let error = report(status);
            let (endpoint, error) = (&self.endpoint, bounded(&error));
            tracing::warn!(endpoint, error, "the collector takes no spans; steps go on without it");
        }
    }

    /// Once: a collector may say it with each answer.
    fn report_partial(&mut self, partial: &ExportTracePartialSuccess) {
        let ExportTracePartialSuccess { rejected_spans, error_message } = partial;
        let is_news = *rejected_spans > 0 || !error_message.is_empty();
        if is_news && !mem::replace(&mut self.has_refused, true) {
            let (endpoint, error) = (&self.endpoint, bounded(error_message));
            tracing::warn!(endpoint, rejected_spans, error, "the collector refused spans");
        }
    }
}

/// True of a failure after which the same spans may be taken. OTLP names two more: tonic says OUT_OF_RANGE of an
/// answer that is too large, when the spans were taken; RESOURCE_EXHAUSTED of a request that is too large passes
/// never.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Unavailable
            | Code::DataLoss
    )
}
