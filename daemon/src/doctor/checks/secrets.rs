//! The Secrets that the settings name.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;

use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::registry::client::RegistryTls;
use crate::registry::credentials::{Credentials, KEY};

use super::{is_forbidden, or_return};

/// A Secret, the setting that names it, and what makes it one that can be used.
struct Named<'a> {
    setting: &'static str,
    name: &'a str,
    is_usable: fn(&Secret) -> bool,
    /// hookd reads it; otherwise pods mount it only.
    is_read: bool,
}

/// They exist, can be read, and hold what they must.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let cluster = or_return!(facts.cluster());
    let named = named(facts);
    if named.is_empty() {
        return Outcome::skipped("no setting names a Secret");
    }
    let secrets = cluster.secrets();
    let read = named.iter().map(|one| secrets.get_opt(one.name));
    let (mut wrong, mut unread) = (Vec::new(), Vec::new());
    for (one, read) in named.iter().zip(join_all(read).await) {
        let Named { setting, name, .. } = one;
        let why = match read {
            Ok(Some(secret)) if (one.is_usable)(&secret) => continue,
            Ok(Some(_)) => "it does not hold what it must",
            Ok(None) => "it does not exist",
            Err(error) if is_forbidden(&error) && !one.is_read => {
                unread.push(*name);
                continue;
            }
            Err(error) if is_forbidden(&error) => "hookd may not read it",
            Err(_) => "it cannot be read",
        };
        wrong.push(format!("{setting} names the Secret {name}: {why}"));
    }
    if wrong.is_empty() && !unread.is_empty() {
        let unread = unread.join(", ");
        return Outcome::ok(format!("pods mount the Secret {unread}, at which hookd may not look"));
    }
    if wrong.is_empty() {
        return Outcome::ok(format!("all {} Secrets of the settings are there", named.len()));
    }
    Outcome::failure(
        wrong.join("; "),
        format!("Secrets are looked up in namespace {}", cluster.namespace),
        "Create the Secret in the runner's namespace with the type that docs/config.md names for the \
         setting, let hookd read it (deploy/rbac-registries.yaml, deploy/rbac-pull-secret.yaml), or correct \
         its name",
    )
}

fn named(facts: &Facts) -> Vec<Named<'_>> {
    let config = &facts.config;
    let registry = config.registry.secret.as_deref().map(|name| Named {
        setting: "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET",
        name,
        is_usable: has_credentials,
        is_read: true,
    });
    let pull = config.pull_secret.as_deref().map(|name| Named {
        setting: "HOOKD_PULL_SECRET",
        name,
        is_usable: |secret| secret.type_.as_deref() == Some("kubernetes.io/dockerconfigjson"),
        is_read: true,
    });
    let tls = config.registry.tls.iter().map(|entry| Named {
        setting: "HOOKD_REGISTRY_TLS",
        name: &entry.secret,
        is_usable: |secret| !RegistryTls::from_secret("host", secret).is_empty(),
        is_read: true,
    });
    let buildkit = config.build.buildkit_tls_secret.as_deref().map(|name| Named {
        setting: "HOOKD_BUILDKIT_TLS_SECRET",
        name,
        is_usable: |secret| {
            let data = secret.data.as_ref();
            let has = |key: &&str| data.is_some_and(|data| data.contains_key(*key));
            ["ca.crt", "tls.crt", "tls.key"].iter().all(has)
        },
        is_read: false,
    });
    registry.into_iter().chain(pull).chain(tls).chain(buildkit).collect()
}

/// Under the key that pods of builds mount.
fn has_credentials(secret: &Secret) -> bool {
    secret.data.as_ref().is_some_and(|data| data.contains_key(KEY))
        && !Credentials::from_secret(secret).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn builds_mount_the_key_of_the_newer_type_only() {
        let entry = r#"{"r.example": {"username": "u", "password": "p"}}"#;
        let file = format!(r#"{{"auths": {entry}}}"#);
        for (key, content, expected) in [
            (KEY, file.as_str(), true),
            (KEY, "{}", false),
            (".dockercfg", entry, false),
            ("password", "p", false),
        ] {
            let data = [(key.to_owned(), ByteString(content.as_bytes().to_vec()))].into();
            let secret = Secret { data: Some(data), ..Secret::default() };
            assert_eq!(has_credentials(&secret), expected, "{key}: {content}");
        }
    }
}
