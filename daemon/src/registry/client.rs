//! The client of the OCI distribution API: <https://github.com/opencontainers/distribution-spec>.
//!
//! A registry is not trusted: who its credentials go to, where its redirects lead and how much it
//! may answer is decided here, and `image.rs` verifies each document against its digest.

mod auth;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod image;
mod limits;
mod names;
mod redirect;
mod session;
mod tls;
mod transport;
mod upload;

pub use error::RegistryError;
pub use image::{Description, MANIFEST_TYPES, describe, read_bounded};
#[cfg(test)]
pub(crate) use limits::Limits;
pub use session::Session;
pub use tls::{RegistryTls, UnreadableTls};
pub use transport::{Access, ClientOptions, RegistryClient, Request, Target, origin};

#[cfg(test)]
mod tests;
