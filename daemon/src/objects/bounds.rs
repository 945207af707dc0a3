//! Bounds of what a call names: everything of it may stand in an error or in a warning, where a
//! character can take several.

use hookd_api::v1::{ContainerSpec, Mount};

use crate::objects::error::SpecError;

/// Bytes of a path, an image's name or a port: Linux takes no longer path (PATH_MAX).
const LONGEST_TEXT: usize = 4096;
/// Volumes and ports of one container, and mounts of the runner: each can need a line for the user.
const MOST_ENTRIES: usize = 256;
/// Characters of the name of a variable in an error.
const SHOWN: usize = 100;

/// Refuses a container that names too much, or by too long a text.
///
/// # Errors
/// The field, its size and the limit.
pub fn check(spec: &ContainerSpec) -> Result<(), SpecError> {
    for (field, text) in [
        ("image", &spec.image),
        ("dockerfile", &spec.dockerfile),
        ("entry_point", &spec.entry_point),
        ("working_directory", &spec.working_directory),
    ] {
        check_text(field, text)?;
    }
    check_number("port_mappings", spec.port_mappings.len())?;
    spec.port_mappings.iter().try_for_each(|mapping| check_text("port_mappings", mapping))?;
    check_mounts("system_mount_volumes", &spec.system_mount_volumes)?;
    check_mounts("user_mount_volumes", &spec.user_mount_volumes)
}

/// Refuses a text that is too long to name anything.
///
/// # Errors
/// The field, its size and the limit.
pub fn check_text(field: &'static str, text: &str) -> Result<(), SpecError> {
    let (size, limit) = (text.len(), LONGEST_TEXT);
    if size > limit { Err(SpecError::TextTooLong { field, size, limit }) } else { Ok(()) }
}

/// The name of a variable as an error shows it.
pub fn shown(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

fn check_mounts(field: &'static str, mounts: &[Mount]) -> Result<(), SpecError> {
    check_number(field, mounts.len())?;
    let texts = mounts.iter().flat_map(|mount| {
        [&mount.user_provided_value, &mount.source_volume_path, &mount.target_volume_path]
    });
    texts.into_iter().try_for_each(|text| check_text(field, text))
}

fn check_number(field: &'static str, number: usize) -> Result<(), SpecError> {
    let limit = MOST_ENTRIES;
    if number > limit { Err(SpecError::TooManyEntries { field, number, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_names_nothing_is_refused_by_its_field() {
        let long = || "x".repeat(LONGEST_TEXT + 1);
        let mount = || Mount { source_volume_path: long(), ..Mount::default() };
        let empty = ContainerSpec::default;
        for (field, spec) in [
            ("image", ContainerSpec { image: long(), ..empty() }),
            ("dockerfile", ContainerSpec { dockerfile: long(), ..empty() }),
            ("entry_point", ContainerSpec { entry_point: long(), ..empty() }),
            ("working_directory", ContainerSpec { working_directory: long(), ..empty() }),
            ("port_mappings", ContainerSpec { port_mappings: vec![long()], ..empty() }),
            ("port_mappings", ContainerSpec { port_mappings: vec![String::new(); 257], ..empty() }),
            (
                "system_mount_volumes",
                ContainerSpec { system_mount_volumes: vec![mount()], ..empty() },
            ),
            ("user_mount_volumes", ContainerSpec { user_mount_volumes: vec![mount()], ..empty() }),
            (
                "user_mount_volumes",
                ContainerSpec { user_mount_volumes: vec![Mount::default(); 257], ..empty() },
            ),
        ] {
            let message = check(&spec).unwrap_err().to_string();
            assert!(message.contains(field) && message.len() < 200, "{field}: {message}");
        }
        let image = "x".repeat(LONGEST_TEXT);
        check(&ContainerSpec { image, ..ContainerSpec::default() }).unwrap();
    }
}
