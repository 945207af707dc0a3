//! A registry whose images were made to need much.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Bytes of a document that is still read.
const LARGEST: usize = 1 << 20;

/// The registry; it lives as long as the process of the test.
pub(crate) struct Registry {
    /// Its host with its port.
    pub(crate) host: String,
    served: Arc<AtomicUsize>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let served = Arc::new(AtomicUsize::new(0));
        let configs: Arc<Vec<_>> = Arc::new(configs());
        let counted = served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (configs, served) = (configs.clone(), counted.clone());
                std::thread::spawn(move || serve(&stream, &configs, &served));
            }
        });
        Self { host, served }
    }

    /// Configurations that were read.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// Configurations of images.
fn configs() -> Vec<String> {
    let of = |config: String| format!("{{\"config\":{{{config}}}}}");
    let fill = |one: &str| vec![one; (LARGEST - 100) / (one.len() + 1)].join(",");
    let ports: String = (0..80_000).map(|port| format!("\"{port}\":1,")).collect();
    vec![
        of(format!("\"Cmd\":[{}]", fill("\"\""))),
        of(format!("\"ExposedPorts\":{{{ports}\"x\":1}}")),
        of(format!("\"Cmd\":[\"{}\"]", "\\u0001".repeat(60_000))),
        of(format!("\"Healthcheck\":{{\"Interval\":[{}]}}", fill("1"))),
        of(format!("\"Shell\":[{}]", fill("\"a\""))),
        of(format!("\"Entrypoint\":[\"{}\"]", "x".repeat(60_000))),
        of(format!("\"Cmd\":{}", "[".repeat(LARGEST / 2))),
    ]
}

fn digest(text: &str) -> String {
    let digits: String =
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn manifest(config: &str) -> String {
    let (digest, size) = (digest(config), config.len());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}","digest":"{digest}","size":{size}}}}}"#
    )
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, configs: &[String], served: &AtomicUsize) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        lines.by_ref().find(|line| line.is_empty());
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let last = path.rsplit('/').next().unwrap_or_default();
        let (kind, body) = if let Ok(number) = last.parse::<usize>() {
            (MANIFEST, Some(manifest(&configs[number % configs.len()])))
        } else {
            served.fetch_add(1, Ordering::Relaxed);
            (CONFIG, configs.iter().find(|config| digest(config) == last).cloned())
        };
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut stream = stream;
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}
