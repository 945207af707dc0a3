//! The shape of the file. deploy/policy/policy.schema.json says the same; a test compares them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::images::ImagePattern;
use super::options::{Amount, Capability, FlagPattern};
use super::paths::PathPattern;

/// All rules.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct PolicyFile {
    /// Whether refusals are only said.
    pub(super) mode: Mode,
    /// Images, by their use.
    pub(super) images: ImageRules,
    /// `options:` of containers.
    pub(super) options: OptionRules,
    /// `volumes:` of containers.
    pub(super) volumes: VolumeRules,
    /// Dockerfiles.
    pub(super) builds: BuildRules,
    /// Templates for pods; the first that fits is taken.
    pub(super) templates: Vec<TemplateRule>,
}

/// What becomes of what a rule refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// The call fails.
    #[default]
    Enforce,
    /// A warning says what would fail.
    Audit,
}

/// A rule for all images, and further ones for some: an image must satisfy both.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct ImageRules {
    /// Names that are allowed; none: all.
    pub(super) allowed: Option<Vec<ImagePattern>>,
    /// A tag is not enough.
    pub(super) digest_required: bool,
    /// Of job containers.
    pub(super) jobs: ImageRule,
    /// Of services.
    pub(super) services: ImageRule,
    /// Of container steps.
    pub(super) steps: ImageRule,
    /// Those that Dockerfiles name.
    pub(super) builds: ImageRule,
}

/// A rule for images.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct ImageRule {
    /// As [`ImageRules::allowed`].
    pub(super) allowed: Option<Vec<ImagePattern>>,
    /// As [`ImageRules::digest_required`].
    pub(super) digest_required: bool,
}

/// What `options:` may say. None: only the settings decide.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct OptionRules {
    /// Flags that may be given.
    pub(super) allowed: Option<Vec<FlagPattern>>,
    /// False: `--privileged` and all that weakens a container's isolation is refused.
    pub(super) privileged: Option<bool>,
    /// Those that `--cap-add` may add.
    pub(super) capabilities: Option<Vec<Capability>>,
    /// Ids that `--user` may name.
    pub(super) users: Option<Vec<i64>>,
    /// Ids that `--user` and `--group-add` may name for groups.
    pub(super) groups: Option<Vec<i64>>,
    /// Most that `--cpus` may ask for.
    pub(super) cpus: Option<Amount>,
    /// Most bytes that a flag for memory may ask for.
    pub(super) memory: Option<Amount>,
}

/// What may be mounted. None: all that hookd mounts.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct VolumeRules {
    /// Names of volumes, and directories of the runner.
    pub(super) sources: Option<Vec<PathPattern>>,
    /// Paths in the container.
    pub(super) targets: Option<Vec<PathPattern>>,
}

/// Who may build.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct BuildRules {
    /// Names of events; none: all, and unknown ones.
    pub(super) events: Option<Vec<String>>,
}

/// Which runners have which template.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TemplateRule {
    /// Labels of the runner pod, all of which must be there.
    pub(super) runner_labels: BTreeMap<String, String>,
    /// The template, in place of that of the settings.
    pub(super) file: PathBuf,
}
