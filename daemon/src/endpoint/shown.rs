//! The names of registries in what Kaniko prints: it knows the endpoint only, its user does not.

use std::borrow::Cow;

use bytes::Bytes;

use super::config::{EndpointConfig, PUSH, Place, prefix};

/// The endpoint, where it is itself what is meant.
pub const ENDPOINT: &str = "the build's registry endpoint";
/// Where an image goes that is not pushed.
const IN_CONTAINER: &str = "the step's container";

/// Puts the names of registries in place of the endpoint's.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What Kaniko prints, and what its user reads; the longer ones first.
    names: Vec<(String, String)>,
    /// One of them is in each text that holds any of the names.
    marks: Vec<String>,
}

impl Shown {
    /// For the build with this endpoint.
    pub fn new(config: &EndpointConfig) -> Self {
        let scheme = |host: &String| {
            if config.insecure.contains(host) { "http" } else { "https" }
        };
        let address = &config.address;
        let repositories = config.keyed(&format!("{PUSH}/"));
        let mut names = match &config.push {
            Some(Place { registry: push, .. }) => vec![
                (
                    format!("http://{address}/v2/{repositories}"),
                    format!("{}://{push}/v2/", scheme(push)),
                ),
                (format!("{address}/{repositories}"), format!("{push}/")),
            ],
            None => vec![(config.destination(), IN_CONTAINER.to_owned())],
        };
        if let Some((printed, cache)) = config.cache_repository().zip(config.cache.as_ref()) {
            let Place { registry, repository } = &cache.place;
            names.push((printed, format!("{registry}/{repository}")));
        }
        for image in &config.images {
            let (host, prefix) = (&image.registry, config.keyed(&prefix(&image.registry)));
            let url = format!("{}://{host}/v2/", scheme(host));
            names.push((format!("http://{address}/v2/{prefix}/"), url));
            names.push((format!("{address}/{prefix}/"), format!("{host}/")));
        }
        names.sort_by_key(|(printed, _)| std::cmp::Reverse(printed.len()));
        names.dedup();
        for kind in ["mapped registry", "remapped registry"] {
            names.push((format!(" {kind} {address}"), " its registry".to_owned()));
        }
        names.push((format!("dial tcp {address}"), format!("dial {ENDPOINT}")));
        let push = config.push.as_ref().map_or(ENDPOINT, |push| &push.registry);
        names.push((address.clone(), push.to_owned()));
        // It is nobody's to read.
        names.extend(config.key.iter().map(|key| (key.clone(), "…".to_owned())));
        let marks = [Some(address.clone()), config.key.clone()].into_iter().flatten().collect();
        Self { names, marks }
    }

    /// With further texts that are shown as others.
    #[must_use]
    pub fn hiding(mut self, texts: impl IntoIterator<Item = (String, String)>) -> Self {
        for (printed, shown) in texts {
            self.marks.push(printed.clone());
            self.names.insert(0, (printed, shown));
        }
        self
    }

