//! Registries that want credentials, and have certificates of their own.

use super::is_well;
use super::report::{Report, Said};
use crate::registries::NODE;
use crate::registries::secured::{Secured, Wanted, give_login};

const SECRET: &str =
    "Let ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET name a Secret with credentials that may";

#[test]
fn wrong_credentials_of_a_registry_are_named_with_the_secret() {
    for token in [false, true] {
        let registry = Secured::start(Wanted { token, ..Wanted::default() });
        let runner = registry.runner(&[]);
        is_well(&runner);
        runner.k(&["delete", "secret", "login"]);
        give_login(&runner, "login", &[&registry], "wrong");
        let place = format!("{}/hookd/build", registry.host);
        let refused = format!("{} answers 401 Unauthorized", registry.host);
        let report = Report::of(&runner, &[]);
        let said = Said {
            found: &format!("{place} refuses a push"),
            cause: &format!("{refused} to a push"),
            remedy: &format!("{SECRET} push to this repository"),
        };
        report.assert_says("registry-push", "failure", &said);
        let said = Said {
            found: &format!("{place} may not be read"),
            cause: &refused,
            remedy: &format!("{SECRET} pull"),
        };
        report.assert_says("registry-pull", "failure", &said);
        report.assert_only_failed(&["registry-push", "registry-pull"]);
        // The same registry in place of Docker Hub.
        let map = format!("index.docker.io={}", registry.host);
        let report = Report::of(&runner, &["--registry-map", &map]);
        let said = Said {
            found: "base images of Docker Hub cannot be looked up",
            cause: &refused,
            remedy: &format!("{SECRET} read base images"),
        };
        report.assert_says("base-images", "warning", &said);
    }
}

#[test]
fn a_registry_of_unknown_authority_is_named_with_the_setting() {
    let registry = Secured::start(Wanted::default());
    let runner = registry.runner(&[]);
    is_well(&runner);
    // As if the registry had the port of HTTPS.
    let report = Report::of(&runner, &["--registry-tls", &format!("{NODE}=registry-tls")]);
    let said = Said {
        found: &format!("{} cannot be reached", registry.host),
        cause: "certificate",
        remedy: "Let HOOKD_REGISTRY_TLS name a Secret whose ca.crt signs the registry's certificate",
    };
    report.assert_says("registry-push", "failure", &said);
    report.assert_says("registry-pull", "failure", &said);
    report.assert_only_failed(&["registry-push", "registry-pull"]);
}
