//! Types of the settings of builds.

use clap::ValueEnum;

/// See [`BuildConfig::proxy`](super::BuildConfig::proxy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxySource {
    /// HTTP_PROXY, HTTPS_PROXY, NO_PROXY and their kind of hookd's own environment.
    Sidecar,
    /// A build has no proxy.
    None,
}

/// The name of a capability, as Kubernetes writes it, or nothing.
pub(super) fn capability(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let known = |letter: u8| letter.is_ascii_uppercase() || letter == b'_';
    match name.bytes().all(known) {
        true => Ok(name.to_owned()),
        false => Err("not the name of a capability, such as NET_RAW".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_named_with_or_without_its_prefix() {
        for name in ["NET_RAW", "CAP_NET_RAW", " cap_net_raw "] {
            assert_eq!(capability(name).as_deref(), Ok("NET_RAW"));
        }
        assert!(capability("NET-RAW").is_err() && capability("$(X)").is_err());
    }
}
