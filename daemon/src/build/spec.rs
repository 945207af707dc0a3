//! What an image is built of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hookd_api::v1::BuildImageStart;

use crate::dockerfile::{BuildOptions, Platform};
use crate::registry::reference::Reference;

mod error;

pub use error::SpecError;
#[cfg(test)]
pub(crate) use error::examples;

/// Build arguments of a call.
const MOST_ARGUMENTS: usize = 128;
/// Bytes of the name of a build argument, or of a stage.
const LONGEST_NAME: usize = 128;
/// Bytes of the value of a build argument: a line with it is not cut anywhere on its way.
const LONGEST_VALUE: usize = 4096;
/// Further names of an image.
const MOST_TAGS: usize = 16;
/// Bytes of one: a repository has at most 255, its host as many, and a tag 128.
const LONGEST_TAG: usize = 640;
/// Bytes of a path: Linux takes no longer one.
const LONGEST_PATH: usize = 4096;

/// What an image is built of, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    /// The Dockerfile, by its absolute path.
    pub dockerfile: PathBuf,
    /// The directory of the context, by its absolute path; none: that of the Dockerfile.
    pub context: Option<PathBuf>,
    /// Arguments, target and platform.
    pub options: BuildOptions,
    /// It is built though its image may be there.
    pub no_cache: bool,
    /// Further names of the image.
    pub tags: Vec<Reference>,
}

impl BuildSpec {
    /// A Dockerfile in its own directory, without options.
    pub fn of(dockerfile: &Path) -> Self {
        Self {
            dockerfile: dockerfile.to_owned(),
            context: None,
            options: BuildOptions::default(),
            no_cache: false,
            tags: Vec::new(),
        }
    }

    /// What a call asks for.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn read(start: BuildImageStart) -> Result<Self, SpecError> {
        let BuildImageStart { dockerfile, context, build_args, target, platform, tags, .. } = start;
        for (field, text, limit) in [
            ("dockerfile", &dockerfile, LONGEST_PATH),
            ("context", &context, LONGEST_PATH),
            ("target", &target, LONGEST_NAME),
        ] {
            check_size(field, text, limit)?;
        }
        let context = (!context.is_empty()).then(|| PathBuf::from(context));
        let dockerfile = match (&context, dockerfile.is_empty()) {
            (_, false) => PathBuf::from(dockerfile),
            (Some(context), true) => context.join("Dockerfile"),
            (None, true) => return Err(SpecError::NoDockerfile),
        };
        let options = BuildOptions {
            arguments: arguments(build_args)?,
            target: (!target.is_empty()).then_some(target),
            platform: self::platform(&platform)?,
        };
        Ok(Self { dockerfile, context, options, no_cache: start.no_cache, tags: names(&tags)? })
    }
}

fn check_size(field: &'static str, text: &str, limit: usize) -> Result<(), SpecError> {
    let size = text.len();
    if size > limit { Err(SpecError::TooLong { field, size, limit }) } else { Ok(()) }
}

fn arguments(given: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, SpecError> {
    let (field, number, limit) = ("build_args", given.len(), MOST_ARGUMENTS);
    if number > limit {
        return Err(SpecError::TooMany { field, number, limit });
    }
    for (name, value) in &given {
        check_size(field, name, LONGEST_NAME)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let begins_well = name.as_bytes().first().is_some_and(|first| !is_digit(first));
        if !begins_well || !name.bytes().all(plain) {
            return Err(SpecError::ArgumentName { name: name.clone() });
        }
        let is_odd = |letter: char| letter.is_control() && letter != '\t';
        if value.len() > LONGEST_VALUE || value.contains(is_odd) {
            return Err(SpecError::ArgumentValue { name: name.clone(), limit: LONGEST_VALUE });
        }
    }
    Ok(given)
}

fn platform(text: &str) -> Result<Option<Platform>, SpecError> {
    if text.is_empty() { Ok(None) } else { Ok(Some(text.parse()?)) }
}

fn names(tags: &[String]) -> Result<Vec<Reference>, SpecError> {
    let (field, number, limit) = ("tags", tags.len(), MOST_TAGS);
    if number > limit {
        return Err(SpecError::TooMany { field, number, limit });
    }
    let mut names: Vec<Reference> = Vec::new();
    for tag in tags {
        check_size(field, tag, LONGEST_TAG)?;
        let name: Reference = tag.parse().map_err(|_| SpecError::Tag { tag: tag.clone() })?;
        if name.is_digest() {
            return Err(SpecError::Tag { tag: tag.clone() });
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> BuildImageStart {
        BuildImageStart { context: "/w/app".to_owned(), ..BuildImageStart::default() }
    }

    #[test]
    fn what_a_call_leaves_out_is_as_docker_has_it() {
        let spec = BuildSpec::read(start()).unwrap();
        assert_eq!(spec.dockerfile, Path::new("/w/app/Dockerfile"));
        assert_eq!(spec.context.as_deref(), Some(Path::new("/w/app")));
        assert_eq!((spec.options, spec.no_cache), (BuildOptions::default(), false));
        let dockerfile = "/w/x/D".to_owned();
        let spec = BuildSpec::read(BuildImageStart { dockerfile, ..start() }).unwrap();
        assert_eq!(spec.dockerfile, Path::new("/w/x/D"));
        let dockerfile = "/w/x/D".to_owned();
        let alone = BuildImageStart { dockerfile, ..BuildImageStart::default() };
        assert_eq!(BuildSpec::read(alone).unwrap(), BuildSpec::of(Path::new("/w/x/D")));
        let twice = ["r.example/app", "r.example/app:latest", "busybox:1"].map(str::to_owned);
        let spec = BuildSpec::read(BuildImageStart { tags: twice.into(), ..start() }).unwrap();
        let names: Vec<_> = spec.tags.iter().map(Reference::to_string).collect();
        assert_eq!(names, ["r.example/app:latest", "index.docker.io/library/busybox:1"]);
    }

    #[test]
    fn what_is_wrong_with_a_call_is_named() {
        let argument = |name: &str, value: &str| BuildImageStart {
            build_args: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..start()
        };
        let tag = |tag: &str| BuildImageStart { tags: vec![tag.to_owned()], ..start() };
        let long = |length: usize| "x".repeat(length);
        let many = |number: usize| (0..number).map(|at| format!("r.example/a:{at}")).collect();
        let digest = format!("r.example/a@sha256:{}", "0".repeat(64));
        for (call, part) in [
            (BuildImageStart::default(), "`dockerfile`"),
            (BuildImageStart { dockerfile: long(4097), ..start() }, "`dockerfile`"),
            (BuildImageStart { context: long(4097), ..start() }, "`context`"),
            (BuildImageStart { target: long(129), ..start() }, "`target`"),
            (BuildImageStart { platform: "plan9/mips".into(), ..start() }, "plan9/mips"),
            (BuildImageStart { tags: many(17), ..start() }, "`tags`"),
            (argument("A B", ""), "A B"),
            (argument("1A", ""), "1A"),
            (argument("", ""), "\"\""),
            (argument(&long(129), ""), "`build_args`"),
            (argument("A", "secret\n"), "A"),
            (argument("A", &long(4097)), "A"),
            (tag("a b"), "a b"),
            (tag(&digest), "sha256"),
            (tag(&long(641)), "`tags`"),
        ] {
            let message = BuildSpec::read(call).unwrap_err().to_string();
            assert!(message.contains(part) && message.len() < 1000, "{part}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
        BuildSpec::read(argument("_A1", "it's \"fine\"\t$X \\")).unwrap();
    }
}
