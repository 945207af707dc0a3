//! A registry of a few lines on loopback, which answers what a test wants it to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::registry::digest::digest_of;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What arrived: the first line, the headers in lower case, the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrived {
    /// Such as `GET`.
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// One a line, in lower case.
    pub(crate) headers: String,
    /// As long as `Content-Length` says.
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    /// One byte of the body at a time, with this pause.
    drip: Option<Duration>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn with(mut self, header: impl Into<String>) -> Self {
        self.headers.push(header.into());
        self
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its first byte alone, and no end.
    pub(crate) fn stopping(self) -> Self {
        self.dripping(FOR_EVER)
    }

    pub(crate) fn dripping(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }
}

type Answer = Box<dyn Fn(&Arrived) -> Reply + Send + Sync>;

/// The registry; it lives as long as the process of the test.
#[derive(Clone)]
pub(crate) struct FakeRegistry {
    /// `127.0.0.1:<port>`.
    pub(crate) host: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl FakeRegistry {
    /// Answers each request by its own host and what arrived.
    pub(crate) fn start(answer: impl Fn(&str, &Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let registry = Self { host: host.clone(), arrived: Arc::default() };
        let answer: Arc<Answer> = Arc::new(Box::new(move |arrived| answer(&host, arrived)));
        let log = registry.arrived.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (answer, log) = (answer.clone(), log.clone());
                std::thread::spawn(move || serve(&connection, &log, &answer));
            }
        });
        registry
    }

    /// Takes connections and requests, and answers none.
    pub(crate) fn silent() -> Self {
        Self::start(|_, _| {
            std::thread::park_timeout(FOR_EVER);
            Reply::default()
        })
    }

    /// Answers these paths, and others with 404.
    pub(crate) fn of(replies: HashMap<String, Reply>) -> Self {
        Self::start(move |_, arrived| {
            replies.get(&arrived.path).cloned().unwrap_or_else(|| Reply::new(404, ""))
        })
    }

    /// What arrived so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// True if a request had this header line, in lower case.
    pub(crate) fn saw(&self, header: &str) -> bool {
        self.arrived().iter().any(|arrived| arrived.headers.contains(header))
    }
}

fn serve(mut connection: &TcpStream, log: &Mutex<Vec<Arrived>>, answer: &Answer) {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim_end().is_empty() => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let mut first = lines[0].split(' ').map(str::to_owned);
    let headers = lines[1..].join("\n").to_ascii_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let arrived = Arrived { method, path, headers, body };
    log.lock().unwrap().push(arrived.clone());
    let reply = answer(&arrived);
    let more: String = reply.headers.iter().map(|header| format!("{header}\r\n")).collect();
    let (status, length) = (reply.status, reply.body.len());
    let head = format!(
        "HTTP/1.1 {status} X\r\n{more}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let _ = connection.write_all(head.as_bytes());
    let size = if reply.drip.is_some() { 1 } else { reply.body.len().max(1) };
    for piece in reply.body.chunks(size) {
        if connection.write_all(piece).is_err() {
            return;
        }
        std::thread::park_timeout(reply.drip.unwrap_or_default());
    }
}

/// An image of one manifest beneath `/v2/<repository>/`: its documents by their path, and the digest of
/// the manifest, which has the tag `1`.
pub(crate) fn image(repository: &str, config: &str) -> (HashMap<String, Reply>, String) {
    let config = format!(r#"{{"config":{config}}}"#);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes(), "")
    );
    let digest = digest_of(manifest.as_bytes());
    let at = |path: String| format!("/v2/{repository}/{path}");
    let documents = [
        (at(format!("blobs/{}", digest_of(config.as_bytes()))), Reply::ok(config)),
        (at(format!("manifests/{digest}")), Reply::ok(manifest.clone())),
        (at("manifests/1".to_owned()), Reply::ok(manifest)),
    ];
    (documents.into(), digest)
}

/// A descriptor of these bytes, with more fields behind a comma.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8], more: &str) -> String {
    let (digest, size) = (digest_of(bytes), bytes.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
}
