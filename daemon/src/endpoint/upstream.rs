//! The registries behind the endpoint, and the credentials that it alone has.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;

use super::answer::Refusal;
use super::config::{EndpointConfig, Place};
use crate::error::report;
use crate::registry::client::{
    Access, CertificateAuthority, ClientOptions, RegistryClient, RegistryError, Request, Session,
    Target,
};
use crate::registry::credentials::Credentials;

/// Where the credentials are mounted.
pub const CREDENTIALS_DIR: &str = "/run/hookd/credentials";
/// The file with them, in docker's form.
pub const CREDENTIALS_FILE: &str = "config.json";
/// Where the certificate authority is mounted.
pub const AUTHORITY_DIR: &str = "/run/hookd/ca";
/// Its file.
pub const AUTHORITY_FILE: &str = "ca.crt";
/// Waits before a request that changes nothing is repeated.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
/// Bytes of a registry's error that are read.
const LONGEST_ERROR: usize = 64 << 10;

/// The endpoint cannot start.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// What is mounted cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A registry's name or the certificate authority is wrong.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Credentials and certificate authority as they are mounted.
#[derive(Debug, Default)]
pub struct Mounted {
    /// Of registries.
    pub credentials: Vec<Credentials>,
    /// PEM of the push registry's.
    pub authority: Option<Vec<u8>>,
}

impl Mounted {
    /// Reads what the configuration says is mounted.
    ///
    /// # Errors
    /// [`UpstreamError::Unreadable`].
    pub fn read(config: &EndpointConfig) -> Result<Self, UpstreamError> {
        let file = |directory: &str, name: &str| {
            let path = Path::new(directory).join(name);
            std::fs::read(&path).map_err(|source| UpstreamError::Unreadable {
                path: path.display().to_string(),
                source,
            })
        };
        let mut mounted = Self::default();
        if config.credentials {
            let file = file(CREDENTIALS_DIR, CREDENTIALS_FILE)?;
            mounted.credentials = Credentials::of_docker_config(&file);
        }
        if config.authority {
            mounted.authority = Some(file(AUTHORITY_DIR, AUTHORITY_FILE)?);
        }
        Ok(mounted)
    }
}

/// One session for each repository: each has its own token, which is good for nothing else.
#[derive(Debug)]
pub(super) struct Upstream {
    push: Option<Session>,
    pulls: HashMap<Place, Session>,
}

impl Upstream {
    pub(super) fn new(config: &EndpointConfig, mounted: Mounted) -> Result<Self, UpstreamError> {
        let authority = mounted.authority.zip(config.push.as_ref());
        let authority =
            authority.map(|(pem, push)| CertificateAuthority { host: push.registry.clone(), pem });
        let options = ClientOptions { insecure: config.insecure.clone(), authority };
        let client = RegistryClient::new(&options)?;
        let session = |place: &Place, access| {
            let credentials =
                Credentials::find(&mounted.credentials, &place.registry, &place.repository);
            let credentials = credentials.cloned();
            client.session(&place.registry, &place.repository, credentials, access)
        };
        let mut pulls = HashMap::new();
        for place in config.images.iter().flat_map(|image| &image.sources) {
            if !pulls.contains_key(place) {
                pulls.insert(place.clone(), session(place, Access::Pull)?);
            }
        }
        let push = config.push.as_ref().map(|push| session(push, Access::Push)).transpose()?;
        Ok(Self { push, pulls })
    }

    /// The repository that is pushed to, if the image goes to one.
    pub(super) fn push(&self) -> Option<&Session> {
        self.push.as_ref()
    }

    /// A repository that is pulled from.
    pub(super) fn pull(&self, place: &Place) -> Result<&Session, Refusal> {
        self.pulls.get(place).ok_or_else(|| Refusal::denied("this build pulls nothing from there"))
    }
}

/// GET or HEAD of a path within the repository, repeated while the registry is away.
pub(super) async fn read(
    session: &Session,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    missing: &str,
) -> Result<Response, Refusal> {
    let mut backoff = PAUSES.iter();
    loop {
        let request = Request {
            method: method.clone(),
            target: Target::Path(path.to_owned()),
            headers: headers.clone(),
            body: None,
        };
        let sent = session.send(request).await;
        let away = match &sent {
            Ok(answer) => answer.status().is_server_error(),
            Err(error) => error.is_no_answer(),
        };
        if let (true, Some(pause)) = (away, backoff.next()) {
            tokio::time::sleep(*pause).await;
            continue;
        }
        let answer = sent.map_err(|error| refusal(session, &error))?;
        return match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            _ => Err(refused(session, answer, missing).await),
        };
    }
}

/// The error of a registry with its own message.
pub(super) async fn refused(session: &Session, answer: Response, missing: &str) -> Refusal {
    let status = answer.status();
    let body = bounded(answer, LONGEST_ERROR).await.unwrap_or_default();
    // A redirect that was not followed is no success either.
    let status = if status.is_success() || status.is_redirection() {
        StatusCode::BAD_GATEWAY
    } else {
        status
    };
    Refusal::of_registry(session.host(), status, &body, missing)
}

/// The whole body, if it has no more bytes than that.
pub(super) async fn bounded(mut answer: Response, limit: usize) -> Option<Bytes> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.ok()? {
        if body.len() + piece.len() > limit {
            return None;
        }
        body.extend_from_slice(&piece);
    }
    Some(body.into())
}

/// Why a registry did not answer, in a form that clients of registries know.
pub(super) fn refusal(session: &Session, error: &RegistryError) -> Refusal {
    let host = session.host();
    let message = report(error);
    tracing::warn!(host, error = message, "a registry did not answer");
    match error {
        RegistryError::Refused { status, .. } => {
            let message = format!("the token service of registry {host} answers {status}");
            let json = serde_json::json!({"errors": [{"message": message}]}).to_string();
            Refusal::of_registry(host, *status, json.as_bytes(), "DENIED")
        }
        error if error.is_no_answer() => {
            let lower = message.to_lowercase();
            let known = [
                ("connection refused", "connection refused"),
                ("dns error", "no such host"),
                ("no address", "no such host"),
                ("timed out", "i/o timeout"),
                ("in time", "i/o timeout"),
                ("host unreachable", "no route to host"),
                ("no route", "no route to host"),
                ("corrupt message", "the registry gave an HTTP response to HTTPS client"),
            ];
            let known = known.iter().find(|(part, _)| lower.contains(part));
            let mark = known.map_or("no connection", |(_, mark)| mark);
            Refusal::unavailable(format!("registry {host} cannot be reached: {mark} ({message})"))
        }
        _ => Refusal::unavailable(message),
    }
}
