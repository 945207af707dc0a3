//! What a step's `uses:` names.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A reference to an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uses {
    /// `owner/repository[/path]@ref`: lies under `_actions`.
    Repository {
        /// `owner/repository`.
        repository: String,
        /// Folder of the action in the repository; empty: its root.
        path: String,
        /// Tag, branch or commit.
        reference: String,
    },
    /// `./path`: lies in the workspace.
    Local {
        /// The path as written, `./` included.
        path: String,
    },
    /// `docker://image`: no action at all.
    Image {
        /// The image without `docker://`.
        image: String,
    },
}

/// A `uses:` that names no action.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no 'owner/repository[/path]@ref', './path' or 'docker://image'")]
pub struct UsesError(String);

impl Uses {
    /// What `GITHUB_ACTION` says in a step without an id.
    pub fn github_action(&self) -> String {
        let name = match self {
            Self::Repository { repository, path, .. } if path.is_empty() => repository.clone(),
            Self::Repository { repository, path, .. } => format!("{repository}_{path}"),
            Self::Local { .. } => "self".to_owned(),
            Self::Image { image } => image.split([':', '@']).next().unwrap_or_default().to_owned(),
        };
        format!("__{}", name.replace('/', "_"))
    }

    /// `GITHUB_ACTION_REPOSITORY` and `GITHUB_ACTION_REF`.
    pub fn repository_and_reference(&self) -> (&str, &str) {
        match self {
            Self::Repository { repository, reference, .. } => (repository, reference),
            Self::Local { .. } | Self::Image { .. } => ("", ""),
        }
    }
}

impl FromStr for Uses {
    type Err = UsesError;

    fn from_str(text: &str) -> Result<Self, UsesError> {
        let error = || UsesError(text.to_owned());
        if let Some(image) = text.strip_prefix("docker://") {
            return match image {
                "" => Err(error()),
                _ => Ok(Self::Image { image: image.to_owned() }),
            };
        }
        let plain = |segment: &str| !matches!(segment, "" | "." | "..");
        if let Some(path) = text.strip_prefix("./") {
            if !path.split('/').all(plain) {
                return Err(error());
            }
            return Ok(Self::Local { path: text.to_owned() });
        }
        let (name, reference) = text.rsplit_once('@').ok_or_else(error)?;
        let segments: Vec<&str> = name.split('/').collect();
        if segments.len() < 2 || !segments.iter().copied().chain(reference.split('/')).all(plain) {
            return Err(error());
        }
        Ok(Self::Repository {
            repository: segments[..2].join("/"),
            path: segments[2..].join("/"),
            reference: reference.to_owned(),
        })
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { repository, path, reference } if path.is_empty() => {
                write!(f, "{repository}@{reference}")
            }
            Self::Repository { repository, path, reference } => {
                write!(f, "{repository}/{path}@{reference}")
            }
            Self::Local { path } => f.write_str(path),
            Self::Image { image } => write!(f, "docker://{image}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read_and_written_alike() {
        for text in ["a/b@v1", "a/b/c/d@feature/x", "./tools/act", "docker://alpine:3.20"] {
            assert_eq!(text.parse::<Uses>().unwrap().to_string(), text);
        }
        assert_eq!("a/b/c@v1".parse::<Uses>().unwrap().github_action(), "__a_b_c");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["a/b", "a@v1", "a/../b@v1", "a/b@", "a/b@../..", "./../x", "docker://", ""] {
            assert!(text.parse::<Uses>().is_err(), "{text}");
        }
    }
}
