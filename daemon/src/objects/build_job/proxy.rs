//! The proxy of a build: the sidecar's variables, for the builder and for what a `RUN` starts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::EnvVar;

use crate::config::RegistryConfig;
use crate::names;
use crate::objects::docker::args;
use crate::registry::destination::Destination;

/// The variables that docker hands to a `RUN` without an `ARG` line: programs read either case.
const VARIABLES: [(&str, &str); 5] = [
    ("ALL_PROXY", "all_proxy"),
    ("FTP_PROXY", "ftp_proxy"),
    ("HTTP_PROXY", "http_proxy"),
    ("HTTPS_PROXY", "https_proxy"),
    ("NO_PROXY", NO_PROXY),
];
const NO_PROXY: &str = "no_proxy";
/// What a proxy cannot reach: the build's own pod.
const OWN_POD: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Proxy variables by their names, in both cases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proxy(BTreeMap<&'static str, String>);

impl Proxy {
    /// The proxy variables among `environment`. One that is set in one case only is set in both.
    pub fn from_environment(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let known: BTreeMap<_, _> =
            environment.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let mut variables = BTreeMap::new();
        for (upper, lower) in VARIABLES {
            for (name, other) in [(upper, lower), (lower, upper)] {
                let value = known.get(name).or_else(|| known.get(other));
                variables.extend(value.map(|value| (name, value.clone())));
            }
        }
        Self(variables)
    }

    /// That of this process.
    pub fn of_process() -> Self {
        // Kaniko could not read what is no text, and nor could hookd's own client.
        Self::from_environment(
            std::env::vars_os()
                .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())),
        )
    }

    /// The same proxy, but not for the build's own pod and for a registry within the cluster, if the image
    /// goes to one.
    pub fn bypassed_for(
        mut self,
        destination: Option<&Destination>,
        registry: &RegistryConfig,
    ) -> Self {
        if self.0.is_empty() {
            return self;
        }
        let host = destination.map(|destination| host(&destination.push_host));
        let within = |host: &&str| {
            let within = registry.node_port.is_some() || is_within_cluster(host);
            within && !OWN_POD.contains(host)
        };
        let hosts: Vec<_> = OWN_POD.into_iter().chain(host.filter(within)).collect();
        for name in ["NO_PROXY", NO_PROXY] {
            let list = self.0.entry(name).or_default();
            let present: Vec<_> = list.split(',').map(|one| one.trim().to_owned()).collect();
            if present.iter().any(|one| one == "*") {
                continue;
            }
            for host in hosts.iter().filter(|host| !present.iter().any(|one| one == *host)) {
                let separator = if list.is_empty() { "" } else { "," };
                list.push_str(&format!("{separator}{host}"));
            }
        }
        self
    }

    /// The same proxy, but for the variables with these names.
    #[must_use]
    pub fn without<'n>(mut self, names: impl IntoIterator<Item = &'n String>) -> Self {
        names.into_iter().for_each(|name| drop(self.0.remove(name.as_str())));
        self
    }

    /// Sets the variables in the builder's container and names them as build arguments, as `argument` has
    /// it: their values are in its environment only.
    pub fn apply_to_build(&self, job: &mut Job, argument: impl Fn(&str) -> String) {
        let spec = job.spec.as_mut().and_then(|job| job.template.spec.as_mut());
        let containers = spec.into_iter().flat_map(|pod| &mut pod.containers);
        for container in containers.filter(|container| container.name == names::BUILD_CONTAINER) {
            container.env.get_or_insert_default().extend(self.container_variables());
            let arguments = self.names().map(&argument);
            container.args.get_or_insert_default().extend(arguments);
        }
    }

    /// Sets the variables in the build's registry endpoint, which reaches the registries. A `RUN`
    /// cannot read them there.
    pub fn apply_to_endpoint(&self, job: &mut Job) {
        let spec = job.spec.as_mut().and_then(|job| job.template.spec.as_mut());
        let containers = spec.and_then(|pod| pod.init_containers.as_mut()).into_iter().flatten();
        let endpoints = containers.filter(|container| container.name == names::REGISTRY_ENDPOINT);
        endpoints.for_each(|container| {
            container.env.get_or_insert_default().extend(self.container_variables());
        });
    }

    /// The names of the variables.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// The variables with their values.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))
    }

    fn container_variables(&self) -> impl Iterator<Item = EnvVar> {
        self.0.iter().map(|(name, value)| EnvVar {
            name: (*name).to_owned(),
            value: Some(args::quote_dollars(value)),
            ..EnvVar::default()
        })
    }
}

