//! Which images may be used: by their whole names, however the workflow spells them.

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::error::PolicyError;
use super::file::{ImageRule, ImageRules};
use crate::registry::digest::is_digest;
use crate::registry::pattern::{matches_part, matches_path};
use crate::registry::reference::{DOCKER_HUB, Reference};

/// Docker Hub, as people write it.
const DOCKER_IO: &str = "docker.io";
/// A name of Docker Hub's own images that a container runtime takes for the id of an image on the node.
const IDS: [&str; 3] = ["library/sha256", "library/sha384", "library/sha512"];

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Jobs,
    Services,
    Steps,
    Builds,
}

impl Use {
    fn rule(self, rules: &ImageRules) -> (&'static str, &ImageRule) {
        match self {
            Self::Jobs => ("images.jobs", &rules.jobs),
            Self::Services => ("images.services", &rules.services),
            Self::Steps => ("images.steps", &rules.steps),
            Self::Builds => ("images.builds", &rules.builds),
        }
    }
}

/// `registry/path:tag` or `registry/path@digest`; see docs/policy.md.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[cfg_attr(test, serde(into = "String"))]
#[serde(try_from = "String")]
pub(super) struct ImagePattern {
    host: String,
    path: String,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Any,
    /// A digest is none of these, whatever tag stands before it.
    Tag(String),
    Digest(String),
}

impl TryFrom<String> for ImagePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{text:?} is no pattern for images: {why}"));
        let Some((host, rest)) = text.split_once('/') else {
            return wrong("it begins with its registry, as in docker.io/library/busybox");
        };
        let (rest, digest) = rest.split_once('@').map_or((rest, None), |(r, d)| (r, Some(d)));
        let (path, tag) = rest.split_once(':').map_or((rest, None), |(p, t)| (p, Some(t)));
        let host = host.to_ascii_lowercase();
        let host = if host == DOCKER_HUB { DOCKER_IO.to_owned() } else { host };
        // The name's own parser knows what a host is.
        let is_host = format!("{host}/x/x").parse::<Reference>().is_ok_and(|name| {
            let registry = if name.registry == DOCKER_HUB { DOCKER_IO } else { &name.registry };
            registry == host
        });
        if !is_host {
            return wrong(
                "its first part is no registry, which has no *, and has a dot, a port or is \
                          localhost",
            );
        }
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let is_path = path.split('/').all(|part| !part.is_empty())
            && path.chars().all(|letter| plain(letter) || "._-/*".contains(letter));
        if !is_path {
            return wrong("its path has lower-case letters, digits, and the signs . _ - / and *");
        }
        if host == DOCKER_IO && !path.contains('/') && path != "**" {
            return wrong(
                "a repository of docker.io has two parts, as in docker.io/library/busybox",
            );
        }
        let version = match (tag, digest) {
            (None, None) => Version::Any,
            (Some(tag), None) if !tag.is_empty() => Version::Tag(tag.to_owned()),
            (None, Some(digest)) if is_digest(digest) => Version::Digest(digest.to_owned()),
            (Some(_), Some(_)) => return wrong("of tag and digest only the digest counts"),
            _ => return wrong("its tag is empty, or its digest is none"),
        };
        Ok(Self { host, path: path.to_owned(), version })
    }
}

impl From<ImagePattern> for String {
    fn from(pattern: ImagePattern) -> Self {
        let ImagePattern { host, path, version } = pattern;
        match version {
            Version::Any => format!("{host}/{path}"),
            Version::Tag(tag) => format!("{host}/{path}:{tag}"),
            Version::Digest(digest) => format!("{host}/{path}@{digest}"),
        }
    }
}

impl ImagePattern {
    fn allows(&self, name: &Reference) -> bool {
        self.host == host(name)
            && matches_path(&self.path, &name.repository)
            && match &self.version {
                Version::Any => true,
                Version::Tag(tag) => !name.is_digest() && matches_part(tag, &name.version),
                Version::Digest(digest) => *digest == name.version,
            }
    }
}

/// The registry as patterns have it.
fn host(name: &Reference) -> String {
    let host = name.registry.to_ascii_lowercase();
    if host == DOCKER_HUB { DOCKER_IO.to_owned() } else { host }
}

/// What the rules refuse of an image; `place` is where it is named, for the message.
pub(super) fn check(rules: &ImageRules, used: Use, place: &str, image: &str) -> Vec<PolicyError> {
    match image.parse() {
        Ok(name) => check_name(rules, used, place, &name),
        Err(_) => {
            let rule = Rule::of(rules, used).next();
            let refused = rule.map(|rule| PolicyError::NoImageName {
                place: place.to_owned(),
                image: image.to_owned(),
                rule: rule.path("allowed"),
            });
            refused.into_iter().collect()
        }
    }
}

/// As [`check`], of a name that was read.
pub(super) fn check_name(
    rules: &ImageRules,
    used: Use,
    place: &str,
    name: &Reference,
) -> Vec<PolicyError> {
    Rule::of(rules, used).filter_map(|rule| rule.refused(place, name)).collect()
}

/// One that says something.
struct Rule<'a> {
    name: &'static str,
    allowed: Option<&'a [ImagePattern]>,
    digest_required: bool,
}

impl<'a> Rule<'a> {
    fn of(rules: &'a ImageRules, used: Use) -> impl Iterator<Item = Self> {
        let (own, rule) = used.rule(rules);
        let (all, digest_required) = (rules.allowed.as_deref(), rules.digest_required);
        let both = [
            Self { name: "images", allowed: all, digest_required },
            Self {
                name: own,
                allowed: rule.allowed.as_deref(),
                digest_required: rule.digest_required,
            },
        ];
        both.into_iter().filter(|rule| rule.allowed.is_some() || rule.digest_required)
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn refused(&self, place: &str, name: &Reference) -> Option<PolicyError> {
        let (place, image, rule) = (place.to_owned(), shown(name), self.path("allowed"));
        if host(name) == DOCKER_IO && IDS.contains(&name.repository.as_str()) {
            return Some(PolicyError::ImageById { place, image, rule });
        }
        if let Some(allowed) = self.allowed
            && !allowed.iter().any(|pattern| pattern.allows(name))
        {
            let allowed = allowed.iter().cloned().map(String::from).collect();
            return Some(PolicyError::ImageNotAllowed { place, image, rule, allowed });
        }
        let rule = self.path("digestRequired");
        let has_digest = is_digest(&name.version);
        (self.digest_required && !has_digest).then_some(PolicyError::NoDigest {
            place,
            image,
            rule,
        })
    }
}

/// The whole name, as patterns have it.
fn shown(name: &Reference) -> String {
    let mark = if name.is_digest() { '@' } else { ':' };
    format!("{}/{}{mark}{}", host(name), name.repository, name.version)
}
