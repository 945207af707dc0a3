//! Tags of built images that are kept. Each names its own end, so that it is known without asking how long
//! an image is used: `key_<key>_<end>` and `step_<step>_<end>`, the end in seconds since 1970. So do notes,
//! `note_<hash>_<end>`.
//!
//! No id of a step has an underscore: no caller can have its own build pushed under the tag of a key.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::ids::StepId;

const KEY: &str = "key_";
const STEP: &str = "step_";
const NOTE: &str = "note_";

/// The tag of a key (hexadecimal digits) at this time. From its end on it is another.
pub fn of_key(hex: &str, now: Timestamp, max_age: Duration) -> String {
    until_end(KEY, hex, now, max_age)
}

/// The tag of a note of a kind, by the hash of what it is about. From its end on it is another.
pub fn of_note(kind: &str, about: &[u8; 32], now: Timestamp, max_age: Duration) -> String {
    let digest: [u8; 32] = Sha256::new().chain_update(kind).chain_update(about).finalize().into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    until_end(NOTE, &hex, now, max_age)
}

fn until_end(kind: &str, hex: &str, now: Timestamp, max_age: Duration) -> String {
    let age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX).max(1);
    // Not all keys at the same time.
    let digits = hex.get(..8).unwrap_or_default();
    let offset = i64::from_str_radix(digits, 16).unwrap_or_default() % age;
    let end = (now.as_second() + offset)
        .div_euclid(age)
        .saturating_add(1)
        .saturating_mul(age)
        .saturating_sub(offset);
    format!("{kind}{hex}_{end}")
}

/// The tag under which the build of a step pushes its image.
pub fn of_step(step: &StepId, now: Timestamp, max_age: Duration) -> String {
    let age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
    let end = now.checked_add(age).unwrap_or(Timestamp::MAX);
    format!("{STEP}{step}_{}", end.as_second())
}

/// The end that a tag names; none: it has another form.
pub fn end_of(tag: &str) -> Option<Timestamp> {
    let rest = [KEY, STEP, NOTE].iter().find_map(|kind| tag.strip_prefix(kind))?;
    let (_, end) = rest.split_once('_')?;
    Timestamp::from_second(end.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_tag_is_the_same_until_its_end_and_another_from_then_on() {
        let key = "3f".repeat(32);
        let now = at(1_800_000_000);
        let tag = of_key(&key, now, WEEK);
        let end = end_of(&tag).unwrap().as_second();
        assert!((1..=604_800).contains(&(end - now.as_second())), "{tag}");
        assert_eq!(of_key(&key, at(end - 1), WEEK), tag);
        assert_eq!(end_of(&of_key(&key, at(end), WEEK)).unwrap().as_second(), end + 604_800);
        // Each key has an end of its own.
        assert_ne!(end_of(&of_key(&"a0".repeat(32), now, WEEK)), end_of(&tag));
        let note = of_note("a", &[0; 32], now, WEEK);
        assert!(end_of(&note).is_some() && note != of_note("b", &[0; 32], now, WEEK), "{note}");
    }

    #[test]
    fn no_step_can_be_called_as_a_key() {
        let tag = of_key(&"3f".repeat(32), at(1_800_000_000), WEEK);
        assert!(tag.parse::<StepId>().is_err() && tag.len() <= 128, "{tag}");
        let longest: StepId = "a".repeat(StepId::MAX_LEN).parse().unwrap();
        let tag = of_step(&longest, at(1_800_000_000), WEEK);
        assert!(!tag.starts_with(KEY) && tag.len() <= 128, "{tag}");
        assert_eq!(end_of(&tag), Some(at(1_800_604_800)));
    }

    #[test]
    fn other_tags_have_no_end() {
        for other in ["1a2b", "latest", "key_", "key_0", "key_0_x", "step_1a_"] {
            assert_eq!(end_of(other), None, "{other}");
        }
        let never = Duration::MAX;
        assert!(end_of(&of_step(&"a".parse().unwrap(), at(0), never)).is_some());
    }
}
