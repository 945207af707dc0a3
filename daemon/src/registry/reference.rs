//! Names of images, as docker and the kubelet read them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Docker Hub, as its API is called.
pub const DOCKER_HUB: &str = "index.docker.io";

/// "registry/repository:tag@digest" with nothing left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host, with its port if it has one.
    pub registry: String,
    /// Path within the registry.
    pub repository: String,
    /// A digest if there is one, otherwise a tag.
    pub version: String,
}

/// The text names no image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no image")]
pub struct InvalidReference(String);

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (name, digest) = text.split_once('@').map_or((text, None), |(n, d)| (n, Some(d)));
        // A colon before a slash belongs to a port.
        let colon = name.rfind(':').filter(|at| !name[*at..].contains('/'));
        let (name, tag) = colon.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])));
        // A capital is none of a repository: docker takes such a name for that of a host.
        let is_host = |first: &str| {
            first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase())
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
            Some(_) => (DOCKER_HUB, name.to_owned()),
            None => (DOCKER_HUB, format!("library/{name}")),
        };
        let registry = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let plain = |text: &str, more: &[char]| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || more.contains(&letter))
        };
        let is_end = |letter: char| letter.is_ascii_alphanumeric();
        let is_part =
            |part: &str| part.starts_with(is_end) && part.ends_with(is_end) && !part.contains("..");
        let repository = match path.split_once('/') {
            None if registry == DOCKER_HUB => format!("library/{path}"),
            _ => path,
        };
        let version = digest.or(tag).unwrap_or("latest").to_owned();
        let valid = is_address(registry)
            && plain(&repository, &['.', '-', '_', '/'])
            && repository.split('/').all(is_part)
            && plain(&version, &['.', '-', '_', ':', '+'])
            // Beside a digest a tag counts for nothing.
            && tag.is_none_or(|tag| plain(tag, &['.', '-', '_']));
        let registry = registry.to_owned();
        if valid {
            Ok(Self { registry, repository, version })
        } else {
            Err(InvalidReference(text.to_owned()))
        }
    }
}

/// A name or an address, and a port: no path that leads elsewhere.
fn is_address(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("ip", port),
        Some(_) => return false,
        None => registry.find(':').map_or((registry, ""), |at| registry.split_at(at)),
    };
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        label.bytes().all(inner)
            && label.bytes().next().is_some_and(|byte| byte != b'-')
            && !label.ends_with('-')
    };
    let has_port = port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    host.split('.').all(is_label) && (port.is_empty() || has_port)
}

/// An image that a Dockerfile names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedImage {
    /// Line of the instruction.
    pub line: usize,
    /// The image.
    pub reference: Reference,
}

impl Reference {
    /// True if it names the image's bytes, and not what a registry calls by a tag today.
    pub fn is_digest(&self) -> bool {
        self.version.contains(':')
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_digest() { '@' } else { ':' };
        write!(f, "{}/{}{mark}{}", self.registry, self.repository, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_leaves_out_is_filled_in_as_docker_does() {
        for (name, whole) in [
            ("busybox", "index.docker.io/library/busybox:latest"),
            ("busybox:1", "index.docker.io/library/busybox:1"),
            ("docker.io/busybox", "index.docker.io/library/busybox:latest"),
            ("a/b:2", "index.docker.io/a/b:2"),
            ("localhost/b", "localhost/b:latest"),
            ("LOCAL/b", "LOCAL/b:latest"),
            ("localhost:30500/hookd/build@sha256:0", "localhost:30500/hookd/build@sha256:0"),
            ("ghcr.io/a/b/c:v1@sha256:0", "ghcr.io/a/b/c@sha256:0"),
        ] {
            assert_eq!(name.parse::<Reference>().unwrap().to_string(), whole);
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        // Found by `make fuzz`: hosts that are none.
        for host in
            ["..", ".", "-.a", "a-.b", "a..b", "a.b:", "a.b:x", "a.b:70000", "[x]", "[::1", "a]:1"]
        {
            assert!(format!("{host}/b").parse::<Reference>().is_err(), "{host}");
        }
        for host in
            ["a.b:5000", "10.0.0.1:5000", "[::1]:5000", "[2001:db8::1]", "localhost", "A.b-c"]
        {
            assert!(format!("{host}/b").parse::<Reference>().is_ok(), "{host}");
        }
        for text in [
            "", "a b", "a/../b", "a?x", "ghcr.io/", "a:", "a@", "x/a#b", "a%2e", "a: @x", ".._",
            "a/_b", "a/b-", "a..b/c", "a//b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
