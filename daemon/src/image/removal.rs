//! The images that a job built are deleted from their registry at the job's end.
//!
//! What is to be deleted is known by the tags of the job's own builds: a tag is the id of the step that
//! built it, so that no image of another job is ever named. The steps' ids stand in a file of the socket
//! directory, which the runner cannot write to, since a daemon that is started again must know them too.

use std::io;
use std::path::PathBuf;

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::ids::StepId;
use crate::image::distribution::{
    MANIFEST_TYPES, RegistryError, Request, Session, digest_of, read_bounded,
};

/// Name of the file in the socket directory.
const FILE: &str = "built-images";
/// Tags that are read from it; a job has some dozens of steps.
const MAX_TAGS: usize = 10_000;
/// As large as a registry accepts one.
const MAX_MANIFEST: usize = 4 << 20;

/// The tags of the images that this runner's builds pushed, or may have pushed.
#[derive(Debug)]
pub struct BuiltTags(PathBuf);

impl BuiltTags {
    /// Those of earlier daemons in this pod are known.
    pub fn new(socket_dir: &std::path::Path) -> Self {
        Self(socket_dir.join(FILE))
    }

    /// Remembers the tag of a build that is about to start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn add(&self, step: &StepId) -> io::Result<()> {
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).mode(0o600).open(&self.0).await?;
        file.write_all(format!("{step}\n").as_bytes()).await?;
        file.flush().await
    }

    /// All tags, each once.
    pub async fn all(&self) -> Vec<StepId> {
        let text = tokio::fs::read_to_string(&self.0).await.unwrap_or_default();
        let mut tags: Vec<StepId> = Vec::new();
        for tag in text.lines().take(MAX_TAGS).filter_map(|line| line.parse().ok()) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }

    /// Forgets the tags whose images are gone.
    pub async fn forget(&self) {
        let _ = tokio::fs::remove_file(&self.0).await;
    }
}

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
    use crate::image::distribution::fake::{self, FakeRegistry, Reply};
    use crate::image::distribution::{Access, ClientOptions, RegistryClient};

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

    #[tokio::test]
    async fn tags_outlive_the_daemon_that_built_them() {
        let directory = tempfile::tempdir().unwrap();
        let tags = BuiltTags::new(directory.path());
        assert!(tags.all().await.is_empty());
        for step in ["a", "b", "a"] {
            tags.add(&step.parse().unwrap()).await.unwrap();
        }
        let again = BuiltTags::new(directory.path());
        let all: Vec<_> = again.all().await.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a", "b"]);
        again.forget().await;
        assert!(tags.all().await.is_empty());
    }
}
