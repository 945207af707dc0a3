//! An API server of a test: it answers the requests that a script expects, under the real client.
//!
//! Requests of one method and path are answered in the order of the script. Different ones may come
//! in any order, since hookd asks for several things at once; [`ApiServer::requests`] has the
//! order. A request that the script does not expect fails the test, and so does an expected one
//! that did not come: the message names it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{Request, Response, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::{BoxError, ServiceBuilder, service_fn};

use crate::cluster::Cluster;
use crate::cluster::client::{ANSWER, as_the_server_would};

/// Longer than any deadline of hookd, on the paused clock of a test.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// The code for what the script does not expect: hookd does not repeat such a request.
const UNEXPECTED: u16 = 418;

/// How the answer to a watch ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The server ends it.
    Closed,
    /// The connection breaks.
    Broken,
    /// It does not end.
    Open,
}

#[derive(Clone, Debug)]
enum Answer {
    /// None comes.
    UnreachableBackoff,
    /// The connection breaks before one comes; the request may have had its effect.
    Lost,
    /// Code, header, body.
    Whole(u16, Option<(&'static str, String)>, String),
    /// Lines of JSON.
    Watch(Vec<Value>, End),
}

/// A request that is expected, and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    line: String,
    query: Vec<String>,
    body: Value,
    answer: Answer,
    /// It may come any number of times.
    repeated: bool,
    came: bool,
}

/// Reads of an object or a collection, and watches.
pub(crate) fn get(path: impl fmt::Display) -> Expected {
    Expected::new("GET", path)
}

/// Creates.
pub(crate) fn post(path: impl fmt::Display) -> Expected {
    Expected::new("POST", path)
}

/// Replaces one object.
pub(crate) fn put(path: impl fmt::Display) -> Expected {
    Expected::new("PUT", path)
}

/// Deletes of one object.
pub(crate) fn delete(path: impl fmt::Display) -> Expected {
    Expected::new("DELETE", path)
}

impl Expected {
    fn new(method: &str, path: impl fmt::Display) -> Self {
        let (line, answer) = (format!("{method} {path}"), Answer::UnreachableBackoff);
        Self { line, query: Vec::new(), body: json!({}), answer, repeated: false, came: false }
    }

    /// Its decoded query has this parameter, such as `dryRun=All`.
    pub(crate) fn with_query(mut self, part: &str) -> Self {
        self.query.push(part.to_owned());
        self
    }

    /// Its body has at least these fields.
    pub(crate) fn with_body(mut self, fields: Value) -> Self {
        self.body = fields;
        self
    }

    /// It comes once or more often, each time with the same answer.
    pub(crate) fn repeated(mut self) -> Self {
        self.repeated = true;
        self
    }

    /// Answered with this object.
    pub(crate) fn answers(self, code: u16, object: Value) -> Self {
        self.whole(code, None, object.to_string())
    }

    /// Refused with a Status.
    pub(crate) fn refuses(self, code: u16, reason: &str, message: &str) -> Self {
        self.answers(code, status(code, reason, message))
    }

    /// Answered with a line of text and `Retry-After`, as priority and fairness does.
    pub(crate) fn asks_to_wait(self, code: u16, seconds: u32) -> Self {
        let header = Some((header::RETRY_AFTER.as_str(), seconds.to_string()));
        self.whole(code, header, "Too many requests, please try again later.".to_owned())
    }

    /// Answered by a proxy with a web page.
    pub(crate) fn answers_a_page(self) -> Self {
        let header = Some((header::CONTENT_TYPE.as_str(), "text/html".to_owned()));
        self.whole(200, header, "<html>Sign in</html>".to_owned())
    }

    fn whole(self, code: u16, header: Option<(&'static str, String)>, body: String) -> Self {
        Self { answer: Answer::Whole(code, header, body), ..self }
    }

    /// Answered with this text: a log.
    pub(crate) fn answers_text(self, text: &str) -> Self {
        self.whole(200, None, text.to_owned())
    }

    /// The connection breaks before the answer comes.
    pub(crate) fn loses_its_answer(self) -> Self {
        Self { answer: Answer::Lost, ..self }
    }

    /// Answered with the events of a watch.
    pub(crate) fn streams(self, events: impl IntoIterator<Item = Value>, end: End) -> Self {
        Self { answer: Answer::Watch(events.into_iter().collect(), end), ..self }
    }

    fn is(&self, arrived: &Arrived) -> bool {
        (self.repeated || !self.came)
            && self.line == arrived.line
            && self.query.iter().all(|part| arrived.query.contains(part))
            && has(&arrived.body, &self.body)
    }
}

/// True if `value` has everything that `wanted` has.
fn has(value: &Value, wanted: &Value) -> bool {
    let Value::Object(fields) = wanted else { return value == wanted };
    fields.iter().all(|(name, wanted)| has(value.get(name).unwrap_or(&Value::Null), wanted))
}

/// A Status of the API server's.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message})
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
struct Arrived {
    /// Method and path.
    line: String,
    /// Its parameters, decoded.
    query: Vec<String>,
    /// Of a request without one: an empty object.
    body: Value,
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, query, body } = self;
        write!(f, "{line} with query {query:?} and body {body}")
    }
}

