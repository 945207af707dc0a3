//! Directories of links: an image volume shows a whole image, and a job expects a part of it
//! elsewhere (the runner's externals at /__e).

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which directory is filled with links to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    from: PathBuf,
    to: PathBuf,
}

/// The links cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} cannot be made to lead to {from:?}")]
pub(crate) struct LinkError {
    path: PathBuf,
    from: PathBuf,
    #[source]
    source: io::Error,
}

impl FromStr for Links {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((from, to)) if from.starts_with('/') && to.starts_with('/') => {
                Ok(Self { from: from.into(), to: to.into() })
            }
            _ => Err("not two absolute paths with a colon between them"),
        }
    }
}

impl Links {
    /// Makes the links; one that is there (the container was started again) stays.
    pub(crate) fn make(&self) -> Result<(), LinkError> {
        let failed = |path: &Path, source| LinkError {
            path: path.to_owned(),
            from: self.from.clone(),
            source,
        };
        let entries = std::fs::read_dir(&self.from).map_err(|error| failed(&self.to, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(&self.to, error))?;
            let link = self.to.join(entry.file_name());
            match std::os::unix::fs::symlink(entry.path(), &link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(&link, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes `path` a symlink to `target`, where a container engine would have mounted it. An empty
/// directory gives way; one that is such a link already stays.
pub(crate) fn link(path: &Path, target: &Path) -> Result<(), LinkError> {
    let made = || -> io::Result<()> {
        if std::fs::read_link(path).is_ok_and(|there| there == target) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(target, path)
    };
    made().map_err(|source| LinkError { path: path.to_owned(), from: target.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_elsewhere_unless_the_image_has_it() {
        let root = tempfile::tempdir().unwrap();
        let (path, target) = (root.path().join("opt/cache"), Path::new("/__w/shop/cache"));
        link(&path, target).unwrap();
        link(&path, target).unwrap();
        assert_eq!(std::fs::read_link(&path).unwrap(), target);
        let empty = root.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        link(&empty, target).unwrap();
        let full = root.path().join("full");
        std::fs::create_dir_all(full.join("of-the-image")).unwrap();
        let error = link(&full, target).unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
    }

    #[test]
    fn each_entry_gets_a_link_and_a_second_time_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        std::fs::create_dir_all(from.join("node20")).unwrap();
        std::fs::create_dir(&to).unwrap();
        let text = format!("{}:{}", from.display(), to.display());
        let links: Links = text.parse().unwrap();
        links.make().unwrap();
        links.make().unwrap();
        assert_eq!(std::fs::read_link(to.join("node20")).unwrap(), from.join("node20"));
        assert!("relative:/x".parse::<Links>().is_err() && "/x".parse::<Links>().is_err());
    }
}
