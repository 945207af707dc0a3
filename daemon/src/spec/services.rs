//! Names of services: of their containers, and those by which a job reaches them.
//!
//! The runner does not tell hooks the key of a service in the workflow (run#2783), so a service is
//! found under the name of its image and under what its options name.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::HostAlias;

use crate::spec::create_options::CreateOptions;

/// Name of the job container.
pub const JOB: &str = "job";
/// Room for a number behind it, in a label.
const LONGEST: usize = 50;

/// Names of the containers of services, by their images: those that occur more than once are
/// numbered, and none is that of another container of ours.
pub fn container_names(images: &[&str]) -> Vec<String> {
    let bases: Vec<_> = images.iter().map(|image| label(&base_name(image))).collect();
    let numbered = |at: usize, base: &String| {
        let several = bases.iter().filter(|other| *other == base).count() > 1;
        let number = bases[..at].iter().filter(|other| *other == base).count();
        if several || base == JOB { format!("{base}-{number}") } else { base.clone() }
    };
    bases.iter().enumerate().map(|(at, base)| numbered(at, base)).collect()
}

/// The last part of an image's name, without tag and digest.
pub fn base_name(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last).to_ascii_lowercase()
}

/// What every container of the job finds at 127.0.0.1, and further hosts of the options. The second
/// value is what the user is told.
pub fn host_aliases(services: &[(&str, &CreateOptions)]) -> (Vec<HostAlias>, Option<String>) {
    let mut local: Vec<String> = Vec::new();
    let mut others: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (image, options) in services {
        let names = std::iter::once(base_name(image)).chain(options.names.iter().cloned());
        for name in names.map(|name| name.to_ascii_lowercase()).filter(|name| is_host(name)) {
            if !local.contains(&name) {
                local.push(name);
            }
        }
        for (address, name) in &options.hosts {
            others.entry(address).or_default().push(name.clone());
        }
    }
    let told = (!services.is_empty()).then(|| {
        format!(
            "The job container reaches the services as localhost and as {}, container steps by these \
             names; the runner does not tell their names in the workflow: add `--network-alias \
             <name>` to `options:` of a service for another one",
            local.join(", ")
        )
    });
    let alias =
        |ip: &str, names: Vec<String>| HostAlias { ip: ip.to_owned(), hostnames: Some(names) };
    let mut aliases: Vec<_> = others.into_iter().map(|(ip, names)| alias(ip, names)).collect();
    if !local.is_empty() {
        aliases.insert(0, alias("127.0.0.1", local));
    }
    (aliases, told)
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
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let (first, last) = (part.bytes().next(), part.bytes().last());
        first.is_some_and(letter)
            && last.is_some_and(letter)
            && part.len() <= 63
            && part.bytes().all(|byte| letter(byte) || byte == b'-')
    };
    name != "localhost" && name.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::create_options;

    #[test]
    fn images_of_one_name_are_numbered_and_odd_names_made_valid() {
        let images =
            ["redis:7", "ghcr.io/x/redis@sha256:1", "My_DB.x:1", "registry:5000/a/job", ":"];
        let names = ["redis-0", "redis-1", "my-db-x", "job-0", "service"];
        assert_eq!(container_names(&images), names);
    }

    #[test]
    fn a_service_is_found_under_its_images_and_its_options_names() {
        let one = create_options::parse("--network-alias cache --hostname R1").unwrap();
        let other = create_options::parse("--name bad_name --add-host api:10.1.1.1").unwrap();
        let (aliases, told) = host_aliases(&[("redis:7", &one), ("x/postgres", &other)]);
        let names = ["redis", "cache", "r1", "postgres"].map(str::to_owned).to_vec();
        assert_eq!(aliases[0], HostAlias { ip: "127.0.0.1".into(), hostnames: Some(names) });
        assert_eq!(aliases[1].hostnames.as_deref(), Some(&["api".to_owned()][..]));
        assert!(told.unwrap().contains("redis, cache, r1, postgres"));
        assert_eq!(host_aliases(&[]), (Vec::new(), None));
    }
}
