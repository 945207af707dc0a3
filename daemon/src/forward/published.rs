//! `ports:` of a service as docker publishes them: which port of the runner leads to which port of
//! the container.

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The port before the colon; none: any that is free.
    pub host: Option<u16>,
    /// The port of the container.
    pub container: u16,
}

/// Reads mappings that [`crate::objects::docker::ports::parse`] has accepted; it is the one that refuses.
pub fn parse(mappings: &[String]) -> Vec<Published> {
    mappings.iter().filter_map(|mapping| one(mapping.trim())).flatten().collect()
}

fn one(mapping: &str) -> Option<Vec<Published>> {
    let (numbers, protocol) = mapping.split_once('/').unwrap_or((mapping, "tcp"));
    // [address:][host port:]container port. The address is one of a docker host: here every port
    // is one of the runner's loopback.
    let (before, container) = numbers.rsplit_once(':').unwrap_or(("", numbers));
    let (first, last) = range(container)?;
    let host = before.rsplit(':').next().filter(|host| !host.is_empty());
    let host = match host {
        Some(host) => Some(range(host)?.0),
        None => None,
    };
    let published = (first..=last).map(|container| Published {
        protocol: protocol.to_ascii_lowercase(),
        host: host.and_then(|host| host.checked_add(container - first)),
        container,
    });
    Some(published.collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_of_docker_names_both_ports() {
        for (mapping, protocol, expected) in [
            ("80", "tcp", vec![(None, 80)]),
            ("8080:80", "tcp", vec![(Some(8080), 80)]),
            ("127.0.0.1:8080:80/TCP", "tcp", vec![(Some(8080), 80)]),
            ("127.0.0.1::80", "tcp", vec![(None, 80)]),
            ("[::1]:8080:80", "tcp", vec![(Some(8080), 80)]),
            ("53:53/udp", "udp", vec![(Some(53), 53)]),
            ("7000-7001:80-81", "tcp", vec![(Some(7000), 80), (Some(7001), 81)]),
            ("6000-6001", "tcp", vec![(None, 6000), (None, 6001)]),
            ("nonsense", "", vec![]),
        ] {
            let published = parse(&[mapping.to_owned()]);
            let found: Vec<_> = published.iter().map(|port| (port.host, port.container)).collect();
            assert_eq!(found, expected, "{mapping}");
            assert!(published.iter().all(|port| port.protocol == protocol), "{mapping}");
        }
    }
}
