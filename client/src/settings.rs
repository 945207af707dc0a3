//! What the environment says about where hookd is and how long to wait for it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use hookd_api::transport::HOOKD_SOCKET;

use crate::report::Explain;

/// Path of hookd's socket.
const SOCKET: &str = "HOOKD_SOCKET";
/// Whole seconds to wait for hookd.
const TIMEOUT: &str = "HOOK_CONNECT_TIMEOUT_SECONDS";
/// Minutes, not seconds: a restart of the sidecar container may be backed off that long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// A century: a deadline of more cannot be counted.
const MOST_SECONDS: u64 = 100 * 365 * 24 * 3600;

/// Where hookd is and how long to wait for it.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    /// Unix socket of hookd.
    pub(crate) socket: PathBuf,
    /// Longest time without hookd before the hook gives up.
    pub(crate) timeout: Duration,
    /// A line on a setting that cannot be used, in whose place the default is.
    pub(crate) warning: Option<String>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The directory of the executable, hence the socket's default, is unknown.
    #[error("The path of the hook executable, beside which the socket lies, is unknown")]
    Executable(#[source] std::io::Error),
}

// === impl Settings ===

impl Settings {
    /// Reads the settings from `variable`, which returns the value of an environment variable.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let seconds = |value: &OsString| value.to_str()?.trim().parse().ok();
        let (timeout, warning) = match set(TIMEOUT) {
            None => (DEFAULT_TIMEOUT, None),
            Some(value) => match seconds(&value).filter(|seconds| *seconds <= MOST_SECONDS) {
                Some(seconds) => (Duration::from_secs(seconds), None),
                None => (DEFAULT_TIMEOUT, Some(unusable(&value))),
            },
        };
        let socket = match set(SOCKET) {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()
                .map_err(SettingsError::Executable)?
                .with_file_name(HOOKD_SOCKET),
        };
        Ok(Self { socket, timeout, warning })
    }
}

fn unusable(value: &OsString) -> String {
    let default = DEFAULT_TIMEOUT.as_secs();
    format!(
        "Warning: {TIMEOUT} is {value:?}, which is not a whole number of seconds up to \
         {MOST_SECONDS}; the default {default} is used"
    )
}

// === impl SettingsError ===

impl Explain for SettingsError {
    fn title(&self) -> String {
        "A setting of hook is invalid".to_owned()
    }

    fn remedy(&self) -> String {
        match self {
            Self::Executable(_) => format!("Set {SOCKET} to the path of hookd's socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn without_settings_the_socket_lies_beside_the_executable() {
        let beside = std::env::current_exe().unwrap().with_file_name("hookd.sock");
        let expected =
            Settings { socket: beside, timeout: Duration::from_secs(300), warning: None };
        assert_eq!(read(&[]).unwrap(), expected);
        assert_eq!(read(&[(SOCKET, ""), (TIMEOUT, "")]).unwrap(), expected);
    }

    #[test]
    fn the_environment_sets_socket_and_timeout() {
        let settings = read(&[(SOCKET, "/run/x.sock"), (TIMEOUT, "7")]).unwrap();
        assert_eq!(settings.socket, PathBuf::from("/run/x.sock"));
        assert_eq!(settings.timeout, Duration::from_secs(7));
    }

    #[test]
    fn a_timeout_that_is_no_number_is_named_and_the_default_used() {
        for value in ["soon", "-1", "5s", "1.5", "18446744073709551615"] {
            let settings = read(&[(TIMEOUT, value)]).unwrap();
            assert_eq!(settings.timeout, DEFAULT_TIMEOUT);
            let warning = settings.warning.unwrap();
            assert!(warning.contains(TIMEOUT) && warning.contains(value), "{warning}");
        }
    }
}
