//! The repository of built images, as hookd itself reaches it.

use crate::cluster::Cluster;
use crate::config::RegistryConfig;
use crate::registry::client::{Access, RegistryClient, RegistryError, Session};
use crate::registry::credentials::Credentials;
use crate::registry::destination::Destination;

/// With the credentials that builds push with.
#[derive(Debug)]
pub struct Repository<'a> {
    client: &'a RegistryClient,
    credentials: Vec<Credentials>,
}

impl<'a> Repository<'a> {
    /// Reads the credentials. Without those a registry may be asked, too.
    pub async fn new(
        client: &'a RegistryClient,
        cluster: &Cluster,
        config: &RegistryConfig,
    ) -> Self {
        let secret = match config.secret.as_deref() {
            Some(name) => cluster.secrets().get_opt(name).await.ok().flatten(),
            None => None,
        };
        let credentials = secret.as_ref().map(Credentials::from_secret).unwrap_or_default();
        Self { client, credentials }
    }

    /// The client.
    pub fn client(&self) -> &'a RegistryClient {
        self.client
    }

    /// The credentials.
    pub fn credentials(&self) -> &[Credentials] {
        &self.credentials
    }

    /// Requests for the repository that a build pushes to.
    ///
    /// # Errors
    /// The settings name no registry.
    pub fn session(
        &self,
        destination: &Destination,
        access: Access,
    ) -> Result<Session, RegistryError> {
        let (repository, _) = destination.repository_and_tag();
        let user = Credentials::find(&self.credentials, &destination.push_host, repository);
        self.client.session(&destination.push_host, repository, user.cloned(), access)
    }
}
