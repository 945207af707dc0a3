//! A layer that arrives whole, or not at all, though the connection to its registry breaks.
//!
//! One piece is in memory at a time. The last one is held back until the digest of all is verified, so that
//! nobody takes other bytes for the layer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HeaderValue, RANGE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::Response;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;

use super::answer::Body;
use crate::error::report;
use crate::registry::client::{RegistryError, Request, Session, Target};

/// A connection that brings nothing for so long is broken.
const SILENCE: Duration = Duration::from_secs(60);
/// Waits before the rest is asked for. They begin anew with each byte that arrives.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// Why a layer did not arrive.
#[derive(Debug, thiserror::Error)]
enum LayerError {
    #[error("the layer breaks off after {received} bytes, and its rest does not come")]
    Broken {
        received: u64,
        #[source]
        source: RegistryError,
    },
    #[error("the layer is not what its digest names")]
    OtherBytes,
}

/// A piece, for who asked.
type Piece = Result<Frame<Bytes>, LayerError>;

/// The body of the answer `first` to a request for all of a blob.
pub(super) fn body(session: Arc<Session>, digest: &str, first: Response) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    let layer = Layer {
        session,
        digest: digest.to_owned(),
        length: first.content_length(),
        received: 0,
        skipped: 0,
        hash: Sha256::new(),
        held: None,
    };
    // It ends with its reader.
    tokio::spawn(layer.copy(first, sender));
    Body::wrap(StreamBody::new(ReceiverStream::new(receiver)))
}

struct Layer {
    session: Arc<Session>,
    digest: String,
    /// Bytes of all, if the registry says so.
    length: Option<u64>,
    /// Bytes so far.
    received: u64,
    /// Bytes of an answer that has all once more, which have still to pass.
    skipped: u64,
    hash: Sha256,
    /// The piece that was received last.
    held: Option<Bytes>,
}

/// How the reading of an answer ended.
enum End {
    /// It is all there, or more than that.
    Whole,
    /// The connection broke.
    Broken,
    /// Nobody reads it any more.
    Unread,
}

impl Layer {
    async fn copy(mut self, first: Response, to: Sender<Piece>) {
        let mut answer = first;
        let last = loop {
            match self.read(answer, &to).await {
                End::Unread => return,
                End::Whole => break self.verified(),
                End::Broken => {}
            }
            match self.rest().await {
                Ok(rest) => answer = rest,
                Err(source) => {
                    break Err(LayerError::Broken { received: self.received, source });
                }
            }
        };
        if let Err(error) = &last {
            let (host, digest) = (self.session.host(), &self.digest);
            tracing::warn!(host, digest, error = report(error), "a layer is not served whole");
        }
        let last = last.map(|last| last.map(Frame::data)).transpose();
        if let Some(last) = last {
            // Who does not read on does not miss it.
            let _ = to.send(last).await;
        }
    }

    async fn read(&mut self, mut answer: Response, to: &Sender<Piece>) -> End {
        loop {
            let next = match tokio::time::timeout(SILENCE, answer.chunk()).await {
                Ok(Ok(next)) => next,
                Ok(Err(_)) | Err(_) => return End::Broken,
            };
            let Some(mut piece) = next else {
                let is_whole = self.length.is_none_or(|length| self.received >= length);
                return if is_whole && self.skipped == 0 { End::Whole } else { End::Broken };
            };
            let known = usize::try_from(self.skipped).map_or(piece.len(), |it| it.min(piece.len()));
            self.skipped -= known as u64;
            let _ = piece.split_to(known);
            if piece.is_empty() {
                continue;
            }
            self.received += piece.len() as u64;
            self.hash.update(&piece);
            if self.length.is_some_and(|length| self.received > length) {
                return End::Whole;
            }
            if let Some(before) = self.held.replace(piece)
                && to.send(Ok(Frame::data(before))).await.is_err()
            {
                return End::Unread;
            }
        }
    }

    /// The last piece, if all together is the layer.
    fn verified(&mut self) -> Result<Option<Bytes>, LayerError> {
        let hash = std::mem::take(&mut self.hash).finalize();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_it = self.digest.strip_prefix("sha256:") == Some(&*hex);
        if is_it { Ok(self.held.take()) } else { Err(LayerError::OtherBytes) }
    }

    /// An answer with what is missing, or with all if the registry has no parts.
    async fn rest(&mut self) -> Result<Response, RegistryError> {
        let (host, received) = (self.session.host().to_owned(), self.received);
        tracing::info!(
            host,
            received,
            digest = self.digest,
            "a layer broke off; its rest is asked for"
        );
        let mut failed = RegistryError::Timeout { host: host.clone() };
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            match self.ask().await {
                Ok(answer) if self.fits(&answer) => return Ok(answer),
                Ok(answer) => {
                    let status = answer.status();
                    failed = RegistryError::Refused { host: host.clone(), status };
                    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        break;
                    }
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn ask(&self) -> Result<Response, RegistryError> {
        let mut headers = HeaderMap::new();
        if let Ok(range) = HeaderValue::try_from(format!("bytes={}-", self.received)) {
            headers.insert(RANGE, range);
        }
        let target = Target::Path(format!("blobs/{}", self.digest));
        self.session.send(Request { method: Method::GET, target, headers, body: None }).await
    }

    /// True for what goes on where the last answer broke off.
    fn fits(&mut self, answer: &Response) -> bool {
        let begin = format!("bytes {}-", self.received);
        let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        self.skipped = if answer.status() == StatusCode::OK { self.received } else { 0 };
        match answer.status() {
            StatusCode::OK => true,
            StatusCode::PARTIAL_CONTENT => range.is_some_and(|range| range.starts_with(&begin)),
            _ => false,
        }
    }
}
