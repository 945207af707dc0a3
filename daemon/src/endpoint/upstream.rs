//! The registries behind the endpoint, and the credentials that it alone has.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;

use super::answer::Refusal;
use super::config::{EndpointConfig, Place};
use crate::error::report;
use crate::registry::client::{
    Access, ClientOptions, RegistryClient, RegistryError, RegistryTls, Request, Session, Target,
    UnreadableTls,
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
/// Where the Secrets with certificates of registries are mounted, each in a folder of its name.
pub const TLS_DIR: &str = "/run/hookd/tls";
/// Waits before a request that changes nothing is repeated.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// A registry that asks for more patience has none of it.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
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
    /// See [`UnreadableTls`].
    #[error(transparent)]
    Tls(#[from] UnreadableTls),
    /// A registry's name or a certificate is wrong.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// How registries are reached: what only the endpoint has.
#[derive(Debug)]
pub struct Registries {
    /// With the certificates of registries.
    pub client: RegistryClient,
    /// Of registries.
    pub credentials: Vec<Credentials>,
}

impl Registries {
    /// With what the configuration says is mounted.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub fn mounted(config: &EndpointConfig) -> Result<Self, UpstreamError> {
        let credentials = if config.credentials { mounted_credentials()? } else { Vec::new() };
        let mut tls = RegistryTls::mounted(Path::new(TLS_DIR), &config.tls)?;
        if let Some(push) = config.push.as_ref().filter(|_| config.authority) {
            let pem = file(AUTHORITY_DIR, AUTHORITY_FILE)?;
            tls.push(RegistryTls::of_authority(&push.registry, pem));
        }
        let insecure = config.insecure.clone();
        let client = RegistryClient::new(&ClientOptions { insecure, tls })?;
        Ok(Self { client, credentials })
    }
}

/// The credentials that are mounted.
pub(super) fn mounted_credentials() -> Result<Vec<Credentials>, UpstreamError> {
    Ok(Credentials::of_docker_config(&file(CREDENTIALS_DIR, CREDENTIALS_FILE)?))
}

fn file(directory: &str, name: &str) -> Result<Vec<u8>, UpstreamError> {
    let path = Path::new(directory).join(name);
    std::fs::read(&path)
        .map_err(|source| UpstreamError::Unreadable { path: path.display().to_string(), source })
}

/// One session for each repository: each has its own token, which is good for nothing else.
#[derive(Debug)]
pub(super) struct Upstream {
    push: Option<Session>,
    cache: Option<Session>,
    pulls: HashMap<Place, Arc<Session>>,
}

impl Upstream {
    pub(super) fn new(
        config: &EndpointConfig,
        registries: &Registries,
    ) -> Result<Self, UpstreamError> {
        let Registries { client, credentials } = registries;
        let session = |place: &Place, access| {
            let credentials = Credentials::find(credentials, &place.registry, &place.repository);
            let credentials = credentials.cloned();
            client.session(&place.registry, &place.repository, credentials, access)
        };
        let mut pulls = HashMap::new();
        let cached = config.cache.iter().map(|cache| &cache.place);
        for place in config.images.iter().flat_map(|image| &image.sources).chain(cached) {
            if !pulls.contains_key(place) {
                pulls.insert(place.clone(), Arc::new(session(place, Access::Pull)?));
            }
        }
        let push = config.push.as_ref().map(|push| session(push, Access::Push)).transpose()?;
        let cache = config.cache.as_ref().map(|cache| session(&cache.place, Access::Push));
        Ok(Self { push, cache: cache.transpose()?, pulls })
    }

    /// The repository that is pushed to, if the image goes to one.
    pub(super) fn push(&self) -> Option<&Session> {
        self.push.as_ref()
    }

    /// The repository of cached layers.
    pub(super) fn cache(&self) -> Result<&Session, Refusal> {
        self.cache.as_ref().ok_or_else(|| Refusal::denied("this build caches no layers"))
    }

    /// A repository that is pulled from.
    pub(super) fn pull(&self, place: &Place) -> Result<&Arc<Session>, Refusal> {
        self.pulls.get(place).ok_or_else(|| Refusal::denied("this build pulls nothing from there"))
    }
}

/// What else there is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// No other registry has it.
    None,
    /// Another registry is asked next.
    Follow,
}

/// GET or HEAD of a path within the repository, repeated while the registry is away.
pub(super) async fn read(
    session: &Session,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    missing: &str,
    others: Others,
) -> Result<Response, Refusal> {
    let request = || Request {
        method: method.clone(),
        target: Target::Path(path.to_owned()),
        headers: headers.clone(),
        body: None,
    };
    let answer = repeated(session, |status| status.is_server_error(), others, request).await;
    let answer = answer.map_err(|error| refusal(session, &error))?;
    match answer.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
        _ => Err(refused(session, answer, missing).await),
    }
}

/// The answer to a request that may be sent again, as it is while the registry is busy or does not
/// answer, and while its status says that it is away. For an answer that does not come in time it is sent once
/// more, and only where nothing else can be asked.
pub(super) async fn repeated(
    session: &Session,
    is_away: fn(&StatusCode) -> bool,
    others: Others,
    request: impl Fn() -> Request,
) -> Result<Response, RegistryError> {
    let mut pauses = PAUSES.iter();
    let mut may_be_late = others == Others::None;
    loop {
        let sent = session.send(request()).await;
        if sent.as_ref().is_err_and(RegistryError::is_late) && !std::mem::take(&mut may_be_late) {
            return sent;
        }
        let pause = pauses.next().and_then(|pause| wait(&sent, is_away, *pause));
        let Some(pause) = pause else { return sent };
        tokio::time::sleep(pause).await;
    }
}

/// How long to wait before a request is sent again; none: that is of no use.
fn wait(
    sent: &Result<Response, RegistryError>,
    is_away: fn(&StatusCode) -> bool,
    pause: Duration,
) -> Option<Duration> {
    match sent {
        Err(error) => error.is_no_answer().then_some(pause),
        Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
            // A date is not waited for: who has used up a day's requests waits for hours.
            match answer.headers().get(RETRY_AFTER) {
                None => Some(pause),
                Some(after) => {
                    let seconds = after.to_str().ok()?.trim().parse().ok()?;
                    Some(Duration::from_secs(seconds).max(pause))
                }
            }
            .filter(|pause| *pause <= LONGEST_PAUSE)
        }
        Ok(answer) => is_away(&answer.status()).then_some(pause),
    }
}

/// The error of a registry with its own message.
pub(super) async fn refused(session: &Session, answer: Response, missing: &str) -> Refusal {
    let status = answer.status();
    let body = session.read(answer, "message", LONGEST_ERROR).await.unwrap_or_default();
    // A redirect that was not followed is no success either.
    let status = if status.is_success() || status.is_redirection() {
        StatusCode::BAD_GATEWAY
    } else {
        status
    };
    Refusal::of_registry(session.host(), status, &body, missing)
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
                ("certificate", "its certificate, or that of hookd, is not accepted"),
            ];
            let known = known.iter().find(|(part, _)| lower.contains(part));
            let mark = known.map_or("no connection", |(_, mark)| mark);
            Refusal::unavailable(format!("registry {host} cannot be reached: {mark} ({message})"))
        }
        _ => Refusal::unavailable(message),
    }
}
