//! The definition of a container action: its `action.yml`, or a bare Dockerfile.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

use crate::Stage;
use crate::yaml::{self, Entries, Scalar, YamlError};

/// Why a folder or image is no container action.
#[derive(Debug, Error)]
pub enum ActionError {
    /// Neither action.yml, action.yaml nor Dockerfile.
    #[error("{} has neither an action.yml nor a Dockerfile", .0.display())]
    Missing(PathBuf),
    /// The definition cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The definition is not what an action.yml has to be.
    #[error("the action definition is malformed")]
    Malformed(#[source] YamlError),
    /// JavaScript and composite actions need no container of their own.
    #[error("this is a '{0}' action; only 'docker' actions run in a container of their own")]
    NotDocker(String),
    /// `runs.image` is missing or neither of the two forms.
    #[error("runs.image is '{0}'; it must start with 'docker://' or name a Dockerfile")]
    Image(String),
}

/// What a container action starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// An image in a registry, without `docker://`.
    Reference(String),
    /// A Dockerfile, as written, relative to the action's folder.
    Dockerfile(String),
}

/// A container action as its definition says, nothing evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// `runs.image`.
    pub image: Image,
    /// Inputs and their defaults, in the definition's order; empty: no default.
    pub inputs: Vec<(String, String)>,
    /// `runs.args`; absent, the input `args` counts.
    pub arguments: Option<Vec<String>>,
    /// `runs.env`.
    pub environment: Vec<(String, String)>,
    /// `runs.pre-entrypoint`.
    pub pre: Option<String>,
    /// `runs.entrypoint`.
    pub main: Option<String>,
    /// `runs.post-entrypoint`.
    pub post: Option<String>,
}

impl Action {
    /// The action in `folder`, found as the runner looks for it.
    ///
    /// # Errors
    ///
    /// [`ActionError`] if there is none, or if it is no container action.
    pub fn in_folder(folder: &Path) -> Result<Self, ActionError> {
        if let Some(text) = manifest(folder)? {
            return Self::from_yaml(&text);
        }
        ["Dockerfile", "dockerfile"]
            .into_iter()
            .find(|name| folder.join(name).is_file())
            .map(|name| Self::plain(Image::Dockerfile(name.to_owned())))
            .ok_or_else(|| ActionError::Missing(folder.to_owned()))
    }

    /// The action that `uses: docker://<image>` stands for.
    pub fn from_image(image: impl Into<String>) -> Self {
        Self::plain(Image::Reference(image.into()))
    }

    /// The action that the text of an action.yml defines.
    ///
    /// # Errors
    ///
    /// [`ActionError`] if it is malformed or no container action.
    pub fn from_yaml(text: &str) -> Result<Self, ActionError> {
        let manifest: Manifest = yaml::parse(text).map_err(ActionError::Malformed)?;
        let runs = manifest.runs;
        if !runs.using.eq_ignore_ascii_case("docker") {
            return Err(ActionError::NotDocker(runs.using));
        }
        let arguments = runs.args.map(|list| list.into_iter().map(|Scalar(text)| text).collect());
        Ok(Self {
            image: parse_image(&runs.image.unwrap_or_default().0)?,
            inputs: input_defaults(manifest.inputs),
            arguments,
            environment: runs.env.texts(),
            pre: runs.pre_entrypoint,
            main: runs.entrypoint,
            post: runs.post_entrypoint,
        })
    }

    /// The entrypoint that the definition names for `stage`.
    pub fn entry_point(&self, stage: Stage) -> Option<&str> {
        match stage {
            Stage::Pre => &self.pre,
            Stage::Main => &self.main,
            Stage::Post => &self.post,
        }
        .as_deref()
        .filter(|entry_point| !entry_point.is_empty())
    }

    fn plain(image: Image) -> Self {
        Self {
            image,
            inputs: Vec::new(),
            arguments: None,
            environment: Vec::new(),
            pre: None,
            main: None,
            post: None,
        }
    }
}

