//! Images in their registries.

use std::time::Duration;

use reqwest::StatusCode;

use crate::doctor::facts::Facts;
use crate::registry::client::{Access, RegistryError};
use crate::registry::credentials::Credentials;
use crate::registry::reference::Reference;
use crate::registry::tags;

/// For all users of one image.
const ANSWER: Duration = Duration::from_secs(4);
/// Users that are tried.
const MAX_USERS: usize = 5;

/// The digest of the image there, if it has one: asked for with each of the credentials that count for it, as
/// the kubelet does, or without any if there are none. `plain` is a host that speaks plain HTTP.
pub(super) async fn digest(
    facts: &Facts,
    place: &Reference,
    plain: Option<&str>,
    credentials: &[Credentials],
) -> Result<Option<String>, RegistryError> {
    let client = facts.registries(plain)?;
    let (host, repository) = (&place.registry, &place.repository);
    let matching = Credentials::matching(credentials, host, repository);
    let mut users: Vec<_> = matching.into_iter().take(MAX_USERS).cloned().map(Some).collect();
    if users.is_empty() {
        users.push(None);
    }
    let asked = async {
        let mut last = None;
        for user in users {
            let session = client.session(host, repository, user, Access::Pull)?;
            match tags::digest(&session, &place.version).await {
                // Some registries hide an image from users that may not read it.
                Ok(None) => last = Some(Ok(None)),
                Err(error) if is_denied(&error) => last = last.or(Some(Err(error))),
                answer => return answer,
            }
        }
        last.unwrap_or(Ok(None))
    };
    let timeout = || RegistryError::Timeout { host: host.clone() };
    tokio::time::timeout(ANSWER, asked).await.map_err(|_| timeout())?
}

/// True if the registry does not let this user in.
pub(super) fn is_denied(error: &RegistryError) -> bool {
    let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
    matches!(error, RegistryError::Refused { status, .. } if denied.contains(status))
}
