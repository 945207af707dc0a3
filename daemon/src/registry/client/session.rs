//! Requests to one registry, with the credentials of one user for one repository.

use bytes::Bytes;
use futures::TryFutureExt;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    TE, TRANSFER_ENCODING, UPGRADE,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::sync::Mutex;

use super::auth::{Authorization, Challenge, TokenAnswer, is_trusted_realm};
use super::error::RegistryError;
use super::image::{next_within, read_json, read_within};
use super::redirect::{Locality, is_allowed, locality};
use super::transport::{Access, RegistryClient, Request, Target};
use super::upload::Upload;
use crate::metrics::metrics;
use crate::registry::credentials::Credentials;

const MAX_REDIRECTS: usize = 5;
/// A token is some kilobytes.
const MAX_TOKEN_ANSWER: usize = 256 << 10;

/// Requests for one repository, which share an authorization. They may run at the same time.
#[derive(Debug)]
pub struct Session {
    pub(super) client: RegistryClient,
    pub(super) host: String,
    pub(super) origin: Url,
    pub(super) repository: String,
    pub(super) access: Access,
    pub(super) credentials: Option<Credentials>,
    pub(super) authorization: Mutex<Option<Authorization>>,
}

impl Session {
    /// Host of the registry, with its port if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path of the repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Sends a request, and answers what the registry asks to know. Redirects of GET and HEAD are
    /// followed without credentials, if they lead to where a registry may lead. The answer has any
    /// status, and its body has not arrived yet.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn send(&self, request: Request) -> Result<Response, RegistryError> {
        let Request { method, target, mut headers, body } = request;
        let url = self.url(&target)?;
        remove_own_headers(&mut headers);
        let is_streamed = body.as_ref().is_some_and(|body| body.as_bytes().is_none());
        let is_own = url.origin() == self.origin.origin();
        if is_streamed && is_own {
            self.authorize_ahead().await?;
        }
        let mut first = reqwest::Request::new(method.clone(), url);
        first.headers_mut().clone_from(&headers);
        let (upload, body) = match body {
            Some(body) if is_streamed => {
                let (upload, body) = Upload::of(body);
                (Some(upload), Some(body))
            }
            body => (None, body),
        };
        *first.body_mut() = body;
        let again = first.try_clone().filter(|_| is_own);
        let used = self.authorization.lock().await.clone();
        let mut answer = self.once(first, used.as_ref(), upload.as_ref()).await?;
        if let (StatusCode::UNAUTHORIZED, Some(again)) = (answer.status(), again)
            && let Some(renewed) = self.renewed(&answer, used.as_ref()).await?
        {
            answer = self.once(again, Some(&renewed), None).await?;
        }
        if matches!(method, Method::GET | Method::HEAD) {
            return self.follow(answer, &method, &headers).await;
        }
        Ok(answer)
    }

    fn url(&self, target: &Target) -> Result<Url, RegistryError> {
        let path = match target {
            Target::Path(path) => path,
            Target::Location(location) => {
                let url = self.origin.join(location);
                let url = url.map_err(|_| self.invalid("location"))?;
                return match is_allowed(&self.origin, &self.origin, &url) {
                    true => Ok(url),
                    false => Err(self.redirect_error(&url)),
                };
            }
        };
        let plain = path.split_once('?').map_or(path.as_str(), |(plain, _)| plain);
        let is_inside = plain.split('/').all(|part| !matches!(part, "." | ".."))
            && !plain.starts_with('/')
            && !plain.contains(['%', '\\'])
            && !path.contains(|letter: char| letter == '#' || letter.is_control());
        let url = self.origin.join(&format!("{}/{path}", self.repository)).ok();
        url.filter(|_| is_inside).ok_or_else(|| RegistryError::Path { path: path.clone() })
    }

    /// Sends a request as it is; with the authorization only to the registry itself.
    async fn once(
        &self,
        mut request: reqwest::Request,
        authorization: Option<&Authorization>,
        upload: Option<&Upload>,
    ) -> Result<Response, RegistryError> {
        let is_own = request.url().origin() == self.origin.origin();
        if let Some(header) = authorization.filter(|_| is_own).and_then(Authorization::header) {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        let client = if is_own { self.own_client() } else { self.client_for(request.url()) };
        let asked = metrics().ask_registry();
        let limits = self.client.limits;
        let is_blob = request.method() == Method::GET && request.url().path().contains("/blobs/");
        let to_answer = if is_blob { limits.blob } else { limits.answer };
        let sent = client.execute(request).inspect_ok(|answer| asked.answered(answer.status()));
        let late = async {
            match upload {
                // As long as the body takes: its sender has a deadline.
                Some(upload) => upload.stalled(limits.upload, limits.commit).await,
                None => tokio::time::sleep(to_answer).await,
            }
        };
        tokio::select! {
            answer = sent => answer.map_err(|error| self.unreachable(error)),
            () = late => Err(self.timeout()),
        }
    }

    /// The body of an answer, if it is no larger than `limit`.
    ///
    /// # Errors
    /// See [`read_bounded`](super::read_bounded).
    pub async fn read(
        &self,
        answer: Response,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        read_within(self.client.limits.silence, &self.host, answer, what, limit).await
    }

    /// The next bytes of an answer; none: it has no more.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`] when the connection breaks; [`RegistryError::Silent`] when nothing more
    /// arrives.
    pub async fn next(
        &self,
        answer: &mut Response,
        what: &'static str,
    ) -> Result<Option<Bytes>, RegistryError> {
        next_within(self.client.limits.silence, &self.host, answer, what).await
    }

    fn own_client(&self) -> &Client {
        self.client.direct(&self.host)
    }

    /// The client for a place that the registry names: a name must not stand for a local address there,
    /// unless the registry has it itself.
    fn client_for(&self, url: &Url) -> &Client {
        let same_host = url.host_str() == self.origin.host_str();
        let is_local = locality(url) == Locality::Loopback;
        if same_host || is_local {
            self.client.beside(&self.host, url)
        } else {
            self.client.elsewhere(url)
        }
    }

    async fn follow(
        &self,
        mut answer: Response,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        // Who left the registry's host comes back without its credentials.
        let mut authorization = self.authorization.lock().await.clone();
        for _ in 0..MAX_REDIRECTS {
            let status = answer.status().as_u16();
            let location = answer
                .headers()
                .get(LOCATION)
                .filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
            let Some(location) = location else { return Ok(answer) };
            let target = location.to_str().ok().and_then(|to| answer.url().join(to).ok());
            let target = target.ok_or_else(|| self.invalid("location"))?;
            if !is_allowed(&self.origin, answer.url(), &target) {
                return Err(self.redirect_error(&target));
            }
            if target.origin() != self.origin.origin() {
                authorization = None;
            }
            let mut request = reqwest::Request::new(method.clone(), target);
            request.headers_mut().clone_from(headers);
            answer = self.once(request, authorization.as_ref(), None).await?;
        }
        Err(self.redirect_error(&answer.url().clone()))
    }

    /// Has an authorization that is good for a request whose body is sent once.
    async fn authorize_ahead(&self) -> Result<(), RegistryError> {
        let current = self.authorization.lock().await.clone();
        if current.as_ref().is_some_and(Authorization::is_fresh) {
            return Ok(());
        }
        let ping = reqwest::Request::new(Method::GET, self.origin.clone());
        let answer = self.once(ping, None, None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.renewed(&answer, current.as_ref()).await?;
        } else {
            *self.authorization.lock().await = Some(Authorization::Anonymous);
        }
        Ok(())
    }

    /// What the challenge of `answer` asks for in place of what was `used`; None: nothing would help.
    async fn renewed(
        &self,
        answer: &Response,
        used: Option<&Authorization>,
    ) -> Result<Option<Authorization>, RegistryError> {
        let header = |one: Option<&Authorization>| one.and_then(Authorization::header).cloned();
        let mut current = self.authorization.lock().await;
        if header(current.as_ref()) != header(used) {
            // Another request has renewed it meanwhile.
            return Ok(current.clone());
        }
        let new = match Challenge::of(answer.headers()) {
            Some(Challenge::Basic) => self.basic(),
            Some(Challenge::Bearer { realm, service }) => {
                Some(self.token(&realm, service.as_deref()).await?)
            }
            None => None,
        };
        if header(new.as_ref()) == header(used) {
            return Ok(None);
        }
        current.clone_from(&new);
        Ok(new)
    }

    fn basic(&self) -> Option<Authorization> {
        let (user, password) = self.credentials.as_ref()?.pair();
        // A ByteString is base64 in JSON.
        let bytes = k8s_openapi::ByteString(format!("{user}:{password}").into_bytes());
        let text = serde_json::to_value(bytes).ok()?;
        let mut header = HeaderValue::try_from(format!("Basic {}", text.as_str()?)).ok()?;
        header.set_sensitive(true);
        Some(Authorization::Basic(header))
    }

    /// A token of the registry's token service, for this repository only.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
    ) -> Result<Authorization, RegistryError> {
        let mut realm = Url::parse(realm).map_err(|_| self.invalid("challenge"))?;
        let basic = self.basic();
        let trusted = match basic {
            Some(_) => is_trusted_realm(&self.origin, &realm),
            None => is_allowed(&self.origin, &self.origin, &realm),
        };
        if !trusted {
            let (host, realm) = (self.host.clone(), place(&realm));
            return Err(RegistryError::ForeignRealm { host, realm });
        }
        let scope = self.access.scope(&self.repository);
        let service = service.map(|service| ("service", service));
        realm.query_pairs_mut().extend_pairs([("scope", &*scope)].into_iter().chain(service));
        let mut request = reqwest::Request::new(Method::GET, realm);
        if let Some(header) = basic.as_ref().and_then(Authorization::header) {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        let asked = async {
            let sent = self.client_for(request.url()).execute(request);
            let answer = sent.await.map_err(|error| self.unreachable(error))?;
            match answer.status() {
                StatusCode::OK => {
                    read_json::<TokenAnswer>(&self.host, answer, "token", MAX_TOKEN_ANSWER).await
                }
                status => Err(RegistryError::Refused { host: self.host.clone(), status }),
            }
        };
        let answer = tokio::time::timeout(self.client.limits.answer, asked).await;
        let answer = answer.map_err(|_| self.timeout())??;
        answer.authorization().ok_or_else(|| self.invalid("token"))
    }

    fn unreachable(&self, error: reqwest::Error) -> RegistryError {
        // An address may have a signature in it.
        RegistryError::Unreachable { host: self.host.clone(), source: error.without_url() }
    }

    fn timeout(&self) -> RegistryError {
        RegistryError::Timeout { host: self.host.clone() }
    }

    fn invalid(&self, what: &'static str) -> RegistryError {
        RegistryError::Invalid { host: self.host.clone(), what }
    }

    fn redirect_error(&self, target: &Url) -> RegistryError {
        RegistryError::Redirect { host: self.host.clone(), target: place(target) }
    }
}

/// Drops what belongs to one connection, and what would show somebody else's credentials.
fn remove_own_headers(headers: &mut HeaderMap) {
    let own = [AUTHORIZATION, CONNECTION, COOKIE, HOST, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING];
    for name in own.iter().chain([&UPGRADE]) {
        headers.remove(name);
    }
}

/// Scheme and host of an address: the rest may be secret.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}
