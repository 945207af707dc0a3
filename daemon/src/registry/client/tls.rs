//! The certificates that one registry needs beside the public authorities.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;
use reqwest::ClientBuilder;
use reqwest::tls::{Certificate, Identity};

use super::error::RegistryError;
use crate::config::TlsSecret;

/// Every registry without certificates of its own.
pub(super) const ANY_HOST: &str = "*";
/// Keys of a Secret of type kubernetes.io/tls, and files of the volume that it becomes.
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Certificates for one registry, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryTls {
    /// Host of the registry, with its port if it has one, or `*`; they count for no other.
    pub host: String,
    /// Who signs the registry's certificate, beside the public authorities.
    pub authority: Option<Vec<u8>>,
    /// Certificate and key with which the registry knows hookd. Not of `*`.
    pub identity: Option<Vec<u8>>,
}

/// A file with certificates cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", .path.display())]
pub struct UnreadableTls {
    /// The file, or the folder of the Secret.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl RegistryTls {
    /// Of a registry whose certificate `authority` signs.
    pub fn of_authority(host: &str, authority: Vec<u8>) -> Self {
        Self { host: host.to_owned(), authority: Some(authority), identity: None }
    }

    /// As a Secret has them.
    pub fn from_secret(host: &str, secret: &Secret) -> Self {
        let data = |key: &str| secret.data.as_ref()?.get(key).map(|data| data.0.clone());
        Self::new(host, data)
    }

    /// As the Secrets have them, each of which is mounted in a folder of its name.
    ///
    /// # Errors
    /// See [`UnreadableTls`]; a folder without any of the files is one.
    pub fn mounted(directory: &Path, secrets: &[TlsSecret]) -> Result<Vec<Self>, UnreadableTls> {
        secrets.iter().map(|entry| Self::in_folder(directory.join(&entry.secret), entry)).collect()
    }

    fn in_folder(folder: PathBuf, entry: &TlsSecret) -> Result<Self, UnreadableTls> {
        let mut failed = None;
        let found = Self::new(&entry.host, |key| match std::fs::read(folder.join(key)) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => {
                failed = Some(UnreadableTls { path: folder.join(key), source });
                None
            }
        });
        match failed {
            Some(error) => Err(error),
            None if found.is_empty() => {
                Err(UnreadableTls { path: folder, source: ErrorKind::NotFound.into() })
            }
            None => Ok(found),
        }
    }

    fn new(host: &str, mut data: impl FnMut(&str) -> Option<Vec<u8>>) -> Self {
        let authority = data(AUTHORITY).filter(|pem| !pem.trim_ascii().is_empty());
        let pair = data(CERTIFICATE).zip(data(KEY)).filter(|_| host != ANY_HOST);
        let identity = pair.map(|(certificate, key)| [&*certificate, b"\n", &*key].concat());
        Self { host: host.to_owned(), authority, identity }
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.authority.is_none() && self.identity.is_none()
    }

    pub(super) fn authorities(&self) -> Result<Vec<Certificate>, RegistryError> {
        let Some(pem) = &self.authority else { return Ok(Vec::new()) };
        let all = Certificate::from_pem_bundle(pem);
        let all = all.map_err(|error| self.invalid(AUTHORITY, Some(error)))?;
        if all.is_empty() { Err(self.invalid(AUTHORITY, None)) } else { Ok(all) }
    }

    pub(super) fn identify(&self, builder: ClientBuilder) -> Result<ClientBuilder, RegistryError> {
        let Some(pem) = &self.identity else { return Ok(builder) };
        let identity = Identity::from_pem(pem);
        Ok(builder.identity(identity.map_err(|error| self.invalid(CERTIFICATE, Some(error)))?))
    }

    /// A certificate and a key that do not belong together are noticed when the client is built.
    pub(super) fn unusable(&self, error: RegistryError) -> RegistryError {
        match error {
            RegistryError::Client(source) => self.invalid(CERTIFICATE, Some(source)),
            other => other,
        }
    }

    fn invalid(&self, what: &'static str, source: Option<reqwest::Error>) -> RegistryError {
        RegistryError::Certificate { host: self.host.clone(), what, source }
    }
}

impl fmt::Debug for RegistryTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryTls({})", self.host)
    }
}

#[cfg(test)]
mod tests;
