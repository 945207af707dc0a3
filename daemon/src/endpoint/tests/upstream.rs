//! A registry of a few lines, and requests byte for byte.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request that the registry has seen.
#[derive(Clone, Debug)]
pub(super) struct PodState {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) authorization: Option<String>,
    pub(super) body: Bytes,
}

impl PodState {
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// Status, headers and body.
pub(super) type Reply = (u16, Vec<(&'static str, String)>, Bytes);

pub(super) fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    (status, Vec::new(), body.into())
}

pub(super) struct Registry {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<PodState>>>,
}

impl Registry {
    /// A registry that answers with what the function makes of its own address and a request.
    pub(super) async fn of(
        answer: impl Fn(&str, &PodState) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (own, all, answer) = (address.clone(), seen.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (own, all, answer) = (own.clone(), all.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (own, all, answer) = (own.clone(), all.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let authorization = head.headers.get("authorization");
                        let seen = PodState {
                            method: head.method.to_string(),
                            target: head.uri.to_string(),
                            authorization: authorization.map(|one| one.to_str().unwrap().into()),
                            body: body.collect().await?.to_bytes(),
                        };
                        let (status, headers, body) = answer(&own, &seen);
                        all.lock().unwrap().push(seen);
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        Ok::<_, hyper::Error>(response.body(Full::new(body)).unwrap())
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(connection), service));
            }
        });
        Self { address, seen }
    }

    pub(super) fn seen(&self) -> Vec<PodState> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(PodState::line).collect()
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Lines in lower case.
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends these bytes, and reads to the end of the connection.
pub(super) async fn exchange(address: &str, bytes: &[u8]) -> Answer {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = answer.split_off(end + 4);
    if head.contains("transfer-encoding: chunked") {
        body = joined(&body);
    }
    Answer { status, headers: head, body }
}

fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16);
        let length = length.unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + length]);
        chunks = &chunks[end + 4 + length..];
    }
    body
}

/// A request as Kaniko sends it.
pub(super) async fn ask(address: &str, line: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{line} HTTP/1.1\r\nhost: 127.0.0.1:5077\r\nconnection: close\r\ncontent-type: x/y\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, &[head.as_bytes(), body].concat()).await
}
