//! Dockerfile actions that a buildkitd elsewhere builds: the one of deploy/buildkitd. Its image is made on
//! demand (`deploy/devcluster/buildkit.sh`), so these tests run with `make parity BUILDER=buildkit` only.

use e2e::authority::Authority;
use e2e::buildkitd::{Buildkitd, give_certificate};
use fake_runner::Step;
use fake_runner::layout::guid;
use serde_json::json;
use test_support::cluster::{self, cluster};
use test_support::{RunnerPod, Setup};

use crate::registries::secured::{Secured, Wanted};

/// Seconds that a build may take that cannot begin.
const EARLY: u64 = 120;

fn action(runner: &RunnerPod, dockerfile: &str, file: &str) -> Step {
    runner.action("remote", &[("Dockerfile", dockerfile), ("file", file)])
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_buildkitd_keeps_layers_and_mixes_no_contexts() {
    let buildkitd = Buildkitd::start("", &[]);
    let runner = buildkitd.runner(Setup::default());
    let dockerfile = "FROM busybox:1\nRUN cat /proc/sys/kernel/random/uuid >/layer\n\
                      RUN --network=none test -e /layer\nCOPY file /file\nCMD [\"cat\", \"/layer\", \"/file\"]\n";
    // Of one size and time: buildkitd compares no more.
    let first = runner.run(&action(&runner, dockerfile, "one\n"));
    let second = runner.run(&action(&runner, dockerfile, "two\n"));
    let (first, second) = (first.assert_code(0).after_build(), second.assert_code(0).after_build());
    assert_eq!(second, first.replace("one", "two"));
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn each_run_has_a_network_of_its_own() {
    let buildkitd = Buildkitd::start("", &[]);
    let runner = buildkitd.runner(Setup::default());
    // The range of deploy/buildkitd; what listens in one RUN does not in the other.
    let dockerfile = "FROM busybox:1 AS one\nRUN ip -4 -o address show eth0 >/address\n\
                      RUN nc -l -p 4321 & sleep 1; netstat -lnt | grep -q :4321\n\
                      FROM one\nRUN ! netstat -lnt | grep -E ':(4321|1234)'\nCMD [\"cat\", \"/address\"]\n";
    let outcome = runner.run(&action(&runner, dockerfile, ""));
    let address = outcome.assert_code(0).after_build();
    assert!(address.contains("inet 10.10."), "{address}");
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn an_untrusted_event_leaves_no_layer_to_trusted_ones() {
    let buildkitd = Buildkitd::start("", &[]);
    let runner = buildkitd.runner(Setup::default().believing_events());
    let dockerfile = format!(
        "FROM busybox:1\nRUN echo {} $(cat /proc/sys/kernel/random/uuid) >/layer\n\
         CMD [\"cat\", \"/layer\"]\n",
        guid().unwrap()
    );
    let run = |event: &str, file: &str| {
        let step = action(&runner, &dockerfile, file);
        runner.call(&step).set("GITHUB_EVENT_NAME", event).run().assert_code(0).after_build()
    };
    let untrusted = run("pull_request", "one");
    let trusted = run("push", "two");
    assert_ne!(trusted, untrusted);
    assert_eq!(run("push", "three"), trusted);
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_cache_mount_begins_empty_and_reaches_no_other_build() {
    let buildkitd = Buildkitd::start("", &[]);
    let runner = buildkitd.runner(Setup::default());
    let id = guid().unwrap();
    let dockerfile = format!(
        "FROM busybox:1\nRUN --mount=type=cache,id={id},target=/c \\\n  {{ ls /c; \
         cat /proc/sys/kernel/random/uuid; }} >/found; echo poison >/c/x\n\
         COPY file /\nCMD [\"cat\", \"/found\"]\n"
    );
    let [first, second] = ["one\n", "two\n"].map(|file| {
        let outcome = runner.run(&action(&runner, &dockerfile, file));
        outcome.assert_code(0).after_build()
    });
    assert_eq!((first.lines().count(), second.lines().count()), (1, 1), "{first}{second}");
    assert_ne!(first, second);
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_buildkitd_gets_credentials_and_no_run_does() {
    let registry = Secured::start(Wanted { token: true, ..Wanted::default() });
    let toml =
        format!("[registry.\"{}\"]\n  ca = [\"/etc/buildkit/registry.crt\"]\n", registry.host);
    let buildkitd = Buildkitd::start(&toml, &[("registry.crt", registry.authority_pem())]);
    let environment = buildkitd.setting(Setup::default()).environment;
    let runner = registry.runner(&environment);
    buildkitd.admit(&runner);
    let search = "RUN find / -path /proc -prune -o -path /sys -prune -o -type f -size -200k -print0 \
                  | xargs -0 grep -la 'auth[s]\\|PRIVATE KE[Y]' | sed 's/^/FOUN\\D /'; env; echo searched\n";
    let base = format!("FROM busybox:1\n{search}RUN echo base >/base\nCMD [\"cat\", \"/base\"]\n");
    let built = runner.run(&action(&runner, &base, ""));
    assert_eq!(built.assert_code(0).after_build(), "base\n");
    let log = built.log();
    assert!(log.contains("searched") && !log.contains("FOUND "), "{log}");
    assert!(!log.contains("/run/hookd"), "{log}");
    let pushed = log.split("pushing manifest for ").nth(1).unwrap();
    let (_, digest) = pushed.split_once('@').unwrap();
    let digest = digest.split_whitespace().next().unwrap();
    let dockerfile = format!(
        "FROM {}/hookd/build@{digest}\nRUN cat /base\nCMD [\"cat\", \"/base\"]\n",
        registry.host
    );
    let above = runner.run(&action(&runner, &dockerfile, ""));
    assert_eq!(above.assert_code(0).after_build(), "base\n");
    runner.cleanup().run().assert_code(0);
    runner.assert_nothing_left();
    assert_eq!(registry.tags(), Vec::<String>::new());
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn an_unknown_certificate_is_told_with_its_setting() {
    let buildkitd = Buildkitd::start("", &[]);
    let runner = RunnerPod::with(&buildkitd.setting(Setup::default()));
    give_certificate(&runner, &Authority::generate());
    let outcome = runner.run(&action(&runner, "FROM busybox:1\n", ""));
    outcome.assert_failed_with(EARLY, &[&buildkitd.address, "HOOKD_BUILDKIT_TLS_SECRET"]);
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_buildkitd_that_ends_in_a_build_hangs_no_step() {
    let buildkitd = Buildkitd::start("", &[]);
    let runner = buildkitd.runner(Setup::default());
    let dockerfile = "FROM busybox:1\nRUN echo has begun; sleep 600\n";
    let step = action(&runner, dockerfile, "");
    let hook = runner.call(&step).start();
    hook.wait_for("has begun\n");
    buildkitd.delete_pod();
    hook.end().assert_failed_with(EARLY, &["buildkitd", "un the job again"]);
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_user_for_a_path_of_a_registry_is_told() {
    let buildkitd = Buildkitd::start("", &[]);
    let setup = Setup::default().set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET", "login");
    let runner = buildkitd.runner(setup);
    let (host, port) = (&cluster().registry_host, &cluster().registry_port);
    let path = format!("{host}:{port}/hookd");
    let auths = json!({"auths": {path: {"username": "user", "password": "password"}}});
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": runner.namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths.to_string()},
    })]);
    // The base image is in the same registry, at another path.
    let outcome = runner.run(&action(&runner, "FROM busybox:1\nRUN true\n", ""));
    outcome.assert_failed_with(EARLY, &["one user for each registry", "without a path"]);
    runner.assert_nothing_left();
}
