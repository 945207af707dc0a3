//! The spellings of a volume.

use hookd_api::v1::Mount;

use super::{UserVolume, VolumeSource};

/// A volume, and those of its options that mean nothing in a pod.
#[derive(Debug)]
pub struct Read {
    volume: UserVolume,
    ignored: Vec<String>,
}

impl Read {
    /// The volume, and what is ignored of it.
    pub fn into_parts(self) -> (UserVolume, Vec<String>) {
        (self.volume, self.ignored)
    }
}

/// An entry of `volumes:`. The runner knows `ro` as the only option; all others are in the text that
/// the user wrote.
pub(super) fn of_runner(mount: &Mount) -> Read {
    let written = match mount.user_provided_value.as_str() {
        "" => format!("{}:{}", mount.source_volume_path, mount.target_volume_path),
        value => value.to_owned(),
    };
    let options = match written.split(':').collect::<Vec<_>>()[..] {
        [_, _, options] => options,
        _ => "",
    };
    let volume = UserVolume {
        source: source(&mount.source_volume_path),
        target: mount.target_volume_path.clone(),
        read_only: mount.read_only,
        no_copy: false,
        written: written.clone(),
    };
    with_options(volume, options)
}

/// `--volume`.
pub fn of_flag(text: &str) -> Read {
    let (from, target, options) = match text.split(':').collect::<Vec<_>>()[..] {
        [from, target, options] => (from, target, options),
        [target, "ro"] => ("", target, "ro"),
        [from, target] => (from, target, ""),
        _ => ("", text, ""),
    };
    let volume = UserVolume {
        written: text.to_owned(),
        source: source(from),
        target: target.to_owned(),
        read_only: false,
        no_copy: false,
    };
    with_options(volume, options)
}

fn source(text: &str) -> VolumeSource {
    match text {
        "" => VolumeSource::Anonymous,
        path if path.starts_with('/') => VolumeSource::Directory(path.to_owned()),
        name => VolumeSource::Named(name.to_owned()),
    }
}

fn with_options(mut volume: UserVolume, options: &str) -> Read {
    let mut ignored = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.to_ascii_lowercase().as_str() {
            "ro" | "readonly" => volume.read_only = true,
            "nocopy" => volume.no_copy = true,
            // What is so anyway: labels of SELinux are the runtime's, and caching is for Macs.
            "rw" | "z" | "cached" | "delegated" | "consistent" | "private" | "rprivate" => {}
            _ => ignored.push(option.to_owned()),
        }
    }
    Read { volume, ignored }
}

/// `--mount`; `bytes` reads a size. Or why it is none.
///
/// # Errors
/// A type, or a combination, that a pod cannot have.
pub fn of_mount_flag(text: &str, bytes: fn(&str) -> Option<u64>) -> Result<Read, String> {
    let (mut kind, mut from, mut target, mut size) = ("volume", "", "", None);
    let (mut read_only, mut no_copy, mut ignored) = (false, false, Vec::new());
    let is_on = |value: &str| matches!(value, "" | "1" | "true" | "TRUE" | "True" | "t" | "T");
    for field in text.split(',') {
        let field = field.trim_matches('"');
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = value,
            "source" | "src" => from = value,
            "target" | "dst" | "destination" => target = value,
            "readonly" | "ro" => read_only = is_on(value),
            "volume-nocopy" => no_copy = is_on(value),
            "tmpfs-size" => {
                size = Some(bytes(value).ok_or("has a tmpfs-size that is none")?);
            }
            // An empty directory of a pod is open to all.
            "tmpfs-mode" if matches!(value.trim_start_matches('0'), "777" | "1777") => {}
            _ => ignored.push(field.to_owned()),
        }
    }
    let source = match kind.to_ascii_lowercase().as_str() {
        "volume" if from.starts_with('/') => return Err("names no volume".to_owned()),
        "volume" => source(from),
        "bind" if from.is_empty() => return Err("names no source".to_owned()),
        "bind" => source(from),
        "tmpfs" => VolumeSource::Memory(size.filter(|size| *size > 0)),
        _ => {
            return Err("is of a type that a pod cannot have; use volume, bind or tmpfs".to_owned());
        }
    };
    if target.is_empty() {
        return Err("names no target".to_owned());
    }
    let (written, target) = (text.to_owned(), target.to_owned());
    Ok(Read { volume: UserVolume { written, source, target, read_only, no_copy }, ignored })
}

/// `--tmpfs`; `bytes` reads a size.
///
/// # Errors
/// A size that is none.
pub fn of_tmpfs(text: &str, bytes: fn(&str) -> Option<u64>) -> Result<Read, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut read_only, mut ignored) = (None, false, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("size", value) if value.ends_with('%') => ignored.push(option.to_owned()),
            ("size", value) => size = Some(bytes(value).ok_or("has a size that is none")?),
            ("ro", "") => read_only = true,
            ("rw" | "exec" | "suid" | "dev", "") => {}
            ("mode", mode) if matches!(mode.trim_start_matches('0'), "777" | "1777") => {}
            _ => ignored.push(option.to_owned()),
        }
    }
    let volume = UserVolume {
        written: format!("--tmpfs {text}"),
        source: VolumeSource::Memory(size.filter(|size| *size > 0)),
        target: target.to_owned(),
        read_only,
        no_copy: true,
    };
    Ok(Read { volume, ignored })
}
