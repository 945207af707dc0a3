//! A collector of spans beside the cluster.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use hookd_api::otlp::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use hookd_api::otlp::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use hookd_api::otlp::trace::v1::Span;
use test_support::cluster::get;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status};

type Spans = Arc<Mutex<Vec<Span>>>;

/// At an address of the node, which pods reach; it ends when this is dropped.
#[derive(Debug)]
pub struct Collector {
    /// For `HOOKD_TRACES_ENDPOINT`.
    pub endpoint: String,
    spans: Spans,
    _ends: DropGuard,
}

struct Stub(Spans);

#[tonic::async_trait]
impl TraceService for Stub {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// At a port that the kernel chooses.
    pub fn start() -> Self {
        let nodes = get(&["nodes"]);
        let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap();
        let internal = addresses.iter().find(|one| one["type"] == "InternalIP").unwrap();
        let listener = TcpListener::bind((internal["address"].as_str().unwrap(), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (spans, stop) = (Spans::default(), CancellationToken::new());
        let (service, stopped) = (TraceServiceServer::new(Stub(spans.clone())), stop.clone());
        let serve = async move {
            let incoming =
                TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming_shutdown(incoming, stopped.cancelled()).await.unwrap();
        };
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve);
        });
        Self { endpoint, spans, _ends: stop.drop_guard() }
    }

    /// All that it was sent.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}
