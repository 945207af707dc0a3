//! Digests of what registries keep, as OCI's image specification writes them. Of its algorithms hookd takes
//! sha256 alone: no registry or builder uses another.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// True for `sha256:` and 64 hexadecimal digits in lower case.
pub fn is_digest(text: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

/// The digest of these bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // To a string it cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_in_lower_case_and_nothing_else() {
        let digest = digest_of(b"");
        assert_eq!(
            digest,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(is_digest(&digest));
        let others = [
            digest.to_uppercase(),
            digest.replace("sha256", "sha512"),
            digest[..70].to_owned(),
            format!("{digest}0"),
            format!("sha256:{:.<64}", "../../other/manifests/latest"),
            format!("sha256:{}", "é".repeat(32)),
        ];
        for other in others {
            assert!(!is_digest(&other), "{other}");
        }
    }
}
