//! The endpoint of a build in the runner pod: hookd itself, for as long as the build runs.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::config::EndpointConfig;
use super::server::{Endpoint, EndpointError, accept};
use super::upstream::Registries;

/// Any free port of the loopback interface, which all containers of the pod share.
const ANY_PORT: &str = "127.0.0.1:0";

/// An endpoint in this process; it ends when it is dropped.
#[derive(Debug)]
pub struct LocalEndpoint {
    endpoint: Arc<Endpoint>,
    config: EndpointConfig,
    _accepting: AbortOnDropHandle<()>,
}

impl LocalEndpoint {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub async fn start(
        config: EndpointConfig,
        registries: Registries,
    ) -> Result<Self, EndpointError> {
        let listener = TcpListener::bind(ANY_PORT).await.map_err(EndpointError::Serve)?;
        let address = listener.local_addr().map_err(EndpointError::Serve)?.to_string();
        let config = EndpointConfig { address, ..config };
        let endpoint = Arc::new(Endpoint::new(config.clone(), registries)?);
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, endpoint.clone())));
        Ok(Self { endpoint, config, _accepting: accepting })
    }

    /// The configuration, with the address.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// The configuration of the image that was built, as JSON; none: no build has pushed one.
    pub fn image(&self) -> Option<Bytes> {
        self.endpoint.image()
    }
}
