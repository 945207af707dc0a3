//! Where a registry may send us: redirects, upload locations, and token services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::names::lookup;

/// True if a request may go from the registry at `origin` to `target`. HTTPS never leads to HTTP; a
/// link-local address (the node's metadata service) is never reached, and a loopback address only if
/// the registry is itself on one. Names are checked once more when they are resolved: [`PublicResolver`].
pub(super) fn is_allowed(origin: &Url, from: &Url, target: &Url) -> bool {
    let secure = match target.scheme() {
        "https" => true,
        "http" => origin.scheme() == "http" && from.scheme() == "http",
        _ => false,
    };
    let anonymous = target.username().is_empty() && target.password().is_none();
    let reachable = target.origin() == origin.origin()
        || match locality(target) {
            Locality::Remote => true,
            Locality::Loopback => locality(origin) == Locality::Loopback,
            Locality::Node => false,
        };
    secure && anonymous && target.has_host() && reachable
}

/// What a host is to this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locality {
    /// Another machine or pod, or a name that must be resolved first.
    Remote,
    /// This pod.
    Loopback,
    /// This node, its cloud's metadata service, or no single machine.
    Node,
}

/// The locality of the URL's host.
pub(super) fn locality(url: &Url) -> Locality {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    match host.parse() {
        Ok(address) => locality_of(address),
        Err(_) if host == "localhost" || host.ends_with(".localhost") => Locality::Loopback,
        Err(_) => Locality::Remote,
    }
}

fn locality_of(address: IpAddr) -> Locality {
    /// AWS has its metadata service at a unique local address too.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Locality::Loopback,
        IpAddr::V6(METADATA | Ipv6Addr::UNSPECIFIED) => Locality::Node,
        IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast() => {
            Locality::Node
        }
        // ::ffff:127.0.0.1 and ::127.0.0.1 reach what 127.0.0.1 reaches.
        IpAddr::V6(address) => address.to_ipv4().map_or(Locality::Remote, locality_of_v4),
        IpAddr::V4(address) => locality_of_v4(address),
    }
}

fn locality_of_v4(address: Ipv4Addr) -> Locality {
    let local = address.is_link_local() || address.is_multicast() || address.is_broadcast();
    match address.octets()[0] {
        127 => Locality::Loopback,
        // 0.0.0.0 reaches this host.
        0 => Locality::Node,
        _ if local => Locality::Node,
        _ => Locality::Remote,
    }
}

/// Resolves names, and drops the addresses that a registry must not lead to.
#[derive(Debug)]
pub(super) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = lookup(name.as_str()).await?;
            let public: Vec<_> =
                found.filter(|address| locality_of(address.ip()) == Locality::Remote).collect();
            if public.is_empty() {
                return Err(format!("{name} has no address that a registry may lead to").into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_keep_https_and_stay_off_local_addresses() {
        for (origin, target, allowed) in [
            ("https://r.example", "https://cdn.example/x", true),
            ("https://r.example", "https://10.0.0.1/x", true),
            ("https://r.example", "http://cdn.example/x", false),
            ("https://r.example", "http://r.example/x", false),
            ("http://r.example", "http://cdn.example/x", true),
            ("https://r.example", "https://u:p@cdn.example/x", false),
            ("https://r.example", "ftp://cdn.example/x", false),
            ("https://r.example", "https://127.0.0.1/x", false),
            ("https://r.example", "https://2130706433/x", false),
            ("https://r.example", "https://0x7f.1/x", false),
            ("https://r.example", "https://0.0.0.0/x", false),
            ("https://r.example", "https://[::1]/x", false),
            ("https://r.example", "https://[::ffff:127.0.0.1]/x", false),
            ("https://r.example", "https://[fe80::1]/x", false),
            ("https://r.example", "https://[fd00:ec2::254]/x", false),
            ("http://r.example", "http://169.254.169.254/latest/meta-data", false),
            ("https://r.example", "https://LOCALHOST./x", false),
            ("https://r.example", "https://a.localhost/x", false),
            ("http://localhost:5000", "http://localhost:5000/x", true),
            ("http://localhost:5000", "http://127.0.0.1:9000/x", true),
            ("http://localhost:5000", "http://169.254.169.254/x", false),
            ("http://169.254.1.1", "http://169.254.1.1/x", true),
            ("http://169.254.1.1", "http://169.254.169.254/x", false),
        ] {
            let origin = url(origin);
            assert_eq!(is_allowed(&origin, &origin, &url(target)), allowed, "{origin} {target}");
        }
    }

    #[test]
    fn a_chain_of_redirects_never_goes_back_to_http() {
        let (origin, between) = (url("http://r.example"), url("https://cdn.example"));
        assert!(!is_allowed(&origin, &between, &url("http://r.example/x")));
    }

    #[tokio::test]
    async fn a_name_of_a_local_address_has_no_address_for_a_redirect() {
        let resolving = PublicResolver.resolve("localhost".parse().unwrap());
        assert!(resolving.await.is_err());
    }
}
