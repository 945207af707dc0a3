//! The images that this job built: an action's pre, main and post stages share one build.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::context::ContextDigest;
use super::spec::BuildSpec;
use crate::dockerfile::Platform;
use crate::session::cursor::BuiltReference;

/// Images by their Dockerfile.
#[derive(Debug, Default)]
pub struct BuildCache(Mutex<HashMap<PathBuf, Built>>);

/// An image, and what it was built from: the digest covers the Dockerfile as it is built, with its arguments
/// and its target.
#[derive(Debug)]
struct Built {
    context: ContextDigest,
    platform: Option<Platform>,
    image: BuiltReference,
}

impl BuildCache {
    /// True if an image of this Dockerfile was built: only then is a fingerprint worth its time.
    pub fn knows(&self, dockerfile: &Path) -> bool {
        self.lock().contains_key(dockerfile)
    }

    /// The image of this Dockerfile, if it was built from the same bytes.
    pub fn find(&self, spec: &BuildSpec, context: &ContextDigest) -> Option<BuiltReference> {
        let builds = self.lock();
        let built = builds.get(&spec.dockerfile)?;
        let is_it = built.context == *context && built.platform == spec.options.platform;
        is_it.then(|| built.image.clone())
    }

    /// Remembers an image.
    pub fn add(&self, spec: &BuildSpec, context: ContextDigest, image: BuiltReference) {
        let platform = spec.options.platform.clone();
        self.lock().insert(spec.dockerfile.clone(), Built { context, platform, image });
    }

    /// Forgets all images.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Built>> {
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
        let spec = BuildSpec::of(&dockerfile);
        builds.add(&spec, first, image.clone());
        assert_eq!(builds.find(&spec, &print(directory.path())), Some(image));
        let mut other = spec.clone();
        other.options.platform = Some(Platform::default());
        assert_eq!(builds.find(&other, &print(directory.path())), None);
        std::fs::write(directory.path().join("a"), "2").unwrap();
        assert_eq!(builds.find(&spec, &print(directory.path())), None);
    }
}
