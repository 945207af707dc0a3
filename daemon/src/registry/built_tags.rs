//! Tags of built images. An image that goes with its job has `<step>_<runner>`: the uid of the runner pod
//! tells it from those of other runners, which may have given a step the same id.
//!
//! Those of images that are kept name their own end, so that it is known without asking how long an image is
//! used, in seconds since 1970:
//!
//! - `key_<key>_<end>`: others find the image by it.
//! - `step_<step>_<dockerfile>_<end>`: the build pushed it; a hash names the Dockerfile.
//! - `layer_<name>_<end>`: builds find a layer by it, in the repository of cached layers.
//! - `note_<hash>_<end>`: hookd has noted something by it.
//! - `old_<digest>_<end>`: newer images of its Dockerfile have taken the image's place.
//!
//! No id of a step has an underscore: no caller can have its own build pushed under the tag of a key.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::ids::StepId;

const KEY: &str = "key";
const LAYER: &str = "layer";
const STEP: &str = "step";
const NOTE: &str = "note";
const OLD: &str = "old";
/// Digits that name a Dockerfile.
const DOCKERFILE: usize = 16;
/// Digits that name an image.
const IMAGE: usize = 32;

/// What a tag says about its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltTag<'a> {
    /// Who uses it.
    pub kind: Kind<'a>,
    /// No build uses the image by this tag from then on.
    pub end: Timestamp,
}

/// See [`BuiltTag::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Whoever needs what the key is of.
    Key,
    /// Builds with the same instructions.
    Layer,
    /// hookd, which has noted something.
    Note,
    /// The step that built it of this Dockerfile.
    Step {
        /// See [`dockerfile_id`].
        dockerfile: &'a str,
    },
    /// Jobs that found it before.
    Old,
}

/// The tag of a key (hexadecimal digits) at this time. From its end on it is another.
pub fn of_key(hex: &str, now: Timestamp, max_age: Duration) -> String {
    format!("{KEY}_{hex}_{}", end(hex, now, max_age))
}

/// The tag of a cached layer whose name has these hexadecimal digits, at this time, as [`of_key`].
pub fn of_layer(hex: &str, now: Timestamp, max_age: Duration) -> String {
    format!("{LAYER}_{hex}_{}", end(hex, now, max_age))
}

/// The tag of a note of a kind, by the hash of what it is about. From its end on it is another.
pub fn of_note(kind: &str, about: &[u8; 32], now: Timestamp, max_age: Duration) -> String {
    let digest: [u8; 32] = Sha256::new().chain_update(kind).chain_update(about).finalize().into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{NOTE}_{hex}_{}", end(&hex, now, max_age))
}

/// The end at this time of what has these digits.
fn end(hex: &str, now: Timestamp, max_age: Duration) -> i64 {
    let age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX).max(1);
    // Not all keys at the same time.
    let digits = hex.get(..8).unwrap_or_default();
    let offset = i64::from_str_radix(digits, 16).unwrap_or_default() % age;
    (now.as_second() + offset)
        .div_euclid(age)
        .saturating_add(1)
        .saturating_mul(age)
        .saturating_sub(offset)
}

/// The tag of an image that goes with its job; `runner` is the uid of the runner pod.
pub fn of_job(step: &StepId, runner: &str) -> String {
    format!("{step}_{runner}")
}

/// The tag under which the build of a step pushes its image; `dockerfile` is a [`dockerfile_id`].
pub fn of_step(step: &StepId, dockerfile: &str, now: Timestamp, max_age: Duration) -> String {
    let age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
    let end = now.checked_add(age).unwrap_or(Timestamp::MAX);
    format!("{STEP}_{step}_{dockerfile}_{}", end.as_second())
}

/// The tag of an image (its digest) that no further build finds from now on.
pub fn of_old(digest: &str, now: Timestamp) -> String {
    let hex = digest.rsplit(':').next().unwrap_or_default();
    format!("{OLD}_{}_{}", hex.get(..IMAGE).unwrap_or(hex), now.as_second())
}

