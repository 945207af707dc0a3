//! Registries with TLS, an authority of their own, passwords, tokens and client certificates.

use fake_runner::Step;
use test_support::cluster;
use test_support::manifests;
use test_support::{Outcome, RunnerPod};

use secured::{Secured, Wanted, give_login};

use crate::build_credentials::PASSWORD;

mod deployed;
pub(crate) mod secured;
mod tokens;

/// The node as pods reach it.
pub(crate) const NODE: &str = "10.88.0.1";

fn action(runner: &RunnerPod, name: &str, dockerfile: &str) -> Step {
    runner.action(name, &[("Dockerfile", dockerfile)])
}

const BASE: &str = "FROM busybox:1\nRUN echo base >/base\nENTRYPOINT [\"/bin/cat\", \"/base\"]\n";

/// The digest of a built image, as the log has it.
fn digest_of(built: &Outcome) -> String {
    let log = built.assert_code(0).log();
    let (_, digest) = log.split_once("hookd/build@").expect("the digest in Kaniko's log");
    digest.split_whitespace().next().unwrap().to_owned()
}

/// Push, pull by the kubelet, a private base image, and the end of the job.
fn assert_works(registry: &Secured) {
    let runner = registry.runner(&[]);
    let built = runner.run(&action(&runner, "base", BASE));
    assert_eq!(built.assert_code(0).after_build(), "base\n");
    let digest = digest_of(&built);
    let dockerfile = format!(
        "FROM {host}/hookd/build@{digest} AS private\nFROM busybox:1\n\
         COPY --from=private /base /from-private\nENTRYPOINT [\"/bin/cat\", \"/from-private\"]\n",
        host = registry.host,
    );
    let above = runner.run(&action(&runner, "above", &dockerfile));
    assert_eq!(above.assert_code(0).after_build(), "base\n");
    runner.cleanup().run().assert_code(0);
    let log = runner.log();
    assert!(log.contains("deleted the images that the job built"), "{log}");
    runner.assert_nothing_left();
}

#[test]
fn a_registry_with_tls_and_a_password_is_used_for_all() {
    let registry = Secured::start(Wanted::default());
    assert_works(&registry);
    assert_eq!(registry.tags(), Vec::<String>::new());
}

#[test]
fn the_registry_of_deploy_is_used_for_all() {
    let registry = Secured::start(Wanted { deployed: true, ..Wanted::default() });
    assert_works(&registry);
    assert_eq!(registry.tags(), Vec::<String>::new());
}

/// Size of a layer that no image needs any more.
const UNUSED: u64 = 6_000_000;

#[test]
fn a_restart_of_the_registry_of_deploy_frees_room() {
    let registry = Secured::start(Wanted { deployed: true, ..Wanted::default() });
    let keeping = registry.runner(&[("HOOKD_BUILT_IMAGES", "keep".to_owned())]);
    keeping.run(&action(&keeping, "kept", BASE)).assert_code(0);
    let runner = registry.runner(&[]);
    let large =
        format!("FROM busybox:1\nRUN head -c {UNUSED} /dev/urandom >/large\nCMD [\"true\"]\n");
    runner.run(&action(&runner, "large", &large)).assert_code(0);
    runner.cleanup().run().assert_code(0);
    let (tags, full) = (registry.tags(), registry.stored());
    let log = registry.restart();
    assert!(log.contains("blobs marked"), "{log}");
    let left = registry.stored();
    assert!(left + UNUSED < full, "{full} bytes, {left} now: {log}");
    assert_eq!(registry.tags(), tags);
    registry.assert_complete();
    runner.run(&action(&runner, "again", &large)).assert_code(0);
}

#[test]
fn a_registry_that_wants_tokens_is_used_for_all() {
    let registry = Secured::start(Wanted { token: true, ..Wanted::default() });
    assert_works(&registry);
    assert_eq!(registry.tags(), Vec::<String>::new());
    let scopes = registry.tokens.as_ref().unwrap().scopes();
    for actions in ["pull", "pull,push", "pull,delete"] {
        let scope = format!("repository:hookd/build:{actions}");
        assert!(scopes.contains(&scope), "{scope} in {scopes:?}");
    }
}

#[test]
fn a_registry_that_wants_client_certificates_gets_one() {
    let registry = Secured::start(Wanted { certificate: true, ..Wanted::default() });
    assert_works(&registry);
    // Its key is not within reach of a RUN.
    let runner = registry.runner(&[]);
    let search = "find / -path /proc -prune -o -path /sys -prune -o -type f -size -2000k -print0 \
                  | xargs -0 grep -la 'PRIVATE KE[Y]' | sed 's/^/FOUND /'; \
                  for root in /proc/[0-9]*/root; do find $root/run/hookd/tls -name '*.*' \
                  | sed 's/^/FOUND /'; done 2>/dev/null; echo searched $(ls -d /proc/[0-9]* | wc -l)";
    let outcome = runner.run(&action(&runner, "thief", &format!("FROM busybox:1\nRUN {search}\n")));
    let lines = outcome.assert_code(0).log_lines();
    assert!(lines.iter().any(|line| line.starts_with("searched ")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("FOUND ")), "{lines:?}");
}

