//! Names of services: of their containers, and those by which a job reaches them.
//!
//! The runner does not send hooks the key of a service in the workflow (run#2783), so a service is
//! found under the name of its image and under what its options name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::HostAlias;

use crate::names;
use crate::objects::docker::options::{CreateOptions, ExtraHost};

/// What each container finds there already.
const LOCALHOST: &str = "localhost";
/// docker's name for the address of its host.
const HOST_GATEWAY: &str = "host-gateway";
/// Room for a number behind it, in a label.
const LONGEST: usize = 50;

/// Names of the containers of services, by their images: those that occur more than once are
/// numbered, and none is that of another container of ours.
pub fn container_names(images: &[&str]) -> Vec<String> {
    let bases: Vec<_> = images.iter().map(|image| label(&base_name(image))).collect();
    let numbered = |at: usize, base: &String| {
        let several = bases.iter().filter(|other| *other == base).count() > 1;
        let number = bases[..at].iter().filter(|other| *other == base).count();
        if several || base == names::JOB_CONTAINER {
            format!("{base}-{number}")
        } else {
            base.clone()
        }
    };
    bases.iter().enumerate().map(|(at, base)| numbered(at, base)).collect()
}

/// The last part of an image's name, without tag and digest.
pub fn base_name(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last).to_ascii_lowercase()
}

/// A container of a pod whose names all containers of the pod are to find.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its name in the pod.
    pub container: &'a str,
    /// Its image, if the container is found under the image's name.
    pub image: Option<&'a str>,
    /// Its options.
    pub options: &'a CreateOptions,
}

/// Names that are the same for all containers of a pod.
#[derive(Debug, Default, PartialEq)]
pub struct Hosts {
    /// For the pod.
    pub aliases: Vec<HostAlias>,
    /// What the user must know.
    pub warnings: Vec<String>,
}

