//! The images that a job built are deleted from their registry at the job's end.
//!
//! What is to be deleted is known by the tags of the job's own builds: a tag is the id of the step that
//! built it, so that no image of another job is ever named.

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::registry::client::{
    MANIFEST_TYPES, RegistryError, Request, Session, digest_of, read_bounded,
};

/// As large as a registry accepts one.
const MAX_MANIFEST: usize = 4 << 20;

/// Deletes the image with a tag; true if it was there. Registries delete manifests by their digest only,
/// which is computed from what the tag names.
///
/// # Errors
/// See [`RegistryError`]; [`RegistryError::Refused`] with 405 from a registry that deletes nothing.
pub async fn delete_tag(session: &Session, tag: &str) -> Result<bool, RegistryError> {
    let mut request = Request::new(Method::GET, format!("manifests/{tag}"));
    request.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
    let answer = session.send(request).await?;
    let refused = |status| RegistryError::Refused { host: session.host().to_owned(), status };
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(false),
        status => return Err(refused(status)),
    }
    let manifest = read_bounded(session.host(), answer, "manifest", MAX_MANIFEST).await?;
    let path = format!("manifests/{}", digest_of(&manifest));
    let answer = session.send(Request::new(Method::DELETE, path)).await?;
    match answer.status() {
        status if status.is_success() => Ok(true),
        // Another daemon, or the registry's own rule, was first.
        StatusCode::NOT_FOUND => Ok(false),
        status => Err(refused(status)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::registry::client::fake::{self, FakeRegistry, Reply};
    use crate::registry::client::{Access, ClientOptions, RegistryClient};

    fn session(registry: &FakeRegistry) -> Session {
        let options =
            ClientOptions { insecure: vec![registry.host.clone()], ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap();
        client.session(&registry.host, "hookd/build", None, Access::Delete).unwrap()
    }

    #[tokio::test]
    async fn an_image_is_deleted_by_the_digest_of_its_own_tag() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let deleted = AtomicBool::new(false);
        let registry = FakeRegistry::start(move |_, arrived| {
            if arrived.method == "DELETE" {
                deleted.store(true, Ordering::SeqCst);
                return Reply::new(202, "");
            }
            let gone = deleted.load(Ordering::SeqCst);
            let reply = all.get(&arrived.path).filter(|_| !gone).cloned();
            reply.unwrap_or_else(|| Reply::new(404, ""))
        });
        let session = session(&registry);
        assert!(delete_tag(&session, "1").await.unwrap());
        assert!(!delete_tag(&session, "1").await.unwrap());
        let deletes: Vec<_> =
            registry.arrived().into_iter().filter(|one| one.method == "DELETE").collect();
        assert_eq!(deletes.len(), 1);
        assert_eq!(deletes[0].path, format!("/v2/hookd/build/manifests/{digest}"));
    }

    #[tokio::test]
    async fn a_registry_that_deletes_nothing_says_so() {
        let (all, _) = fake::image("hookd/build", "{}");
        let registry = FakeRegistry::start(move |_, arrived| match arrived.method.as_str() {
            "DELETE" => Reply::new(405, ""),
            _ => all[&arrived.path].clone(),
        });
        let error = delete_tag(&session(&registry), "1").await.unwrap_err();
        let status =
            matches!(error, RegistryError::Refused { status: StatusCode::METHOD_NOT_ALLOWED, .. });
        assert!(status, "{error}");
    }
}