#[derive(Debug, Default)]
struct State {
    expected: Vec<Expected>,
    requests: Vec<String>,
    unexpected: Vec<String>,
}

/// The API server. When it is dropped, everything that it expected must have come, and nothing else.
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
    surprised: Arc<Notify>,
    client: Client,
}

impl ApiServer {
    /// One that expects this. Needs a runtime.
    pub(crate) fn expecting(expected: impl IntoIterator<Item = Expected>) -> Self {
        let expected = expected.into_iter().collect();
        let state = Arc::new(Mutex::new(State { expected, ..State::default() }));
        let surprised = Arc::new(Notify::new());
        let (held, notify) = (state.clone(), surprised.clone());
        let answers = service_fn(move |request: Request<Body>| {
            let (state, surprised) = (held.clone(), notify.clone());
            async move {
                let arrived = arrived(request).await?;
                let answer = answer_to(&state, &arrived).unwrap_or_else(|| {
                    surprised.notify_one();
                    let message = format!("the test does not expect {arrived}");
                    let status = status(UNEXPECTED, "Unexpected", &message);
                    Answer::Whole(UNEXPECTED, None, status.to_string())
                });
                response(answer).await
            }
        });
        // As in production.
        let service = ServiceBuilder::new()
            .map_err(BoxError::from)
            .timeout(ANSWER)
            .map_response(as_the_server_would)
            .service(answers);
        Self { state, surprised, client: Client::new(service, "ns") }
    }

    /// A client of it, in namespace "ns".
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Namespace "ns", with deadlines of a minute.
    pub(crate) fn cluster(&self) -> Cluster {
        let minute = Duration::from_secs(60);
        let cluster = Cluster::of(self.client());
        Cluster { api_timeout: minute, start_timeout: minute, ..cluster }
    }

    /// Awaits `work`; fails at once when a request comes that is not expected.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.surprised.notified() => panic!("{}", self.trouble().unwrap_or_default()),
            () = tokio::time::sleep(FOREVER) => {
                panic!("the work does not end; {}", self.trouble().unwrap_or_default())
            }
        }
    }

    /// Method and path of each request that came, in their order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    fn trouble(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let unexpected = state.unexpected.iter().map(|request| format!("not expected: {request}"));
        let missing = state.expected.iter().filter(|expected| !expected.came);
        let missing = missing.map(|expected| format!("did not come: {}", expected.line));
        let lines: Vec<_> = unexpected.chain(missing).collect();
        (!lines.is_empty()).then(|| format!("{}\nrequests: {:?}", lines.join("\n"), state.requests))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let Some(trouble) = self.trouble() else { return };
        if std::thread::panicking() {
            eprintln!("{trouble}");
        } else {
            panic!("{trouble}");
        }
    }
}

async fn arrived(request: Request<Body>) -> Result<Arrived, BoxError> {
    let line = format!("{} {}", request.method(), request.uri().path());
    let url = reqwest::Url::parse(&format!("http://api{}", request.uri()))?;
    let query = url.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
    let body = request.into_body().collect_bytes().await?;
    let body = if body.is_empty() { json!({}) } else { serde_json::from_slice(&body)? };
    Ok(Arrived { line, query, body })
}

fn answer_to(state: &Mutex<State>, arrived: &Arrived) -> Option<Answer> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.requests.push(arrived.line.clone());
    let Some(expected) = state.expected.iter_mut().find(|expected| expected.is(arrived)) else {
        state.unexpected.push(arrived.to_string());
        return None;
    };
    expected.came = true;
    Some(expected.answer.clone())
}

type Chunks = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

async fn response(answer: Answer) -> Result<Response<Chunks>, BoxError> {
    let chunk = |text: String| Ok(Frame::data(Bytes::from(text)));
    let response = Response::builder();
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let (response, body) = match answer {
        Answer::UnreachableBackoff => std::future::pending().await,
        Answer::Lost => return Err(reset().into()),
        Answer::Whole(code, header, body) => {
            let response = header.into_iter().fold(response.status(code), |response, header| {
                response.header(header.0, header.1)
            });
            (response, stream::iter([chunk(body)]).boxed())
        }
        Answer::Watch(events, end) => {
            let events = stream::iter(events).map(move |event| chunk(format!("{event}\n")));
            let body = match end {
                End::Closed => events.boxed(),
                End::Broken => events.chain(stream::iter([Err(reset())])).boxed(),
                End::Open => events.chain(stream::pending()).boxed(),
            };
            (response, body)
        }
    };
    Ok(response.body(StreamBody::new(body))?)
}

#[cfg(test)]
mod tests;
