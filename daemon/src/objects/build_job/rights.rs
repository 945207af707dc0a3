//! What the builder may do in its container.

use k8s_openapi::api::core::v1::{Capabilities, SecurityContext};

use crate::config::BuildConfig;

/// Docker's default capabilities but for NET_RAW, which Pod Security "baseline" does not admit. Kaniko
/// needs some of them to unpack a base image onto its own root; a `RUN` may need each of them.
pub const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Root with the capabilities of the settings and no others. Setuid programs work, as in docker: a
/// `RUN` as another user may call `sudo` or `su`. "baseline" admits that.
pub fn security_context(build: &BuildConfig) -> SecurityContext {
    let capabilities = match &build.capabilities[..] {
        [] => CAPABILITIES.map(str::to_owned).into(),
        chosen => chosen.to_vec(),
    };
    SecurityContext {
        allow_privilege_escalation: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(capabilities),
        }),
        run_as_user: Some(0),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn added(settings: &[&str]) -> Vec<String> {
        let config = Config::of(settings).without_empty();
        let context = security_context(&config.build);
        assert_eq!(context.capabilities.as_ref().unwrap().drop.as_ref().unwrap(), &["ALL"]);
        context.capabilities.unwrap().add.unwrap()
    }

    // shipwright-io/build#654, gk#778
    #[test]
    fn a_build_has_dockers_capabilities_within_baseline() {
        // Kubernetes, Pod Security Standards, "baseline": the capabilities that may be added.
        let baseline = [
            "AUDIT_WRITE",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_BIND_SERVICE",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
        ];
        assert_eq!(added(&[]), baseline);
        assert_eq!(added(&["--build-capabilities", ""]), baseline);
    }

    #[test]
    fn the_administrator_may_choose_other_capabilities() {
        assert_eq!(
            added(&["--build-capabilities", "CAP_CHOWN, setuid,NET_RAW"]),
            ["CHOWN", "SETUID", "NET_RAW"]
        );
    }
}
