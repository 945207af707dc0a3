//! `ports:` of a container: what of them a pod has.
//!
//! All containers of a job share the pod's network, so a step reaches a service at its container
//! port. A host port would be one of the node, for which jobs would fight (ARC#2890): there is none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ContainerPort;

use crate::error::Failure;
use crate::objects::error::SpecError;

/// A range that is longer is a mistake.
const LONGEST_RANGE: u16 = 1000;

/// The ports of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    /// Protocol and port, in the order of the workflow.
    pub ports: Vec<(String, u16)>,
    /// `8080:80` and the like, where the port before the colon is not published.
    pub moved: Vec<String>,
}

/// Reads the strings of the workflow.
///
/// # Errors
/// `INVALID_INPUT` for what docker would not take either.
pub fn parse(mappings: &[String]) -> Result<Ports, Failure> {
    let mut found = Ports::default();
    for mapping in mappings {
        parse_one(mapping, &mut found)
            .ok_or_else(|| SpecError::InvalidPort { mapping: mapping.clone() })?;
    }
    Ok(found)
}

fn parse_one(mapping: &str, found: &mut Ports) -> Option<()> {
    let (numbers, protocol) = mapping.trim().split_once('/').unwrap_or((mapping.trim(), "tcp"));
    let protocol = protocol.to_ascii_uppercase();
    if !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP") {
        return None;
    }
    // [address:][host port:]container port; an IPv6 address stands in brackets.
    let (before, container) = numbers.rsplit_once(':').unwrap_or(("", numbers));
    let (first, last) = range(container)?;
    let host = before.rsplit(':').next().filter(|host| !host.is_empty());
    if let Some(host) = host {
        let (host_first, host_last) = range(host)?;
        (host_last - host_first == last - first).then_some(())?;
        if host_first != first {
            found.moved.push(mapping.to_owned());
        }
    }
    found.ports.extend((first..=last).map(|port| (protocol.clone(), port)));
    Some(())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last && last - first < LONGEST_RANGE).then_some((first, last))
}

impl Ports {
    /// For the pod.
    pub fn of_container(&self) -> Option<Vec<ContainerPort>> {
        let port = |(protocol, port): &(String, u16)| ContainerPort {
            container_port: i32::from(*port),
            protocol: Some(protocol.clone()),
            ..ContainerPort::default()
        };
        (!self.ports.is_empty()).then(|| self.ports.iter().map(port).collect())
    }

    /// These and what the image exposes, where the workflow does not say that others are meant: it
    /// names none, or one of the image's.
    pub fn with_exposed(&self, exposed: &[String]) -> Self {
        let mut of_image = Self::default();
        for port in exposed.iter().take(usize::from(LONGEST_RANGE)) {
            // What is no port is the image's mistake.
            let _ = parse_one(port, &mut of_image);
        }
        let meant =
            self.ports.is_empty() || self.ports.iter().any(|port| of_image.ports.contains(port));
        let mut all = self.clone();
        if meant {
            let more = of_image.ports.into_iter().filter(|port| !self.ports.contains(port));
            all.ports.extend(more);
        }
        all
    }

    /// For the workflow's contexts: each port, and where steps reach it.
    pub fn in_context(&self) -> BTreeMap<String, String> {
        self.ports.iter().map(|(_, port)| (port.to_string(), port.to_string())).collect()
    }
}

/// Two containers of a pod cannot listen at the same port.
///
/// # Errors
/// `INVALID_INPUT` with the port and both containers.
pub fn check_apart(containers: &[(&str, &Ports)]) -> Result<(), Failure> {
    let mut owners: BTreeMap<&(String, u16), &str> = BTreeMap::new();
    for (name, ports) in containers {
        for port in &ports.ports {
            let Some(other) = owners.insert(port, name).filter(|other| other != name) else {
                continue;
            };
            let (protocol, port) = port.clone();
            let (one, other) = (other.to_owned(), (*name).to_owned());
            return Err(SpecError::PortTaken { port, protocol, one, other }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(mappings: &[&str]) -> Result<Ports, Failure> {
        parse(&mappings.iter().map(|mapping| (*mapping).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_spelling_of_docker_is_read() {
        for (mapping, expected, moved) in [
            ("80", vec![("TCP", 80)], false),
            ("80:80", vec![("TCP", 80)], false),
            ("8080:80/tcp", vec![("TCP", 80)], true),
            ("127.0.0.1:8080:80", vec![("TCP", 80)], true),
            ("127.0.0.1::80", vec![("TCP", 80)], false),
            ("[::1]:8080:80", vec![("TCP", 80)], true),
            ("6000-6002:6000-6002/udp", vec![("UDP", 6000), ("UDP", 6001), ("UDP", 6002)], false),
        ] {
            let found = ports(&[mapping]).unwrap();
            let expected: Vec<_> =
                expected.into_iter().map(|(name, port)| (name.to_owned(), port)).collect();
            assert_eq!((found.ports, found.moved.len() == 1), (expected, moved), "{mapping}");
        }
        for wrong in ["", "x", "0", "70000", "80/icmp", "1-2:80", "9-1", "a:b:c"] {
            assert!(ports(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_port_is_one_of_the_node_arc_2890() {
        let port = ports(&["8080:80"]).unwrap().of_container().unwrap().remove(0);
        assert_eq!((port.container_port, port.host_port), (80, None));
    }

    #[test]
    fn a_port_asked_for_twice_names_both_containers() {
        let (one, other) = (ports(&["6379"]).unwrap(), ports(&["7000:6379"]).unwrap());
        let error = check_apart(&[("redis-0", &one), ("redis-1", &other)]).unwrap_err();
        for word in ["6379", "redis-0", "redis-1"] {
            assert!(error.message.contains(word), "{error}");
        }
        // What the image alone says counts too.
        let exposed = ["6379/tcp".to_owned(), "what".to_owned()];
        let (silent, moved) = (ports(&[]).unwrap(), ports(&["6380"]).unwrap());
        assert!(check_apart(&[("a", &one), ("b", &silent.with_exposed(&exposed))]).is_err());
        assert!(check_apart(&[("a", &one), ("b", &moved.with_exposed(&exposed))]).is_ok());
        let udp = ports(&["6379/udp"]).unwrap();
        assert!(check_apart(&[("redis-0", &one), ("redis-1", &udp)]).is_ok());
    }
}