/// The host without its port.
fn host(authority: &str) -> &str {
    if let Some((host, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// True for what only the cluster's own network reaches; a remote registry may need the proxy.
fn is_within_cluster(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            address.is_private() || address.is_loopback() || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => !host.contains('.') || host.ends_with(".svc") || host.ends_with(".cluster.local"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::destination;

    fn proxy(variables: &[(&str, &str)]) -> Proxy {
        Proxy::from_environment(
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    fn bypass(settings: &[&str], variables: &[(&str, &str)]) -> String {
        let registry = Config::of(settings).registry;
        let destination = destination::of_tag(&registry, "s1").unwrap();
        let proxy = proxy(variables).bypassed_for(Some(&destination), &registry);
        assert_eq!(proxy.0["NO_PROXY"], proxy.0["no_proxy"]);
        proxy.0["NO_PROXY"].clone()
    }

    #[test]
    fn a_proxy_variable_is_set_in_both_cases() {
        let both = proxy(&[("https_proxy", "http://p:1"), ("HTTP_PROXY", "http://p:2")]);
        let set: Vec<_> = both.0.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            set,
            [
                ("HTTPS_PROXY", "http://p:1"),
                ("HTTP_PROXY", "http://p:2"),
                ("http_proxy", "http://p:2"),
                ("https_proxy", "http://p:1"),
            ]
        );
        let differing = proxy(&[("ALL_PROXY", "a"), ("all_proxy", "b"), ("FTP_PROXY", " ")]);
        assert_eq!(differing.0, [("ALL_PROXY", "a".into()), ("all_proxy", "b".into())].into());
        assert_eq!(proxy(&[("PROXY", "x"), ("NO_PROXY", "")]), Proxy::default());
    }

    #[test]
    fn the_own_pod_and_a_registry_in_the_cluster_bypass_the_proxy() {
        let proxied = [("HTTPS_PROXY", "http://p:1")];
        let table: [(&[&str], &str); 7] = [
            (&["--registry-host", "10.96.0.50", "--registry-port", "5000"], ",10.96.0.50"),
            (&["--registry-host", "registry", "--registry-port", "5000"], ",registry"),
            (&["--registry-host", "r.ns.svc", "--registry-node-port", "30500"], ",r.ns.svc"),
            (&["--registry-host", "r.example.com", "--registry-node-port", "1"], ",r.example.com"),
            (&["--registry-host", "127.0.0.1", "--registry-port", "5000"], ""),
            // What is elsewhere may be reached by the proxy only.
            (&["--registry-host", "ghcr.io/org"], ""),
            (&["--registry-host", "r.example.com", "--registry-port", "5000"], ""),
        ];
        for (settings, added) in table {
            let expected = format!("localhost,127.0.0.1,::1{added}");
            assert_eq!(bypass(settings, &proxied), expected, "{settings:?}");
        }
    }

    #[test]
    fn what_bypasses_the_proxy_already_is_kept() {
        let settings = ["--registry-host", "registry", "--registry-port", "5000"];
        let list = |no_proxy| bypass(&settings, &[("HTTP_PROXY", "p"), ("NO_PROXY", no_proxy)]);
        assert_eq!(list("10.0.0.0/8, localhost"), "10.0.0.0/8, localhost,127.0.0.1,::1,registry");
        assert_eq!(list("*"), "*");
    }

    #[test]
    fn without_a_proxy_nothing_is_set() {
        let registry = Config::of(&["--registry-host", "registry"]).registry;
        let destination = destination::of_tag(&registry, "s1").unwrap();
        let none = proxy(&[("PATH", "/bin")]).bypassed_for(Some(&destination), &registry);
        assert_eq!(none, Proxy::default());
    }
}
