//! Notes in the repository of built images: what hookd wants to know again, or another runner's hookd.
//!
//! A note is an annotation on the manifest of an image that is there already, under a tag of its own: it
//! takes one request, and no room. No build can push under such a tag; what a note says is bounded all the
//! same, and only as good as the registry's password.

use bytes::Bytes;
use reqwest::header::HeaderValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::registry::client::{RegistryError, Session};
use crate::registry::tags::{self, Manifest};

/// Key of the annotation.
const ANNOTATION: &str = "dev.hookd.note";
/// Bytes that a note may have.
const LIMIT: usize = 64 << 10;
/// Docker's own form of a manifest, which has no annotations, and OCI's, which has the same fields.
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// The note under a tag; none: there is none that can be read.
///
/// # Errors
/// See [`RegistryError`].
pub async fn read<T: DeserializeOwned>(
    session: &Session,
    tag: &str,
) -> Result<Option<T>, RegistryError> {
    let Some(manifest) = tags::find(session, tag).await? else { return Ok(None) };
    let manifest: Option<Value> = serde_json::from_slice(&manifest.bytes).ok();
    let note = manifest.as_ref().and_then(|manifest| manifest["annotations"][ANNOTATION].as_str());
    let note = note.filter(|note| note.len() <= LIMIT);
    Ok(note.and_then(|note| serde_json::from_str(note).ok()))
}

/// Writes a note on this image's manifest, in place of one that is there.
///
/// # Errors
/// See [`RegistryError`]; [`RegistryError::Invalid`] for a manifest or a note that cannot be written.
pub async fn write(
    session: &Session,
    tag: &str,
    image: &Manifest,
    note: &impl Serialize,
) -> Result<(), RegistryError> {
    let invalid = || RegistryError::Invalid { host: session.host().to_owned(), what: "note" };
    let note = serde_json::to_string(note).ok().filter(|note| note.len() <= LIMIT);
    let manifest = annotated(image, note.ok_or_else(invalid)?).ok_or_else(invalid)?;
    tags::set(session, tag, &manifest).await
}

fn annotated(image: &Manifest, note: String) -> Option<Manifest> {
    let mut manifest: Map<String, Value> = serde_json::from_slice(&image.bytes).ok()?;
    let mut media_type = image.media_type.clone();
    if media_type.as_ref().is_some_and(|kind| kind == DOCKER) {
        media_type = Some(HeaderValue::from_static(OCI));
        manifest.insert("mediaType".to_owned(), OCI.into());
    }
    let annotations = Map::from_iter([(ANNOTATION.to_owned(), note.into())]);
    manifest.insert("annotations".to_owned(), annotations.into());
    Some(Manifest::new(media_type, Bytes::from(serde_json::to_vec(&manifest).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::registry::client::fake::{FakeRegistry, Reply};
    use crate::registry::client::{Access, ClientOptions, RegistryClient};

    /// A registry that has what was put.
    fn registry() -> FakeRegistry {
        let stored = Arc::new(Mutex::new(None::<Vec<u8>>));
        FakeRegistry::start(move |_, arrived| {
            let mut stored = stored.lock().unwrap();
            if arrived.method == "PUT" {
                *stored = Some(arrived.body.clone());
                return Reply::new(201, "");
            }
            stored.clone().map_or_else(|| Reply::new(404, ""), Reply::ok)
        })
    }

    fn session(registry: &FakeRegistry) -> Session {
        let options =
            ClientOptions { insecure: vec![registry.host.clone()], ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap();
        client.session(&registry.host, "hookd/build", None, Access::Push).unwrap()
    }

    fn image() -> Manifest {
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER}","layers":[1]}}"#);
        Manifest::new(Some(HeaderValue::from_static(DOCKER)), text.into())
    }

    #[tokio::test]
    async fn a_note_is_read_as_it_was_written() {
        let registry = registry();
        let session = session(&registry);
        assert_eq!(read::<Vec<u32>>(&session, "note").await.unwrap(), None);
        write(&session, "note", &image(), &[1, 2]).await.unwrap();
        assert_eq!(read::<Vec<u32>>(&session, "note").await.unwrap(), Some(vec![1, 2]));
        // Of another shape it is none.
        assert_eq!(read::<String>(&session, "note").await.unwrap(), None);
        let put = registry.arrived().into_iter().find(|arrived| arrived.method == "PUT").unwrap();
        assert!(put.headers.contains(OCI), "{}", put.headers);
        let written: Value = serde_json::from_slice(&put.body).unwrap();
        assert_eq!((&written["layers"][0], &written["mediaType"]), (&1.into(), &OCI.into()));
    }

    #[tokio::test]
    async fn a_note_that_is_too_large_is_neither_written_nor_read() {
        let registry = registry();
        let session = session(&registry);
        let large = "x".repeat(LIMIT);
        assert!(write(&session, "note", &image(), &large).await.is_err());
        let annotated = annotated(&image(), format!("\"{large}\"")).unwrap();
        tags::set(&session, "note", &annotated).await.unwrap();
        assert_eq!(read::<String>(&session, "note").await.unwrap(), None);
    }
}
