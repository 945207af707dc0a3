//! Connections to registries: certificates, plain HTTP, and what is asked of whom.

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::tls::Certificate;
use reqwest::{Body, Client, ClientBuilder, Method, Url};
use tokio::sync::Mutex;

use super::error::RegistryError;
use super::limits::{CONNECT_TIMEOUT, Limits};
use super::names::BoundedResolver;
use super::redirect::PublicResolver;
use super::session::Session;
use super::tls::{ANY_HOST, RegistryTls};
use crate::registry::credentials::Credentials;
use crate::registry::reference::DOCKER_HUB;

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Hosts, with their port, that speak plain HTTP; all others speak HTTPS.
    pub insecure: Vec<String>,
    /// Certificates of single registries; of two for one host the first counts.
    pub tls: Vec<RegistryTls>,
}

/// Connections to registries, which stay open between requests; a clone shares them.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    insecure: Arc<[String]>,
    /// For hosts without certificates of their own.
    public: Connections,
    /// For the others, by host and port.
    private: Arc<HashMap<String, Connections>>,
    pub(super) limits: Limits,
}

/// Connections that show and accept the same certificates.
#[derive(Clone, Debug)]
struct Connections {
    /// To registries themselves.
    direct: Client,
    /// To hosts that registries lead to.
    elsewhere: Client,
}

impl Connections {
    fn new(
        builder: impl Fn() -> Result<ClientBuilder, RegistryError>,
    ) -> Result<Self, RegistryError> {
        let direct = builder()?.dns_resolver(Arc::new(BoundedResolver));
        let elsewhere = builder()?.dns_resolver(Arc::new(PublicResolver));
        Ok(Self {
            direct: direct.build().map_err(RegistryError::Client)?,
            elsewhere: elsewhere.build().map_err(RegistryError::Client)?,
        })
    }
}

/// What the requests of a session may do; a token is good for no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read manifests and blobs.
    Pull,
    /// Read and write them.
    Push,
    /// Read and delete them.
    Delete,
}

impl Access {
    pub(super) fn scope(self, repository: &str) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "pull,delete",
        };
        format!("repository:{repository}:{actions}")
    }
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// Its headers. Those of a connection, and credentials, are dropped.
    pub headers: HeaderMap,
    /// Its body. A streamed one (`Body::wrap`) is sent once only, with a fresh token.
    pub body: Option<Body>,
}

/// Where a request of a session goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// Within the repository, such as `manifests/<tag>` or `blobs/uploads/`, with an optional query.
    Path(String),
    /// As a registry said in a `Location` header: a URL, or a path beneath the registry's root. Without
    /// credentials if it is of another host.
    Location(String),
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, target: Target::Path(path.into()), headers: HeaderMap::new(), body: None }
    }
}

/// Root of the registry's API.
///
/// # Errors
/// When `host` is not a host with an optional port.
pub fn origin(host: &str, insecure: &[String]) -> Result<Url, RegistryError> {
    let scheme = if insecure.iter().any(|one| one == host) { "http" } else { "https" };
    // The API of Docker Hub has a host of its own.
    let api_host = if host == DOCKER_HUB { "registry-1.docker.io" } else { host };
    let is_authority = !host.is_empty() && !host.contains(['/', '@', '?', '#', '\\']);
    let url = is_authority.then(|| Url::parse(&format!("{scheme}://{api_host}/v2/")).ok());
    url.flatten().ok_or_else(|| RegistryError::Path { path: host.to_owned() })
}

impl RegistryClient {
    /// Builds the client; nothing is connected yet.
    ///
    /// # Errors
    /// [`RegistryError::Certificate`] when one is none.
    pub fn new(options: &ClientOptions) -> Result<Self, RegistryError> {
        // A second call finds the provider there, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // hookd's image has no certificates of its own.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        let roots: Vec<_> =
            roots.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let of_any = options.tls.iter().find(|tls| tls.host == ANY_HOST);
        let of_any = of_any.map(RegistryTls::authorities).transpose()?.unwrap_or_default();
        let builder = |more: Vec<Certificate>| {
            Client::builder()
                .tls_certs_only(roots.iter().chain(&of_any).cloned().chain(more))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("hookd/", env!("CARGO_PKG_VERSION")))
        };
        let mut private = HashMap::new();
        for tls in options.tls.iter().filter(|tls| tls.host != ANY_HOST) {
            if !private.contains_key(&tls.host) {
                let own = Connections::new(|| tls.identify(builder(tls.authorities()?)));
                private.insert(tls.host.clone(), own.map_err(|error| tls.unusable(error))?);
            }
        }
        Ok(Self {
            insecure: options.insecure.clone().into(),
            public: Connections::new(|| Ok(builder(Vec::new())))?,
            private: private.into(),
            limits: Limits::default(),
        })
    }

    /// With other limits.
    #[cfg(test)]
    pub(crate) fn waiting(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Requests for a repository of the registry at `host` (with its port if it has one).
    ///
    /// # Errors
    /// [`RegistryError::Path`] when host or repository is no such name.
    pub fn session(
        &self,
        host: &str,
        repository: &str,
        credentials: Option<Credentials>,
        access: Access,
    ) -> Result<Session, RegistryError> {
        let is_name = |part: &str| {
            !part.trim_matches('.').is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !repository.split('/').all(is_name) {
            return Err(RegistryError::Path { path: repository.to_owned() });
        }
        Ok(Session {
            client: self.clone(),
            host: host.to_owned(),
            origin: origin(host, &self.insecure)?,
            repository: repository.to_owned(),
            access,
            credentials,
            authorization: Mutex::default(),
        })
    }

    /// The client for the registry itself.
    pub(super) fn direct(&self, host: &str) -> &Client {
        &self.private.get(host).unwrap_or(&self.public).direct
    }

    /// The client for a place on the host of the registry: another port may have certificates of its own.
    pub(super) fn beside(&self, host: &str, url: &Url) -> &Client {
        self.private.get(&authority(url)).map_or_else(|| self.direct(host), |own| &own.direct)
    }

    /// The client for a place elsewhere that a registry leads to: the certificates are those of that place.
    pub(super) fn elsewhere(&self, url: &Url) -> &Client {
        &self.private.get(&authority(url)).unwrap_or(&self.public).elsewhere
    }
}

/// Host and port, as an image's name has them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