/// The text of the action's definition in `folder`, if there is one.
pub(crate) fn manifest(folder: &Path) -> Result<Option<String>, ActionError> {
    for name in ["action.yml", "action.yaml"] {
        let path = folder.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ActionError::Read { path, source }),
        }
    }
    Ok(None)
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    inputs: Entries<Input>,
    runs: Runs,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Runs {
    using: String,
    image: Option<Scalar>,
    entrypoint: Option<String>,
    pre_entrypoint: Option<String>,
    post_entrypoint: Option<String>,
    args: Option<Vec<Scalar>>,
    #[serde(default)]
    env: Entries<Scalar>,
}

/// The `default` of an input, as text; empty, if it has none.
pub(crate) struct Input(String);

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Scalar(default) = Scalar::of_field(&Value::deserialize(from)?, "default")?;
        Ok(Self(default))
    }
}

pub(crate) fn input_defaults(inputs: Entries<Input>) -> Vec<(String, String)> {
    inputs.0.into_iter().map(|(name, Input(default))| (name, default)).collect()
}

fn parse_image(image: &str) -> Result<Image, ActionError> {
    let is_scheme = |scheme: &str| scheme.eq_ignore_ascii_case("docker://");
    if let Some((scheme, reference)) = image.split_at_checked("docker://".len())
        && is_scheme(scheme)
        && !reference.is_empty()
    {
        return Ok(Image::Reference(reference.to_owned()));
    }
    let file = image.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    if file.starts_with("dockerfile.") || file.ends_with("dockerfile") {
        return Ok(Image::Dockerfile(image.to_owned()));
    }
    Err(ActionError::Image(image.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"
name: Report
inputs:
  title: {description: A title, required: true}
  depth: {default: 3}
  strict: {default: true}
  token: {default: "${{ github.token }}"}
runs:
  using: Docker
  image: ./docker/Dockerfile
  pre-entrypoint: /pre.sh
  entrypoint: /entrypoint.sh
  args: ["--title", "${{ inputs.title }}", 5, ""]
  env: {LEVEL: full, COUNT: 2}
"#;

    #[test]
    fn a_definition_is_read_in_its_own_order_and_not_evaluated() {
        let action = Action::from_yaml(REPORT).unwrap();
        assert_eq!(action.image, Image::Dockerfile("./docker/Dockerfile".into()));
        let inputs: Vec<_> = action.inputs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            inputs,
            [("title", ""), ("depth", "3"), ("strict", "true"), ("token", "${{ github.token }}")]
        );
        assert_eq!(action.arguments.as_ref().unwrap()[1..], ["${{ inputs.title }}", "5", ""]);
        assert_eq!(action.environment[1], ("COUNT".into(), "2".into()));
        assert_eq!(action.entry_point(Stage::Pre), Some("/pre.sh"));
        assert_eq!(action.entry_point(Stage::Post), None);
    }

    #[test]
    fn only_the_last_segment_decides_what_a_dockerfile_is() {
        for name in ["Dockerfile", "a/dockerfile", "Dockerfile.prod", "x/my.Dockerfile"] {
            assert_eq!(parse_image(name).unwrap(), Image::Dockerfile(name.into()));
        }
        assert_eq!(parse_image("Docker://a/b:1").unwrap(), Image::Reference("a/b:1".into()));
        for name in ["alpine:3.20", "Dockerfile/x", "docker://", ""] {
            assert!(matches!(parse_image(name), Err(ActionError::Image(_))), "{name}");
        }
    }

    #[test]
    fn other_kinds_of_actions_are_refused_by_name() {
        let error = Action::from_yaml("runs: {using: node20, main: x.js}").unwrap_err();
        assert!(error.to_string().contains("'node20'"), "{error}");
        let nested = "runs: {using: docker, image: Dockerfile, args: [[a]]}";
        assert!(matches!(Action::from_yaml(nested), Err(ActionError::Malformed(_))));
    }

    #[test]
    fn a_folder_with_nothing_but_a_dockerfile_is_an_action() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Action::in_folder(folder.path()), Err(ActionError::Missing(_))));
        fs::write(folder.path().join("Dockerfile"), "FROM scratch").unwrap();
        let action = Action::in_folder(folder.path()).unwrap();
        assert_eq!(action.image, Image::Dockerfile("Dockerfile".into()));
    }
}