/// Digits that name a Dockerfile by its path in the work directory, which has the action's name and version.
pub fn dockerfile_id(path: &Path) -> String {
    let mut digits = String::new();
    for byte in &Sha256::digest(path.as_os_str().as_bytes())[..DOCKERFILE / 2] {
        // To a string it cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// What a tag says; none: it has another form.
pub fn read(tag: &str) -> Option<BuiltTag<'_>> {
    let mut parts = tag.split('_');
    let kind = match (parts.next()?, parts.next().filter(|name| !name.is_empty())?) {
        (KEY, _) => Kind::Key,
        (LAYER, _) => Kind::Layer,
        (NOTE, _) => Kind::Note,
        (OLD, _) => Kind::Old,
        (STEP, _) => Kind::Step { dockerfile: parts.next().filter(|id| !id.is_empty())? },
        _ => return None,
    };
    let end = Timestamp::from_second(parts.next()?.parse().ok()?).ok()?;
    parts.next().is_none().then_some(BuiltTag { kind, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn end_of(tag: &str) -> i64 {
        read(tag).unwrap().end.as_second()
    }

    #[test]
    fn a_tag_is_the_same_until_its_end_and_another_from_then_on() {
        let key = "3f".repeat(32);
        let now = at(1_800_000_000);
        let tag = of_key(&key, now, WEEK);
        let end = end_of(&tag);
        assert!((1..=604_800).contains(&(end - now.as_second())), "{tag}");
        assert_eq!(of_key(&key, at(end - 1), WEEK), tag);
        assert_eq!(end_of(&of_key(&key, at(end), WEEK)), end + 604_800);
        // Each key has an end of its own.
        assert_ne!(end_of(&of_key(&"a0".repeat(32), now, WEEK)), end_of(&tag));
        let note = of_note("a", &[0; 32], now, WEEK);
        assert!(end_of(&note) > now.as_second() && note.len() <= 128, "{note}");
        assert_ne!(note, of_note("b", &[0; 32], now, WEEK));
    }

    #[test]
    fn no_step_can_be_called_as_a_key() {
        let tag = of_key(&"3f".repeat(32), at(1_800_000_000), WEEK);
        assert!(tag.parse::<StepId>().is_err() && tag.len() <= 128, "{tag}");
        let longest: StepId = "a".repeat(StepId::MAX_LEN).parse().unwrap();
        let hostile = dockerfile_id(Path::new("_actions/key_0_1/../../\u{0}/Dockerfile"));
        let tag = of_step(&longest, &hostile, at(1_800_000_000), WEEK);
        assert!(tag.len() <= 128 && !tag.contains(['/', '.']), "{tag}");
        let expected =
            BuiltTag { kind: Kind::Step { dockerfile: &hostile }, end: at(1_800_604_800) };
        assert_eq!(read(&tag), Some(expected));
    }

    #[test]
    fn an_image_that_was_replaced_ends_at_once() {
        let digest = format!("sha256:{}", "3f".repeat(32));
        let tag = of_old(&digest, at(1_800_000_000));
        assert_eq!(tag, format!("old_{}_1800000000", "3f".repeat(16)));
        assert_eq!(read(&tag), Some(BuiltTag { kind: Kind::Old, end: at(1_800_000_000) }));
    }

    #[test]
    fn dockerfiles_are_told_apart_by_their_paths() {
        let id = |path: &str| dockerfile_id(Path::new(path));
        assert_eq!(id("_actions/o/r/v1/Dockerfile"), id("_actions/o/r/v1/Dockerfile"));
        assert_ne!(id("_actions/o/r/v1/Dockerfile"), id("_actions/o/r/v2/Dockerfile"));
        assert_eq!(id("a").len(), 16);
    }

    #[test]
    fn other_tags_have_no_end() {
        let others =
            ["1a2b", "latest", "key_", "key_0", "key_0_x", "step_1a_1", "old__1", "key_0_1_1"];
        for other in others {
            assert_eq!(read(other), None, "{other}");
        }
        let never = Duration::MAX;
        assert!(read(&of_step(&"a".parse().unwrap(), "0", at(0), never)).is_some());
    }
}
