//! How the registries of the settings are reached: what the Secrets of the runner's namespace say.

use crate::cluster::Cluster;
use crate::config::{Config, RegistryConfig};
use crate::error::report;
use crate::registry::client::{ClientOptions, RegistryTls};
use crate::registry::credentials::Credentials;
use crate::registry::mirrors::Mirrors;
use crate::runner::Runner;

/// Plain HTTP and certificates, by the settings. What cannot be read is left out, and logged.
pub async fn options(cluster: &Cluster, config: &RegistryConfig) -> ClientOptions {
    let sources = Mirrors::new(config);
    let mut tls = Vec::new();
    for entry in &config.tls {
        tls.extend(certificates(cluster, &entry.host, &entry.secret).await);
    }
    if let Some((file, host)) = config.ca_file.as_ref().zip(sources.push_host()) {
        match std::fs::read(file) {
            Ok(pem) => tls.push(RegistryTls::of_authority(host, pem)),
            Err(error) => {
                let file = file.display();
                tracing::warn!(%file, %error, "HOOKD_REGISTRY_CA_FILE cannot be read");
            }
        }
    }
    ClientOptions { insecure: sources.insecure().to_vec(), tls }
}

/// Those of a Secret; none if it cannot be read: its registry is asked as any other then.
async fn certificates(cluster: &Cluster, host: &str, secret: &str) -> Option<RegistryTls> {
    let (retry, secrets) = (cluster.retry(), cluster.secrets());
    let found = retry.run(&format!("read Secret {secret}"), || secrets.get_opt(secret)).await;
    let error = match found {
        Ok(Some(found)) => return Some(RegistryTls::from_secret(host, &found)),
        Ok(None) => "it does not exist".to_owned(),
        Err(failure) => report(&failure),
    };
    tracing::warn!(host, secret, error, "a Secret of HOOKD_REGISTRY_TLS cannot be read");
    None
}

/// Those of the runner's pull Secrets and of the registry of built images, as far as hookd may read them.
pub async fn credentials(cluster: &Cluster, config: &Config, runner: &Runner) -> Vec<Credentials> {
    let names = runner.pull_secrets.iter().map(|secret| secret.name.as_str());
    // What other jobs have given is not this one's.
    let names = names.filter(|name| config.pull_secret.as_deref() != Some(*name));
    let names = names.chain(config.registry.secret.as_deref());
    let secrets = cluster.secrets();
    let read = names.map(|name| secrets.get_opt(name));
    // A Secret that cannot be read is left to the kubelet.
    let found = futures::future::join_all(read).await.into_iter().flatten().flatten();
    found.flat_map(|secret| Credentials::from_secret(&secret)).collect()
}
