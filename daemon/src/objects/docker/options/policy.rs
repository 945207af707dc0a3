//! What an option may do beyond an ordinary container: only what the administrator allows.

use super::CreateOptions;
use crate::config::PolicyConfig;
use crate::error::Failure;
use crate::objects::error::SpecError;

/// An option that weakens the isolation of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Power {
    /// As the workflow has it.
    pub(super) option: String,
}

/// The setting that allows it.
enum Setting<'a> {
    Privileged,
    Root,
    Capability(&'a str),
}

impl CreateOptions {
    /// Refuses what the administrator does not allow. `container` is named in the message.
    ///
    /// # Errors
    /// `POLICY_DENIED` with the option, the container and the setting.
    pub fn check(&self, container: &str, policy: &PolicyConfig) -> Result<(), Failure> {
        let allowed = |setting: &Setting<'_>| match setting {
            _ if policy.allow_privileged => true,
            Setting::Privileged => false,
            Setting::Root => policy.allow_root_user,
            Setting::Capability(name) => policy.allows_capability(name),
        };
        let denied = self.needed().find(|(_, setting)| !allowed(setting));
        let Some((option, setting)) = denied else { return Ok(()) };
        let setting = match setting {
            Setting::Privileged => "HOOKD_ALLOW_PRIVILEGED=true".to_owned(),
            Setting::Root => "HOOKD_ALLOW_ROOT_USER=true".to_owned(),
            Setting::Capability(name) => format!("HOOKD_ALLOWED_CAPABILITIES={name}"),
        };
        Err(SpecError::OptionDenied { container: container.to_owned(), option, setting }.into())
    }

    /// Each option that needs a setting.
    fn needed(&self) -> impl Iterator<Item = (String, Setting<'_>)> {
        let privileged = self.privileged.then(|| ("--privileged".to_owned(), Setting::Privileged));
        let root = self.user.filter(|user| user.user == 0);
        let root = root.map(|_| (format!("--user {}", self.user_text), Setting::Root));
        let capabilities = self.cap_add.iter();
        let capabilities =
            capabilities.map(|name| (format!("--cap-add {name}"), Setting::Capability(name)));
        let others = self.powers.iter().map(|power| (power.option.clone(), Setting::Privileged));
        privileged.into_iter().chain(capabilities).chain(others).chain(root)
    }
}
