//! The exporter and a collector.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

use hookd_api::otlp::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use hookd_api::otlp::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::super::exporter::{self, Collector, Exporting};
use super::*;

type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Stub {
    requests: Requests,
    /// Answers of the first requests.
    refusals: Arc<Mutex<Vec<Status>>>,
    /// Before each answer.
    pause: Duration,
    rejected: i64,
    /// Bytes of what it says about it.
    said: usize,
}

#[tonic::async_trait]
impl TraceService for Stub {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::time::sleep(self.pause).await;
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        self.requests.lock().unwrap().push(request.into_inner());
        let rejected_spans = self.rejected;
        let error_message = "x".repeat(self.said);
        let partial = ExportTracePartialSuccess { rejected_spans, error_message };
        let partial_success = (rejected_spans > 0).then_some(partial);
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

impl Stub {
    /// Serves at a port of the loopback until the test ends.
    async fn serve(&self, listener: TcpListener) {
        let service = TraceServiceServer::new(self.clone());
        let incoming = TcpListenerStream::new(listener);
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(incoming));
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.serve(listener).await;
        address
    }

    fn batches(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(|request| spans(request).len()).collect()
    }
}

fn spans(request: &ExportTraceServiceRequest) -> &[Span] {
    &request.resource_spans[0].scope_spans[0].spans
}

fn exporting(address: SocketAddr) -> (Traces, Exporting) {
    let endpoint = &format!("http://{address}");
    exporter::start(&Collector { endpoint, pod: "runner-1", namespace: "runners" }).unwrap()
}

/// Ends so many calls of a job.
fn end_calls(traces: &Traces, number: usize) {
    let job = job();
    for number in 0..number {
        let step = format!("{number}-{:?}", Instant::now());
        let call = Called { step: Some(&step), ..called(Call::RunScriptStep, &job, None) };
        let trace = traces.call(&call).unwrap();
        trace.ended(Outcome::Succeeded, None);
    }
}

/// Waits until it is so.
async fn until(is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time");
}

#[tokio::test]
async fn a_collector_gets_spans_in_batches_with_their_resource() {
    let stub = Stub::default();
    let (traces, exporting) = exporting(stub.start().await);
    end_calls(&traces, 200);
    until(|| stub.batches().iter().sum::<usize>() == 200).await;
    assert_eq!(stub.batches(), [128, 72]);
    exporting.stop().await;
    let requests = stub.requests.lock().unwrap();
    let of = &requests[0].resource_spans[0];
    let attributes = of.resource.as_ref().unwrap().attributes.clone();
    let resource = Span { attributes, ..Span::default() };
    for (key, expected) in [
        ("service.name", "hookd"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("k8s.pod.name", "runner-1"),
        ("k8s.namespace.name", "runners"),
        ("cicd.worker.name", "runner-1"),
    ] {
        assert_eq!(value(&resource, key), expected, "{key}");
    }
    assert_eq!(named(spans(&requests[2]), "build").name, "build");
}

#[tokio::test]
async fn the_last_spans_are_sent_at_the_stop() {
    let stub = Stub::default();
    let (traces, exporting) = exporting(stub.start().await);
    end_calls(&traces, 300);
    let began = Instant::now();
    exporting.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(stub.batches().iter().sum::<usize>(), 300 + 1, "with the job's own");
}

#[tokio::test]
async fn a_collector_that_is_down_or_slow_holds_up_no_stop() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let slow = Stub { pause: Duration::from_secs(60), ..Stub::default() };
    for address in [free, slow.start().await] {
        let (traces, exporting) = exporting(address);
        end_calls(&traces, 10_000);
        let began = Instant::now();
        exporting.stop().await;
        assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (traces, exporting) = exporting(listener.local_addr().unwrap());
    end_calls(&traces, 5);
    // The first try fails.
    drop(listener.accept().await.unwrap());
    let stub = Stub::default();
    stub.serve(listener).await;
    until(|| stub.batches() == [5]).await;
    exporting.stop().await;
}

#[tokio::test]
async fn spans_that_are_refused_for_good_are_not_sent_again() {
    let refusals = vec![Status::unauthenticated("no"), Status::unavailable("busy")];
    let stub = Stub { refusals: Arc::new(Mutex::new(refusals)), ..Stub::default() };
    let (traces, exporting) = exporting(stub.start().await);
    end_calls(&traces, 1);
    // Once because it was busy, and once more.
    until(|| stub.refusals.lock().unwrap().is_empty()).await;
    end_calls(&traces, 2);
    until(|| !stub.batches().is_empty()).await;
    assert_eq!(stub.batches(), [2]);
    exporting.stop().await;
}

#[tokio::test]
async fn spans_that_a_collector_rejects_are_not_sent_again() {
    let stub = Stub { rejected: 3, ..Stub::default() };
    let (traces, exporting) = exporting(stub.start().await);
    end_calls(&traces, 3);
    until(|| stub.batches() == [3]).await;
    exporting.stop().await;
    assert_eq!(stub.batches(), [3, 1], "the job's own is the last");
}

#[tokio::test]
async fn an_answer_that_is_too_large_holds_up_no_later_spans() {
    let stub = Stub { rejected: 1, said: 100_000, ..Stub::default() };
    let (traces, exporting) = exporting(stub.start().await);
    end_calls(&traces, 1);
    until(|| stub.batches() == [1]).await;
    end_calls(&traces, 2);
    until(|| stub.batches() == [1, 2]).await;
    exporting.stop().await;
}

#[tokio::test]
async fn a_queue_that_is_full_takes_no_more() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (traces, exporting) = exporting(free);
    end_calls(&traces, 10_000);
    let stub = Stub::default();
    stub.serve(TcpListener::bind(free).await.unwrap()).await;
    exporting.stop().await;
    assert_eq!(stub.batches().iter().sum::<usize>(), 512);
}
