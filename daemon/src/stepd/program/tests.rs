//! An attachment, to an agent that is made up.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use hookd_api::stepd::v1::step_service_client::StepServiceClient;
use hookd_api::stepd::v1::step_service_server::{StepService, StepServiceServer};
use hookd_api::stepd::v1::{
    AttachResponse, CancelStepRequest, CancelStepResponse, ConfigureRequest, ConfigureResponse,
    ForgetStepRequest, ForgetStepResponse, GetStatusRequest, GetStatusResponse, IdentifyRequest,
    IdentifyResponse, StartStepResponse, StopRequest, StopResponse,
};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Streaming};

use super::*;
use crate::error::Reason;
use crate::session::cursor::Cursor;
use crate::session::events::EventKind;

const OUTPUT: &[u8] = b"hello world\n";

/// Has one step, which wrote [`OUTPUT`] and ended with 7.
#[derive(Clone, Default)]
struct Agents {
    resumed_at: Arc<Mutex<Option<ProgramOffsets>>>,
    /// Bytes that it leaves out.
    gap: usize,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl StepService for Agents {
    type AttachStream = Pin<Box<dyn futures::Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Answer<Self::AttachStream> {
        let first = request.into_inner().message().await?.and_then(|first| first.message);
        let Some(Message::Start(AttachStart { resume: Some(resume), .. })) = first else {
            return Err(Status::invalid_argument("no start"));
        };
        *self.resumed_at.lock().unwrap() = Some(resume);
        let offset = resume.stdout + self.gap as u64;
        let data = OUTPUT[usize::try_from(offset).unwrap()..].to_vec();
        let events = [
            Event::Output(Output { stderr: false, offset, data }),
            Event::End(StepEnd { exit_code: 7, ..StepEnd::default() }),
        ];
        let events = events.map(|event| Ok(AttachResponse { event: Some(event) }));
        let events: BoxStream<'static, _> = Box::pin(stream::iter(events));
        Ok(Response::new(events))
    }

    async fn configure(&self, _: Request<ConfigureRequest>) -> Answer<ConfigureResponse> {
        Err(Status::unimplemented(""))
    }

    async fn start_step(&self, _: Request<StartStepRequest>) -> Answer<StartStepResponse> {
        Err(Status::unimplemented(""))
    }

    async fn cancel_step(&self, _: Request<CancelStepRequest>) -> Answer<CancelStepResponse> {
        Err(Status::unimplemented(""))
    }

    async fn forget_step(&self, _: Request<ForgetStepRequest>) -> Answer<ForgetStepResponse> {
        Err(Status::unimplemented(""))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        Err(Status::unimplemented(""))
    }

    async fn identify(&self, _: Request<IdentifyRequest>) -> Answer<IdentifyResponse> {
        Err(Status::unimplemented(""))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Answer<StopResponse> {
        Err(Status::unimplemented(""))
    }
}

/// Follows the step for a client that was sent "hello " and has written "he"; how that ended, and
/// what the client was sent since.
async fn follow_on(agents: Agents) -> (Result<StepEnd, Broken>, Vec<u8>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = Server::builder().add_service(StepServiceServer::new(agents));
    tokio::spawn(server.serve_with_incoming(stream::iter([Ok::<_, std::io::Error>(far)])));
    let mut near = Some(TokioIo::new(near));
    let connector = tower::service_fn(move |_| {
        std::future::ready(near.take().ok_or(std::io::Error::other("used")))
    });
    let channel = Endpoint::from_static("http://stepd").connect_with_connector(connector).await;
    let mut agent = StepServiceClient::new(channel.unwrap());
    let (events, mut received) = mpsc::channel(8);
    let (_acks, acked) = watch::channel(Acked::up_to(Offsets { stdout: 2, stderr: 0 }));
    let mut session = Session::new(Cursor::default(), Offsets::default(), events, acked);
    session.output(Stream::Stdout, Bytes::from_static(b"hello "), |_| {}).await.unwrap();
    received.recv().await.unwrap();
    let start = StartStepRequest { step_id: "s".to_owned(), ..StartStepRequest::default() };
    let program = Program { start: &start, before: Offsets::default() };
    let ended = follow(&mut agent, program, &mut Receiver::new(&mut session)).await;
    drop(session);
    let mut sent = Vec::new();
    while let Some(event) = received.recv().await {
        if let EventKind::Output { data, .. } = event.kind {
            sent.extend_from_slice(&data);
        }
    }
    (ended, sent)
}

#[tokio::test]
async fn what_the_caller_has_not_written_stays_with_the_agent() {
    let agents = Agents::default();
    let (ended, sent) = follow_on(agents.clone()).await;
    assert!(matches!(ended, Ok(StepEnd { exit_code: 7, .. })));
    assert_eq!(sent, b"world\n");
    let resumed_at = agents.resumed_at.lock().unwrap().unwrap();
    assert_eq!(resumed_at, ProgramOffsets { stdout: 2, stderr: 0 });
}

#[tokio::test]
async fn output_that_does_not_follow_on_what_was_sent_is_an_error() {
    let (ended, sent) = follow_on(Agents { gap: 5, ..Agents::default() }).await;
    let Err(Broken::Failed(failure)) = ended else { panic!("it went on") };
    assert_eq!(failure.reason, Reason::OutputLost);
    assert!(sent.is_empty());
}
