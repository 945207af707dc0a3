//! What a `RUN` finds in docker, it finds in a build; and a build's pod goes where a job's may go.

use test_support::{RunnerPod, Setup};

const TEMPLATE: &str = "/home/runner/_work/template.yaml";

fn with_template(setup: Setup, template: &str) -> RunnerPod {
    let runner = RunnerPod::with(&setup.set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", TEMPLATE));
    runner.write(TEMPLATE, template);
    runner
}

// gk#506, gk#1045
#[test]
fn what_a_dockerfile_makes_in_var_run_is_in_the_image() {
    let runner = RunnerPod::start();
    // In debian /var/run is a link to /run, in busybox a directory or nothing.
    for base in ["busybox:1", "debian:bookworm-slim"] {
        let dockerfile = format!(
            "FROM {base}\nRUN mkdir -p /var/run/app && echo ready > /var/run/app/state\n\
             ENTRYPOINT [\"/bin/cat\", \"/var/run/app/state\"]\n"
        );
        let outcome = runner.run(&runner.action("state", &[("Dockerfile", &dockerfile)]));
        assert_eq!(outcome.assert_code(0).after_build(), "ready\n", "{base}");
    }
}

// shipwright-io/build#654, gk#778, gk#618
#[test]
fn a_run_may_do_what_dockers_capabilities_allow_under_baseline() {
    let runner = RunnerPod::start();
    let enforce = "pod-security.kubernetes.io/enforce=baseline";
    runner.k(&["label", "--overwrite", "namespace", &runner.namespace, enforce]);
    let dockerfile = "FROM debian:bookworm-slim\n\
        RUN install -d -m 2775 -g www-data /srv/shared && chroot / /bin/true && mknod /null c 1 3\n\
        RUN useradd worker && su worker -s /bin/sh -c 'sleep 300 >/dev/null 2>&1 & echo $! >/tmp/pid' \
        && kill \"$(cat /tmp/pid)\"\n\
        RUN install -m 4755 /usr/bin/id /usr/local/bin/who\n\
        USER worker\n\
        RUN test \"$(/usr/local/bin/who -u)\" = 0\n\
        USER root\n\
        ENTRYPOINT [\"/usr/bin/stat\", \"-c\", \"%a %F\", \"/srv/shared\", \"/null\"]\n";
    let outcome = runner.run(&runner.action("powers", &[("Dockerfile", dockerfile)]));
    let text = outcome.assert_code(0).after_build();
    assert!(text.starts_with("2775 directory\n"), "{text}");
    assert!(text.contains("character special file"), "{text}");
}

#[test]
fn the_administrator_may_take_capabilities_from_builds() {
    let runner = RunnerPod::with(
        &Setup::default()
            .set("HOOKD_BUILD_CAPABILITIES", "CHOWN,DAC_OVERRIDE,FOWNER,SETFCAP,SETGID,SETUID"),
    );
    let dockerfile = "FROM busybox:1\nRUN grep CapEff /proc/self/status\nENTRYPOINT [\"true\"]\n";
    let outcome = runner.run(&runner.action("fewer", &[("Dockerfile", dockerfile)]));
    let lines = outcome.assert_code(0).log_lines();
    assert!(lines.contains(&"CapEff:\t00000000800000cb".to_owned()), "{}", outcome.printed());
}

// gk#432
#[test]
fn a_build_has_the_proxy_of_the_sidecar() {
    let proxy = "http://proxy.corp.example:3128";
    let setup = Setup::default().set("HTTPS_PROXY", proxy).set("no_proxy", "10.0.0.0/8,.svc");
    let dockerfile = "FROM busybox:1\nRUN env | grep -i _proxy || echo no proxy\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"env | grep -ic proxy.corp\"]\n";
    let runner = RunnerPod::with(&setup);
    let outcome = runner.run(&runner.action("proxied", &[("Dockerfile", dockerfile)]));
    let lines = outcome.log_lines();
    for line in [&format!("HTTPS_PROXY={proxy}"), &format!("https_proxy={proxy}")] {
        assert!(lines.contains(line), "{line} is not in\n{}", outcome.printed());
    }
    let bypass =
        |line: &String| line.starts_with("no_proxy=10.0.0.0/8,.svc,localhost,127.0.0.1,::1,");
    assert!(lines.iter().any(bypass), "{}", outcome.printed());
    // As in docker, the image itself has none.
    assert!(outcome.after_build().starts_with("0\n"), "{}", outcome.printed());
    let runner = RunnerPod::with(&setup.set("HOOKD_BUILD_PROXY", "none"));
    let outcome = runner.run(&runner.action("direct", &[("Dockerfile", dockerfile)]));
    assert!(outcome.log_lines().contains(&"no proxy".to_owned()), "{}", outcome.printed());
}

// ARC#1730, ARC#2434
#[test]
fn a_builds_pod_goes_where_the_template_sends_the_pods_of_jobs() {
    let template = "metadata:\n  labels: {team: ci}\nspec:\n  \
                    nodeSelector: {kubernetes.io/os: linux}\n  tolerations:\n  \
                    - {key: dedicated, operator: Equal, value: ci, effect: NoSchedule}\n  \
                    containers:\n  - name: $build\n    env: [{name: OF_TEMPLATE, value: here}]\n    \
                    resources: {limits: {memory: 3Gi}}\n";
    let runner = with_template(Setup::default(), template);
    let dockerfile = "FROM busybox:1\nRUN tr '\\0' '\\n' </proc/1/environ | grep OF_TEMPLATE\n\
                      RUN sleep 5\nENTRYPOINT [\"/bin/echo\", \"ran\"]\n";
    let hook = runner.call(&runner.action("placed", &[("Dockerfile", dockerfile)])).start();
    hook.wait_for("OF_TEMPLATE=here\n");
    let pods = runner.objects("pods", &["-l", "hookd.dev/step"]);
    let build = &pods[0];
    assert!(build["metadata"]["name"].as_str().unwrap().contains("-build-"), "{build}");
    assert_eq!(build["metadata"]["labels"]["team"], "ci");
    let spec = &build["spec"];
    assert_eq!(spec["nodeSelector"]["kubernetes.io/os"], "linux");
    assert!(spec["nodeSelector"]["kubernetes.io/arch"].is_string(), "{spec}");
    assert_eq!(spec["tolerations"][0]["key"], "dedicated");
    assert_eq!(spec["containers"][0]["resources"]["limits"]["memory"], "3Gi");
    assert_eq!(hook.end().assert_code(0).after_build(), "ran\n");
    runner.assert_nothing_left();
}
