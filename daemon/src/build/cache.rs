//! The images that this job built: an action's pre, main and post stages share one build.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::context::ContextDigest;
use crate::session::cursor::BuiltReference;

/// Images by their Dockerfile, with what they were built from.
#[derive(Debug, Default)]
pub struct BuildCache(Mutex<HashMap<PathBuf, (ContextDigest, BuiltReference)>>);

impl BuildCache {
    /// True if an image of this Dockerfile was built: only then is a fingerprint worth its time.
    pub fn knows(&self, dockerfile: &Path) -> bool {
        self.lock().contains_key(dockerfile)
    }

    /// The image of this Dockerfile, if it was built from the same bytes.
    pub fn find(
        &self,
        dockerfile: &Path,
        context_digest: &ContextDigest,
    ) -> Option<BuiltReference> {
        let builds = self.lock();
        let (known, image) = builds.get(dockerfile)?;
        (known == context_digest).then(|| image.clone())
    }

    /// Remembers an image.
    pub fn add(&self, dockerfile: &Path, context_digest: ContextDigest, image: BuiltReference) {
        self.lock().insert(dockerfile.to_owned(), (context_digest, image));
    }

    /// Forgets all images.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (ContextDigest, BuiltReference)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::context::{self, Bounds};

    fn print(directory: &Path) -> ContextDigest {
        let dockerfile = directory.join("Dockerfile");
        let context = context::open(&[directory.to_owned()], &dockerfile).unwrap();
        let bounds = Bounds {
            bytes: 1 << 20,
            timeout: std::time::Duration::from_secs(60),
            cancelled: Default::default(),
        };
        context.survey(&bounds).unwrap().digest
    }

    #[test]
    fn an_image_is_found_again_until_a_byte_of_its_context_changes() {
        let directory = tempfile::tempdir().unwrap();
        let dockerfile = directory.path().join("Dockerfile");
        std::fs::write(&dockerfile, "FROM scratch\nCOPY a /\n").unwrap();
        std::fs::write(directory.path().join("a"), "1").unwrap();
        let (builds, first) = (BuildCache::default(), print(directory.path()));
        assert!(!builds.knows(&dockerfile));
        let image = BuiltReference { reference: "r@d".into(), digest: "d".into() };
        builds.add(&dockerfile, first, image.clone());
        assert_eq!(builds.find(&dockerfile, &print(directory.path())), Some(image));
        std::fs::write(directory.path().join("a"), "2").unwrap();
        assert_eq!(builds.find(&dockerfile, &print(directory.path())), None);
    }
}
