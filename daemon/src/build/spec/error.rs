//! A build that cannot be asked for.

use crate::dockerfile::InvalidPlatform;
use crate::error::{Explain, Reason};

/// What is wrong with a call of BuildImage.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It names nothing to build.
    #[error("BuildImage has neither `dockerfile` nor `context`")]
    NoDockerfile,

    /// A text is too long.
    #[error("`{field}` of the build has {size} bytes, and the limit is {limit}")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },

    /// A field has too many entries.
    #[error("`{field}` of the build has {number} entries, and the limit is {limit}")]
    TooMany {
        /// Name of the field.
        field: &'static str,
        /// Its entries.
        number: usize,
        /// The limit.
        limit: usize,
    },

    /// No ARG can have this name.
    #[error("{name:?} is not the name of a build argument: letters, digits and underscores")]
    ArgumentName {
        /// The name.
        name: String,
    },

    /// The value does not fit in the line of an ARG.
    #[error(
        "The value of build argument {name} has more than {limit} bytes, or a control character such as \
         a line break"
    )]
    ArgumentValue {
        /// The name; the value may be secret.
        name: String,
        /// Bytes that a value may have.
        limit: usize,
    },

    /// Images are built for no such platform.
    #[error(transparent)]
    Platform(#[from] InvalidPlatform),

    /// The image cannot have this name.
    #[error("{tag:?} is not a name with a tag that an image can be given")]
    Tag {
        /// The name.
        tag: String,
    },
}

impl Explain for SpecError {
    fn reason(&self) -> Reason {
        Reason::InvalidInput
    }

    fn help(&self) -> String {
        match self {
            Self::ArgumentValue { .. } => {
                "Write the value into a file of the build context, and read it there".to_owned()
            }
            _ => "Correct the call; the comments in proto/hookd/v1 say what is expected".to_owned(),
        }
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let all = vec![
        SpecError::NoDockerfile,
        SpecError::TooLong { field: "target", size: 4096, limit: 128 },
        SpecError::TooMany { field: "tags", number: 100, limit: 16 },
        SpecError::ArgumentName { name: "MY ARG".to_owned() },
        SpecError::ArgumentValue { name: "NOTES".to_owned(), limit: 4096 },
        SpecError::Platform("windows/amd64".parse::<crate::dockerfile::Platform>().unwrap_err()),
        SpecError::Tag { tag: "registry.example/app@sha256:0123".to_owned() },
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_build_call() {
        assert_complete(include_str!("error.rs"), "SpecError", &super::examples());
    }
}
