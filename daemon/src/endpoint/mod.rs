//! The registry endpoint of a build: the only container of the build's pod that has credentials.
//!
//! Kaniko unpacks images onto its own root and runs the Dockerfile's commands there, so that a RUN
//! finds whatever Kaniko's container has. Therefore that container has no credentials. `hookd
//! registry-endpoint` runs beside it, from hookd's own image, and speaks the distribution API on the
//! pod's loopback interface. It pushes for this build's one repository and tag, and serves the images
//! that the Dockerfile names, and the layers of one repository that earlier builds have left; a RUN can do no more through it than the build may.
//!
//! Of a build in the runner pod hookd itself is the endpoint ([`LocalEndpoint`]). Other containers of the
//! pod can connect to it, so that its repositories begin with a key that only the build gets.

mod answer;
mod cache;
mod config;
mod direct;
mod kept;
mod layer;
mod local;
mod manifest;
mod pull;
mod push;
mod route;
mod server;
mod shown;
mod upstream;

pub use cache::LayerCache;
pub use config::{ADDRESS, AllowedImage, EndpointConfig, Place, VARIABLE};
pub use direct::{DOCKER_DIR, DirectImage, TwoUsers, write_credentials};
pub use local::LocalEndpoint;
pub use server::{EndpointError, run, wait};
pub use shown::{ENDPOINT, Shown};
pub use upstream::{
    AUTHORITY_DIR, AUTHORITY_FILE, CREDENTIALS_DIR, CREDENTIALS_FILE, Registries, TLS_DIR,
    UpstreamError,
};

#[cfg(test)]
mod tests;
