//! Names that must not be mixed up, and texts that must not be guessed.

use std::fmt;
use std::io;
use std::str::FromStr;

use hookd_api::transport::MAX_STEP_ID_LEN;
use rustix::rand::{GetRandomFlags, getrandom};

/// 32 hexadecimal digits of the kernel's random bytes.
///
/// # Errors
/// The kernel has none.
pub fn unguessable() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// The client's name of a step: 1 to 40 of [a-z0-9-], starting and ending with a letter or digit,
/// so that names and labels of Kubernetes objects can carry it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepId(String);

impl StepId {
    /// The longest id.
    pub const MAX_LEN: usize = MAX_STEP_ID_LEN;

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepId {
    type Err = InvalidStepId;

    fn from_str(text: &str) -> Result<Self, InvalidStepId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().zip(bytes.last());
        let valid = bytes.len() <= Self::MAX_LEN
            && ends.is_some_and(|(first, last)| plain(*first) && plain(*last))
            && bytes.iter().all(|byte| plain(*byte) || *byte == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidStepId(text.to_owned())) }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a step id.
#[derive(Debug, thiserror::Error)]
#[error("step_id {0:?} is not 1 to 40 characters of [a-z0-9-] with a letter or digit at each end")]
pub struct InvalidStepId(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unguessable_texts_are_long_and_differ() {
        let (one, other) = (unguessable().unwrap(), unguessable().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }

    #[test]
    fn a_step_id_fits_a_label_and_a_name() {
        for good in ["a", "0", "a-b", &"a".repeat(40)] {
            assert!(good.parse::<StepId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", &"a".repeat(41)] {
            assert!(bad.parse::<StepId>().is_err(), "{bad}");
        }
    }
}
