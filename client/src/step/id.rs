//! Names that no process can guess: of steps, and of files beside those of a job.

use std::fs::File;
use std::io::{self, Read as _};

/// 20 characters of 5 bits: no two steps of a cluster ever share a name, and a Job's name has room
/// for more.
const LENGTH: usize = 20;
/// 32 characters that hookd takes anywhere in a name.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A name that no other step has.
pub(crate) fn fresh() -> io::Result<String> {
    let mut random = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_keep_to_the_rules_of_the_api() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), LENGTH);
        assert!(one.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }
}
