//! Connections to registries: certificates, plain HTTP, and what is asked of whom.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::tls::Certificate;
use reqwest::{Body, Client, Method, Url};
use tokio::sync::Mutex;

use super::error::RegistryError;
use super::redirect::PublicResolver;
use super::session::Session;
use crate::registry::credentials::Credentials;
use crate::registry::reference::DOCKER_HUB;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Hosts, with their port, that speak plain HTTP; all others speak HTTPS.
    pub insecure: Vec<String>,
    /// Certificate authority of one registry, beside the public ones.
    pub authority: Option<CertificateAuthority>,
}

/// Who signs the certificate of a registry.
#[derive(Clone, Debug)]
pub struct CertificateAuthority {
    /// Host of the registry, with its port if it has one; the authority counts for no other.
    pub host: String,
    /// One or more certificates in PEM.
    pub pem: Vec<u8>,
}

/// Connections to registries, which stay open between requests; a clone shares them.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    insecure: Arc<[String]>,
    /// For registries themselves.
    direct: Client,
    /// For the registry with an authority of its own.
    private: Option<(String, Client)>,
    /// For hosts that registries lead to.
    elsewhere: Client,
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
    /// [`RegistryError::Client`] when the authority is no certificate.
    pub fn new(options: &ClientOptions) -> Result<Self, RegistryError> {
        // A second call finds the provider there, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // hookd's image has no certificates of its own.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        let roots: Vec<_> =
            roots.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let builder = |more: Vec<Certificate>| {
            Client::builder()
                .tls_certs_only(roots.iter().cloned().chain(more))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("hookd/", env!("CARGO_PKG_VERSION")))
        };
        let private = options.authority.as_ref().map(|authority| {
            let own = Certificate::from_pem_bundle(&authority.pem)?;
            Ok((authority.host.clone(), builder(own).build()?))
        });
        let elsewhere = builder(Vec::new()).dns_resolver(Arc::new(PublicResolver));
        Ok(Self {
            insecure: options.insecure.clone().into(),
            direct: builder(Vec::new()).build().map_err(RegistryError::Client)?,
            private: private.transpose().map_err(RegistryError::Client)?,
            elsewhere: elsewhere.build().map_err(RegistryError::Client)?,
        })
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
        let private = self.private.as_ref().filter(|(of, _)| of == host);
        private.map_or(&self.direct, |(_, client)| client)
    }

    /// The client for hosts that registries lead to.
    pub(super) fn elsewhere(&self) -> &Client {
        &self.elsewhere
    }
}