/// What every container of the pod finds at 127.0.0.1, and further hosts of the options. `gateway` is
/// what `host-gateway` stands for: the address of the runner's node; empty if it is not known.
/// `has_job`: a job container shares the pod's network.
pub fn hosts(containers: &[Named<'_>], gateway: &str, has_job: bool) -> Hosts {
    let mut warnings = Vec::new();
    let mut others: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for Named { container, options, .. } in containers {
        for host in &options.hosts {
            match entry(host, gateway) {
                Ok((address, name)) => add(others.entry(address).or_default(), name),
                Err(why) => warnings.push(format!(
                    "Container {container}: `--add-host {}:{}` in `options:` is ignored: {why}",
                    host.name, host.address
                )),
            }
        }
    }
    let mut local: Vec<String> = Vec::new();
    for Named { container, image, options } in containers {
        let given = options.names.iter().map(|name| (name.to_ascii_lowercase(), true));
        let names = image.map(|image| (base_name(image), false)).into_iter().chain(given);
        for (name, is_given) in names.filter(|(name, _)| name != LOCALHOST) {
            if !is_host(&name) {
                if is_given {
                    warnings.push(format!(
                        "Container {container}: nothing is found under {name:?} of `options:`: a host \
                         name has letters, digits, '-' and '.' only"
                    ));
                }
            } else if others.values().any(|names| names.contains(&name)) {
                warnings.push(format!(
                    "Container {container} is not found under {name}, which `--add-host` gives to \
                     another address"
                ));
            } else {
                add(&mut local, name);
            }
        }
    }
    if has_job && containers.iter().any(|named| named.image.is_some()) {
        warnings.push(format!(
            "The job container reaches the services as localhost and as {}, container steps by these \
             names; the runner does not send their names in the workflow: add `--network-alias \
             <name>` to `options:` of a service for another one",
            local.join(", ")
        ));
    }
    for name in local {
        add(others.entry(Ipv4Addr::LOCALHOST.into()).or_default(), name);
    }
    let alias = |(address, hostnames): (IpAddr, Vec<String>)| HostAlias {
        ip: address.to_string(),
        hostnames: Some(hostnames),
    };
    let mut aliases: Vec<_> = others.into_iter().map(alias).collect();
    aliases.sort_by_key(|alias| alias.ip != Ipv4Addr::LOCALHOST.to_string());
    Hosts { aliases, warnings }
}

/// Address and name of an entry of `/etc/hosts`, or why there can be none.
fn entry(host: &ExtraHost, gateway: &str) -> Result<(IpAddr, String), String> {
    let name = host.name.to_ascii_lowercase();
    if name == LOCALHOST {
        return Err("localhost is the pod itself".to_owned());
    }
    if !is_host(&name) {
        return Err(format!(
            "{:?} is not a host name that Kubernetes accepts: use letters, digits, '-' and '.' only",
            host.name
        ));
    }
    let is_gateway = host.address == HOST_GATEWAY;
    let address = if is_gateway { gateway } else { &host.address };
    match address.parse::<IpAddr>() {
        Ok(address) => Ok((address.to_canonical(), name)),
        Err(_) if is_gateway => Err("the address of the runner's node is not known".to_owned()),
        Err(_) => Err(format!("{address:?} is not an IP address; write one, or host-gateway")),
    }
}

fn add(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// A name as a container of a pod may have it.
fn label(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let name: String =
        name.chars().map(|letter| if plain(letter) { letter } else { '-' }).take(LONGEST).collect();
    match name.trim_matches('-') {
        "" => "service".to_owned(),
        name => name.to_owned(),
    }
}

fn is_host(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(names::is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::docker::options;

    #[test]
    fn images_of_one_name_are_numbered_and_odd_names_made_valid() {
        let images =
            ["redis:7", "ghcr.io/x/redis@sha256:1", "My_DB.x:1", "registry:5000/a/job", ":"];
        let names = ["redis-0", "redis-1", "my-db-x", "job-0", "service"];
        assert_eq!(container_names(&images), names);
    }

    fn hosts_of(options: &str) -> Hosts {
        let options = options::parse(options).unwrap();
        hosts(&[Named { container: "job", image: None, options: &options }], "10.0.0.9", true)
    }

    fn alias(ip: &str, names: &[&str]) -> HostAlias {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        HostAlias { ip: ip.to_owned(), hostnames: Some(names) }
    }

    #[test]
    fn a_service_is_found_under_its_images_and_its_options_names() {
        let one = options::parse("--network-alias cache --hostname R1").unwrap();
        let other = options::parse("--name bad_name --add-host api:10.1.1.1").unwrap();
        let named = |container, image, options| Named { container, image: Some(image), options };
        let services = [named("redis", "redis:7", &one), named("postgres", "x/postgres", &other)];
        let found = hosts(&services, "", true);
        let names = ["redis", "cache", "r1", "postgres"];
        assert_eq!(found.aliases, [alias("127.0.0.1", &names), alias("10.1.1.1", &["api"])]);
        assert!(found.warnings[0].contains("postgres") && found.warnings[0].contains("bad_name"));
        assert!(found.warnings[1].contains("redis, cache, r1, postgres"));
        assert_eq!(hosts(&[], "", true), Hosts::default());
    }

    // nektos/act#1835, docker/cli#4399
    #[test]
    fn added_hosts_are_mapped_in_every_spelling_of_docker() {
        for (options, aliases) in [
            ("--add-host git.internal:10.9.8.7", vec![alias("10.9.8.7", &["git.internal"])]),
            ("--add-host=h:host-gateway", vec![alias("10.0.0.9", &["h"])]),
            ("--add-host h=host-gateway", vec![alias("10.0.0.9", &["h"])]),
            (
                "--add-host Artifacts.Corp.example:10.2.3.4",
                vec![alias("10.2.3.4", &["artifacts.corp.example"])],
            ),
            ("--add-host a:::1 --add-host b=[::1]", vec![alias("::1", &["a", "b"])]),
            ("--add-host a:[2001:DB8::0:1]", vec![alias("2001:db8::1", &["a"])]),
            ("--add-host a:::ffff:10.0.0.1", vec![alias("10.0.0.1", &["a"])]),
            ("--add-host a:127.0.0.1 --name b", vec![alias("127.0.0.1", &["a", "b"])]),
            (
                "--hostname build-box --network-alias builder",
                vec![alias("127.0.0.1", &["build-box", "builder"])],
            ),
            ("--network name=x,alias=y", vec![alias("127.0.0.1", &["y"])]),
        ] {
            let found = hosts_of(options);
            assert_eq!(
                (found.aliases, found.warnings),
                (aliases, Vec::<String>::new()),
                "{options}"
            );
        }
    }

    #[test]
    fn a_host_that_kubernetes_refuses_is_named_and_left_out() {
        for (options, named) in [
            ("--add-host build_cache:10.20.30.40", "build_cache"),
            ("--add-host a:", "\"\""),
            ("--add-host a:somewhere", "somewhere"),
            ("--add-host a:010.1.1.1", "010.1.1.1"),
            ("--add-host a:10.1.1", "10.1.1"),
            ("--add-host a:10.1.1.1:80", "10.1.1.1:80"),
            ("--add-host a:fe80::1%eth0", "%eth0"),
            ("--add-host -a:10.1.1.1", "-a"),
            ("--add-host a..b:10.1.1.1", "a..b"),
            ("--add-host *.example:10.1.1.1", "*.example"),
            ("--add-host localhost:10.1.1.1", "localhost"),
            ("--name under_score", "under_score"),
        ] {
            let found = hosts_of(options);
            assert_eq!((found.aliases.len(), found.warnings.len()), (0, 1), "{options}");
            assert!(
                found.warnings[0].contains(named) && found.warnings[0].contains("Container job")
            );
        }
        let options = options::parse("--add-host a:host-gateway").unwrap();
        let unknown =
            hosts(&[Named { container: "job", image: None, options: &options }], "", true);
        assert!(unknown.aliases.is_empty() && unknown.warnings[0].contains("node is not known"));
    }

    #[test]
    fn an_added_host_wins_over_a_services_name() {
        let job = options::parse("--add-host redis:10.1.1.1").unwrap();
        let service = options::parse("--name cache").unwrap();
        let named = |container, image, options| Named { container, image, options };
        let found =
            hosts(&[named("job", None, &job), named("redis", Some("redis"), &service)], "", true);
        assert_eq!(found.aliases, [alias("127.0.0.1", &["cache"]), alias("10.1.1.1", &["redis"])]);
        assert!(found.warnings[0].contains("not found under redis"), "{:?}", found.warnings);
    }
}