    /// The text as its user reads it.
    pub fn restore<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        if self.marks.iter().any(|mark| text.contains(mark)) {
            for (printed, shown) in &self.names {
                if text.contains(printed) {
                    text = Cow::Owned(text.replace(printed, shown));
                }
            }
        }
        text
    }

    /// As [`Self::restore`], for output that may hold any bytes.
    pub fn restore_bytes(&self, data: &Bytes) -> Bytes {
        let mut restored = Cow::Borrowed(&data[..]);
        if self.marks.iter().any(|mark| find(data, mark.as_bytes()).is_some()) {
            for (printed, shown) in &self.names {
                if let Some(replaced) = replaced(&restored, printed.as_bytes(), shown.as_bytes()) {
                    restored = Cow::Owned(replaced);
                }
            }
        }
        match restored {
            Cow::Borrowed(_) => data.clone(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    data.windows(wanted.len()).position(|window| window == wanted)
}

/// The bytes with another text in place of the wanted one; None: it is not in them.
fn replaced(data: &[u8], wanted: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut rest = data;
    let mut result = Vec::new();
    while let Some(at) = find(rest, wanted) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(other);
        rest = &rest[at + wanted.len()..];
    }
    if rest.len() == data.len() {
        return None;
    }
    result.extend_from_slice(rest);
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;
    use crate::dockerfile;
    use crate::registry::destination;

    #[test]
    fn a_users_log_names_the_registries_and_never_the_endpoint() {
        let registry = RegistryConfig {
            host: Some("10.96.0.50".into()),
            port: Some("5000".into()),
            node_port: Some("30500".into()),
            ..RegistryConfig::default()
        };
        let destination = destination::of_tag(&registry, "s1").unwrap();
        let images =
            dockerfile::images(b"FROM busybox\nCOPY --from=r.example:5000/c / /\n").unwrap();
        let shown = Shown::new(&EndpointConfig::new(&registry, &destination, &images));
        for (printed, expected) in [
            ("no address", "no address"),
            (
                "Pushing image to 127.0.0.1:5077/push/hookd/build:s1",
                "Pushing image to 10.96.0.50:5000/hookd/build:s1",
            ),
            (
                "POST http://127.0.0.1:5077/v2/push/hookd/build/blobs/uploads/: DENIED: no",
                "POST http://10.96.0.50:5000/v2/hookd/build/blobs/uploads/: DENIED: no",
            ),
            (
                "Retrieving image 127.0.0.1:5077/pull/r.example_5000/c from mapped registry \
                 127.0.0.1:5077",
                "Retrieving image r.example:5000/c from its registry",
            ),
            (
                "GET http://127.0.0.1:5077/v2/pull/index.docker.io/library/busybox/manifests/1",
                "GET https://index.docker.io/v2/library/busybox/manifests/1",
            ),
            (
                "Get \"http://127.0.0.1:5077/v2/\": dial tcp 127.0.0.1:5077: connect: refused",
                "Get \"http://10.96.0.50:5000/v2/\": dial the build's registry endpoint: connect: \
                 refused",
            ),
            ("transport for 127.0.0.1:5077 failed", "transport for 10.96.0.50:5000 failed"),
        ] {
            assert_eq!(shown.restore(printed), expected);
            let bytes = Bytes::from([printed.as_bytes(), b"\xff"].concat());
            assert_eq!(shown.restore_bytes(&bytes), [expected.as_bytes(), b"\xff"].concat());
        }
    }

    #[test]
    fn a_users_log_never_holds_the_value_of_a_build_argument() {
        let config = EndpointConfig::keeping(&RegistryConfig::default(), &[], "k".to_owned());
        let hidden = ("ARG A=s\\ p".to_owned(), "ARG A".to_owned());
        let shown = Shown::new(&config).hiding([hidden]);
        let printed = "INFO[0001] ARG A=s\\ p\nA=s p\n";
        assert_eq!(shown.restore(printed), "INFO[0001] ARG A\nA=s p\n");
        assert_eq!(shown.restore_bytes(&Bytes::from(printed)), "INFO[0001] ARG A\nA=s p\n");
    }

    #[test]
    fn a_users_log_never_holds_the_key_of_a_build_in_the_runner_pod() {
        let images = dockerfile::images(b"FROM busybox\n").unwrap();
        let registry = RegistryConfig::default();
        let config = EndpointConfig::keeping(&registry, &images, "5ec2e7".to_owned());
        let shown = Shown::new(&EndpointConfig { address: "127.0.0.1:40001".into(), ..config });
        for (printed, expected) in [
            (
                "Pushing image to 127.0.0.1:40001/5ec2e7/push/image:latest",
                "Pushing image to the step's container",
            ),
            (
                "Retrieving image manifest 127.0.0.1:40001/5ec2e7/pull/index.docker.io/library/busybox",
                "Retrieving image manifest index.docker.io/library/busybox",
            ),
            ("GET /v2/5ec2e7/pull/x: DENIED", "GET /v2/…/pull/x: DENIED"),
        ] {
            assert_eq!(shown.restore(printed), expected);
            assert_eq!(shown.restore_bytes(&Bytes::from(printed)), expected.as_bytes());
        }
    }
}
