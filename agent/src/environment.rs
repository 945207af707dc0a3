//! The environment of a step: the image's own, the job container's, the step's.

use std::collections::HashMap;

use crate::program::DEFAULT_PATH;

/// The environment of `step` over that of the job container over that of this process, which the
/// image gives; `prepend` goes before PATH.
pub(crate) fn of_step(
    container: &HashMap<String, String>,
    step: HashMap<String, String>,
    prepend: &[String],
) -> Vec<(String, String)> {
    let own = std::env::vars_os();
    let own =
        own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut all: HashMap<String, String> = own.collect();
    all.extend(container.iter().map(|(name, value)| (name.clone(), value.clone())));
    all.extend(step);
    let path = all.remove("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned());
    let entries = prepend.iter().map(String::as_str).chain([path.as_str()]);
    all.insert("PATH".to_owned(), entries.collect::<Vec<_>>().join(":"));
    all.into_iter().collect()
}

/// PATH within an environment.
pub(crate) fn path(environment: &[(String, String)]) -> &str {
    let found = environment.iter().find(|(name, _)| name == "PATH");
    found.map_or("", |(_, value)| value.as_str())
}

/// True if the container's system is Alpine Linux.
pub(crate) fn is_alpine() -> bool {
    let says_alpine = |text: String| {
        text.lines()
            .any(|line| matches!(line.trim(), "ID=alpine" | "ID=\"alpine\"" | "ID='alpine'"))
    };
    let release = ["/etc/os-release", "/usr/lib/os-release"].iter();
    release.filter_map(|file| std::fs::read_to_string(file).ok()).any(says_alpine)
        || std::path::Path::new("/etc/alpine-release").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_step_wins_over_the_container_and_keeps_the_rest() {
        let container = map(&[("A", "container"), ("B", "container"), ("PATH", "/image")]);
        let all = of_step(&container, map(&[("A", "step")]), &["/new".into(), "/old".into()]);
        let get = |name: &str| all.iter().find(|(found, _)| found == name).map(|(_, v)| v.as_str());
        assert_eq!((get("A"), get("B")), (Some("step"), Some("container")));
        assert_eq!(path(&all), "/new:/old:/image");
    }
}
