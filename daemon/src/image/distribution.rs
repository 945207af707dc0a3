//! The part of the OCI distribution API that tells of an image without pulling it.
//!
//! <https://github.com/opencontainers/distribution-spec>, and for tokens
//! <https://distribution.github.io/distribution/spec/auth/token/>.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::tls::Certificate;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use crate::image::credentials::Credentials;
use crate::image::lookup::ImageConfig;
use crate::image::reference::Reference;

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
const DIGEST: &str = "docker-content-digest";
/// Manifests and configurations have some kilobytes.
const LARGEST: usize = 4 << 20;
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Registries, asked over connections that stay.
#[derive(Debug)]
pub struct Distribution {
    /// None: it could not be made.
    client: Option<Client>,
    insecure: Vec<String>,
}

/// A registry did not tell.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke.
    #[error("the registry cannot be reached")]
    Unreachable(#[from] reqwest::Error),
    /// No answer in time.
    #[error("the registry does not answer in time")]
    Late,
    /// It refused.
    #[error("the registry answers {0}")]
    Refused(StatusCode),
    /// Its answer is not what the specification says.
    #[error("the registry's answer is no {0}")]
    Garbage(&'static str),
}

impl RegistryError {
    /// True if nobody answered.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Late)
    }
}

/// An index or a manifest: which of them shows in what it has.
#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Distribution {
    /// Asks over HTTPS, and over HTTP the hosts that are `insecure`.
    pub fn new(insecure: &[String]) -> Self {
        // A second call finds the provider there, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // hookd's image has no certificates of its own.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        let roots = roots.iter().filter_map(|root| Certificate::from_der(root).ok());
        let client = Client::builder()
            .tls_certs_only(roots)
            .connect_timeout(CONNECT_PATIENCE)
            .user_agent(concat!("hookd/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.inspect_err(|error| tracing::warn!(%error, "no client for registries"));
        Self { client: client.ok(), insecure: insecure.to_vec() }
    }

    /// Digest and configuration of the image; of an index the digest is the index's.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn image(
        &self,
        image: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<(String, ImageConfig), RegistryError> {
        #[derive(Deserialize)]
        struct File {
            config: Option<ImageConfig>,
        }
        let mut asking = Asking { of: self, image, credentials, token: None };
        let (digest, mut manifest) = asking.manifest(&image.version).await?;
        if let Some(ours) = manifest.manifests.iter().find(|entry| is_ours(entry)) {
            manifest = asking.manifest(&ours.digest).await?.1;
        }
        let config = manifest.config.ok_or(RegistryError::Garbage("manifest"))?;
        let answer = asking.get(&format!("blobs/{}", config.digest)).await?;
        let file: File = json(answer, "configuration").await?;
        Ok((digest, file.config.unwrap_or_default()))
    }
}

fn is_ours(entry: &Descriptor) -> bool {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = entry.platform.as_ref();
    platform.is_some_and(|one| one.os == "linux" && one.architecture == architecture)
}

/// The requests for one image, which share a token.
struct Asking<'a> {
    of: &'a Distribution,
    image: &'a Reference,
    credentials: Option<&'a Credentials>,
    token: Option<Token>,
}

enum Token {
    /// The registry takes user and password themselves.
    Basic,
    Bearer(String),
}

impl Asking<'_> {
    async fn manifest(&mut self, version: &str) -> Result<(String, Manifest), RegistryError> {
        let answer = self.get(&format!("manifests/{version}")).await?;
        let digest = answer.headers().get(DIGEST).and_then(|digest| digest.to_str().ok());
        let named = version.contains(':').then(|| version.to_owned());
        let digest = named.or_else(|| digest.map(str::to_owned));
        let digest = digest.ok_or(RegistryError::Garbage("answer with a digest"))?;
        Ok((digest, json(answer, "manifest").await?))
    }

    async fn get(&mut self, path: &str) -> Result<Response, RegistryError> {
        let first = self.request(path)?.send().await?;
        let answer = match first.headers().get(WWW_AUTHENTICATE).and_then(|one| one.to_str().ok()) {
            Some(challenge)
                if first.status() == StatusCode::UNAUTHORIZED && self.token.is_none() =>
            {
                self.token = Some(self.token(challenge).await?);
                self.request(path)?.send().await?
            }
            _ => first,
        };
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(RegistryError::Refused(status)),
        }
    }

    fn request(&self, path: &str) -> Result<RequestBuilder, RegistryError> {
        let Reference { registry, repository, .. } = self.image;
        let insecure = self.of.insecure.contains(registry);
        let scheme = if insecure { "http" } else { "https" };
        // The API of Docker Hub has a host of its own.
        let host = if registry == "index.docker.io" { "registry-1.docker.io" } else { registry };
        let url = format!("{scheme}://{host}/v2/{repository}/{path}");
        let request = self.client()?.get(url).header(ACCEPT, MANIFESTS);
        Ok(match &self.token {
            None => request,
            Some(Token::Basic) => self.with_password(request),
            Some(Token::Bearer(token)) => request.bearer_auth(token),
        })
    }

    fn client(&self) -> Result<&Client, RegistryError> {
        self.of.client.as_ref().ok_or(RegistryError::Late)
    }

    fn with_password(&self, request: RequestBuilder) -> RequestBuilder {
        match self.credentials.map(Credentials::pair) {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// What the registry's challenge asks for.
    async fn token(&self, challenge: &str) -> Result<Token, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let Some(parameters) = challenge.strip_prefix("Bearer ") else { return Ok(Token::Basic) };
        let parameters = parameters_of(parameters);
        let realm = parameters.get("realm").ok_or(RegistryError::Garbage("challenge"))?;
        let scope = format!("repository:{}:pull", self.image.repository);
        let service = parameters.get("service").map(|service| ("service", service.as_str()));
        let query: Vec<_> = [("scope", scope.as_str())].into_iter().chain(service).collect();
        let request = self.with_password(self.client()?.get(realm).query(&query));
        let answer = request.send().await?;
        if answer.status() != StatusCode::OK {
            return Err(RegistryError::Refused(answer.status()));
        }
        let answer: Answer = json(answer, "token").await?;
        let token = answer.token.or(answer.access_token);
        token.map(Token::Bearer).ok_or(RegistryError::Garbage("token"))
    }
}

/// `realm="https://...",service="..."`
fn parameters_of(text: &str) -> HashMap<String, String> {
    let pairs = text.split("\",").filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), value.trim_matches('"').to_owned()))
    });
    pairs.collect()
}

async fn json<T: for<'de> Deserialize<'de>>(
    mut answer: Response,
    what: &'static str,
) -> Result<T, RegistryError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > LARGEST {
            return Err(RegistryError::Garbage(what));
        }
    }
    serde_json::from_slice(&body).map_err(|_| RegistryError::Garbage(what))
}

#[cfg(test)]
mod tests;
