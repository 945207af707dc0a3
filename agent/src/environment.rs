//! The environment of a step: the image's own, the job container's, the step's.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::program::DEFAULT_PATH;

/// Bytes of /etc/os-release that are looked at.
const LARGEST_RELEASE: u64 = 64 << 10;

/// The environment of this process, which the container's image gives.
pub(crate) fn own() -> HashMap<String, String> {
    let own = std::env::vars_os();
    own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The environment of `step` over that of the job container over that of the `image`; `prepend` goes
/// before PATH.
pub(crate) fn of_step(
    image: HashMap<String, String>,
    container: &HashMap<String, String>,
    step: HashMap<String, String>,
    prepend: &[String],
) -> Vec<(String, String)> {
    let mut all = image;
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
    release.filter_map(|file| beginning(Path::new(file), LARGEST_RELEASE)).any(says_alpine)
        || Path::new("/etc/alpine-release").exists()
}

/// The beginning of a file of the image, which may be of any kind and size: nothing of a pipe, and
/// no more of a device than of a file.
pub(crate) fn beginning(file: &Path, limit: u64) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(file, flags, Mode::empty()).ok()?);
    let mut bytes = Vec::new();
    file.metadata().ok().filter(Metadata::is_file)?;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
        let image = map(&[("A", "image"), ("C", "image")]);
        let prepend = ["/new".into(), "/old".into()];
        let all = of_step(image, &container, map(&[("A", "step")]), &prepend);
        let get = |name: &str| all.iter().find(|(found, _)| found == name).map(|(_, v)| v.as_str());
        assert_eq!((get("A"), get("B")), (Some("step"), Some("container")));
        assert_eq!(get("C"), Some("image"));
        assert_eq!(path(&all), "/new:/old:/image");
    }
    #[test]
    fn a_release_file_of_any_kind_takes_little_time_and_memory() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(beginning(&pipe, 64 << 10), None);
        let link = root.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert_eq!(beginning(&link, 64 << 10), None);
        assert_eq!(beginning(root.path(), 64 << 10), None);
        let file = root.path().join("file");
        std::fs::write(&file, "ID=alpine\n".repeat(100_000)).unwrap();
        assert_eq!(beginning(&file, 64 << 10).map(|text| text.len()), Some(64 << 10));
    }
}