#[test]
fn base_images_come_from_another_registry_than_built_ones_go_to() {
    let bases = Secured::start(Wanted { token: true, ..Wanted::default() });
    let built = Secured::start(Wanted::default());
    let maker = bases.runner(&[("HOOKD_BUILT_IMAGES", "keep".to_owned())]);
    let made = maker.run(&action(&maker, "base", BASE));
    let base = format!("{}/hookd/build@{}", bases.host, digest_of(&made));
    let tls = format!("{}=registry-tls,{}=bases-tls", built.host, bases.host);
    let runner = built.runner(&[("HOOKD_REGISTRY_TLS", tls)]);
    bases.give_certificates(&runner, "bases-tls");
    let dockerfile = format!("FROM {base}\nENTRYPOINT [\"/bin/cat\", \"/base\"]\n");
    // The passwords of both are in one Secret; without that of the bases they are private.
    let outcome = runner.run(&action(&runner, "private", &dockerfile));
    let setting = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET";
    outcome.assert_failed_with(90, &[&bases.host, "may not be read", setting]);
    runner.k(&["delete", "secret", "login"]);
    give_login(&runner, "login", &[&built, &bases], PASSWORD);
    let outcome = runner.run(&action(&runner, "private", &dockerfile));
    assert_eq!(outcome.assert_code(0).after_build(), "base\n");
    runner.assert_nothing_left();
}

#[test]
fn a_registry_of_unknown_authority_is_told_with_the_setting() {
    let registry = Secured::start(Wanted::default());
    let runner = registry.runner(&[("HOOKD_REGISTRY_TLS", String::new())]);
    let outcome = runner.run(&action(&runner, "push", BASE));
    outcome.assert_failed_with(90, &[&registry.host, "certificate", "HOOKD_REGISTRY_TLS"]);
    runner.assert_nothing_left();
}

#[test]
fn a_password_that_gets_no_token_is_told_with_the_setting() {
    let registry = Secured::start(Wanted { token: true, ..Wanted::default() });
    let runner = registry.runner(&[]);
    runner.k(&["delete", "secret", "login"]);
    give_login(&runner, "login", &[&registry], "wrong");
    let outcome = runner.run(&action(&runner, "push", BASE));
    let setting = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET";
    outcome.assert_failed_with(90, &[&registry.host, "token service", "401", setting]);
    runner.assert_nothing_left();
}

#[test]
fn a_registry_that_is_full_is_told_with_the_remedy() {
    let registry = Secured::start(Wanted { storage: Some("4Mi"), ..Wanted::default() });
    let runner = registry.runner(&[]);
    let dockerfile = "FROM busybox:1\nRUN head -c 12000000 /dev/urandom >/large\n";
    let outcome = runner.run(&action(&runner, "large", dockerfile));
    // Pushed again for half a minute: a registry may be restarted.
    outcome.assert_failed_with(
        120,
        &[&registry.host, "does not take the image", "no space left", "storage"],
    );
    runner.assert_nothing_left();
}

#[test]
fn the_cron_job_deletes_from_a_registry_with_tls() {
    let registry = Secured::start(Wanted { token: true, ..Wanted::default() });
    let runner = registry.runner(&[("HOOKD_BUILT_IMAGES", "keep".to_owned())]);
    let outcome = runner.run(&action(&runner, "kept", BASE));
    assert_eq!(outcome.assert_code(0).after_build(), "base\n");
    let kept = registry.tags();
    // The build pushed it, others find it by its key, and what it was built of is noted.
    for kind in ["key_", "note_", "step_"] {
        assert!(kept.iter().any(|tag| tag.starts_with(kind)), "{kept:?}");
    }
    let old = "step_old_0123456789abcdef_1000000000";
    registry.add_image(&kept[0], old);
    give_login(&runner, "hookd-registry", &[&registry], PASSWORD);
    let mut objects = manifests::of_registry_gc(&runner.namespace);
    registry.show_to_gc(&mut objects[0]);
    cluster::create(&objects);
    runner.k(&["create", "job", "gc", "--from=cronjob/hookd-gc"]);
    runner.k(&["wait", "--for=condition=Complete", "job/gc", "--timeout=120s"]);
    let log = runner.k(&["logs", "job/gc"]);
    assert!(log.lines().any(|line| line.starts_with("deleted ") && line.contains(old)), "{log}");
    assert_eq!(registry.tags(), kept, "{log}");
}
