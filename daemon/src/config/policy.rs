//! What the administrator allows workflows to ask for.

use std::path::PathBuf;

use clap::Args;

/// What `options:` of a workflow's containers may ask for beyond an ordinary container.
#[derive(Args, Clone, Debug, Default)]
pub struct PolicyConfig {
    /// File with the rules for images, options, volumes, builds and templates (docs/policy.md). Each call
    /// reads it anew; what a setting or a rule refuses is refused.
    #[arg(long = "policy", env = "HOOKD_POLICY")]
    pub policy_file: Option<PathBuf>,

    /// Allows `--privileged`, `--user 0`, every capability, and the other options that weaken the
    /// isolation of a container (docs/operations.md lists them).
    #[arg(long, env = "HOOKD_ALLOW_PRIVILEGED", value_parser = switch)]
    pub allow_privileged: bool,

    /// Allows `--user 0` and `--user root`.
    #[arg(long, env = "HOOKD_ALLOW_ROOT_USER", value_parser = switch)]
    pub allow_root_user: bool,

    /// Capabilities that `--cap-add` may add, comma-separated: NET_ADMIN, or ALL for every one.
    #[arg(long, env = "HOOKD_ALLOWED_CAPABILITIES", value_delimiter = ',')]
    pub allowed_capabilities: Vec<String>,
}

impl PolicyConfig {
    /// True if `--cap-add` may add the capability, which is named in capitals without "CAP_".
    pub fn allows_capability(&self, name: &str) -> bool {
        self.allowed_capabilities.iter().any(|allowed| {
            let allowed = allowed.trim().to_ascii_uppercase();
            let allowed = allowed.strip_prefix("CAP_").unwrap_or(&allowed);
            allowed == "ALL" || allowed == name
        })
    }
}

/// A switch, or nothing, which is off.
fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "" | "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_switch_is_on_only_if_it_says_so() {
        for text in ["true", "1", "Yes", "on"] {
            assert_eq!(switch(text), Ok(true), "{text}");
        }
        for text in ["", "false", "0", "no"] {
            assert_eq!(switch(text), Ok(false), "{text}");
        }
        assert!(switch("maybe").is_err());
        assert!(Config::of(&["--allow-privileged"]).policy.allow_privileged);
        assert!(!Config::of(&[]).policy.allow_privileged);
    }

    #[test]
    fn a_capability_is_allowed_by_its_name_in_any_spelling() {
        let policy = Config::of(&["--allowed-capabilities", "cap_net_admin, SYS_PTRACE"]).policy;
        assert!(policy.allows_capability("NET_ADMIN") && policy.allows_capability("SYS_PTRACE"));
        assert!(!policy.allows_capability("SYS_ADMIN") && !policy.allows_capability("ALL"));
        let policy = Config::of(&["--allowed-capabilities", "all"]).policy;
        assert!(policy.allows_capability("SYS_ADMIN") && policy.allows_capability("ALL"));
        assert!(!PolicyConfig::default().allows_capability(""));
    }
}
