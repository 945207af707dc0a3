//! Credentials that nodes and builds have for registries, as far as hookd may read them.

use std::time::Duration;

use futures::future::join_all;

use crate::cluster::Cluster;
use crate::registry::credentials::Credentials;

/// What Secrets hold, and which of them hookd cannot read.
#[derive(Clone, Debug, Default)]
pub(super) struct PullSecrets {
    /// In the order of the Secrets.
    pub(super) found: Vec<Credentials>,
    /// Names of Secrets that may hold more; the kubelet reads them all the same.
    pub(super) unread: Vec<String>,
}

impl PullSecrets {
    /// Reads the Secrets of these names, each within `timeout`. One that does not exist has no credentials.
    pub(super) async fn read(
        cluster: &Cluster,
        names: impl IntoIterator<Item = &str>,
        timeout: Duration,
    ) -> Self {
        let secrets = cluster.secrets();
        let read = names.into_iter().map(|name| {
            let asked = tokio::time::timeout(timeout, secrets.get_opt(name));
            async move { (name, asked.await) }
        });
        let mut all = Self::default();
        for (name, read) in join_all(read).await {
            match read {
                Ok(Ok(secret)) => {
                    all.found.extend(secret.iter().flat_map(Credentials::from_secret))
                }
                Ok(Err(_)) | Err(_) => all.unread.push(name.to_owned()),
            }
        }
        all
    }

    /// These, then the others.
    pub(super) fn and(mut self, others: &Self) -> Self {
        self.found.extend_from_slice(&others.found);
        self.unread.extend_from_slice(&others.unread);
        self
    }

    /// Why a registry that refuses may let nodes in all the same; none: what it refused is all they have.
    pub(super) fn may_have_more(&self, host: &str, repository: &str) -> Option<String> {
        if !self.unread.is_empty() {
            let names = self.unread.join(", ");
            return Some(format!("hookd may not read the Secret {names}"));
        }
        let has = Credentials::find(&self.found, host, repository).is_some();
        let words = "hookd knows of no credentials for it, and a credential provider of the nodes may have some";
        (!has).then(|| words.to_owned())
    }
}
