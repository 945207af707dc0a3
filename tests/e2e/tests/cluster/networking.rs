//! How steps reach the services of their job, whatever runs them; and what a job cannot reach.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use rustix::process::Signal;
use serde_json::{Value, json};

use test_support::runner::RUNNER;
use test_support::wait::{s, until};
use test_support::{
    IMAGE, JobRun, RUNNER_ID, RunnerPod, Setup, WORK, WORKSPACE, container, job_container,
};

/// A web server of busybox on port 8080 that serves "pong".
fn web(ports: &[&str], options: &str) -> Value {
    let script = "\"echo pong >/tmp/ping; exec httpd -f -p 8080 -h /tmp\"";
    let words: Vec<_> = std::iter::once("-c").chain(script.split(' ')).collect();
    container(
        "busybox:1",
        &json!({"entryPoint": "/bin/sh", "entryPointArgs": words, "portMappings": ports,
            "createOptions": options}),
    )
}

/// Asks a service; the static busybox of these tests cannot look names up.
const ASK: &str = "ask() { { exec 3<>/dev/tcp/$1/$2; } 2>/dev/null && \
                   printf 'GET /ping HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 5 tail -n 1 <&3; }";

/// A container step of an image with bash that runs a script.
fn asks(runner: &RunnerPod, script: &str) -> fake_runner::Step {
    runner.write(&format!("{WORKSPACE}/ask"), script);
    let action = format!(
        "runs:\n  using: docker\n  image: docker://{IMAGE}\n  entrypoint: /bin/bash\n  \
         args: [/github/workspace/ask]\n"
    );
    runner.action("asks-image", &[("action.yml", &action)])
}

/// What the last line of a response to a request from the runner container is; nothing: refused.
fn ask_from_the_runner(runner: &RunnerPod, host: &str, port: u16) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port} && printf 'GET /ping HTTP/1.0\\r\\n\\r\\n' >&3 && \
         timeout 5 tail -n 1 <&3"
    );
    let script = format!("({script}) 2>/dev/null || true");
    let answer = runner.k(&["exec", RUNNER, "-c", "runner", "--", "/bin/bash", "-c", &script]);
    answer.trim().to_owned()
}

// ARC#2977, ARC#1768, ARC#3073
#[test]
fn services_without_a_job_container_are_reached_on_localhost() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let services = json!([web(&["18080:8080", "53/udp"], "")]);
    let prepared = job.prepare(&json!(null), &services);
    let text = prepared.assert_code(0).log();
    let response = prepared.read_back.response.as_ref().unwrap();
    assert_eq!(response["context"]["services"][0]["ports"], json!({"8080": "18080"}));
    for words in ["localhost:18080 is port 8080 of busybox", "53/udp", "only TCP is"] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(ask_from_the_runner(&runner, host, 18080), "pong", "{host}");
    }

    // Only the runner pod itself has the port.
    let pod = runner.object("pod", RUNNER);
    let address = pod["status"]["podIP"].as_str().unwrap();
    let script = format!(
        "{ASK}; ask {address} 18080 || echo refused; ask $(getent hosts busybox | cut -d' ' -f1) 8080"
    );
    let outcome = runner.run(&asks(&runner, &script));
    assert_eq!(outcome.assert_code(0).text(), "refused\npong\n");

    // A daemon that takes over serves the port again.
    let daemon = runner.daemon();
    assert!(daemon.signal(Signal::KILL));
    until("another daemon runs", s(10), || (runner.daemon().pid != daemon.pid).then_some(()));
    until("the port is served again", s(20), || {
        (ask_from_the_runner(&runner, "localhost", 18080) == "pong").then_some(())
    });

    job.clean_up().assert_code(0);
    assert_eq!(ask_from_the_runner(&runner, "localhost", 18080), "");
    runner.assert_nothing_left();
}

// addnab/docker-run-action PR#3, ARC#3073, woodpecker#4627
#[test]
fn container_steps_reach_services_by_name_whoever_starts_them() {
    let ask = format!(
        "{ASK}; for at in web busybox; do ask $(getent hosts $at | cut -d' ' -f1) 8080; done"
    );
    for (starter, job_in) in [("auto", job_container(IMAGE, &json!({}))), ("kubelet", json!(null))]
    {
        let runner =
            RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", starter));
        let mut job = JobRun::of(&runner);
        job.prepare(&job_in, &json!([web(&["8080"], "--network-alias web")])).assert_code(0);
        let outcome = runner.run(&asks(&runner, &ask));
        assert_eq!(outcome.assert_code(0).text(), "pong\npong\n", "{starter}");
        let dockerfile = format!("FROM {IMAGE}\nCOPY ask /ask\nENTRYPOINT [\"bash\", \"/ask\"]\n");
        let files = [("Dockerfile", dockerfile.as_str()), ("ask", &ask)];
        let outcome = runner.run(&runner.action("asks", &files));
        assert_eq!(outcome.assert_code(0).after_build(), "pong\npong\n", "{starter}");
        job.clean_up().assert_code(0);
        // The next job has none.
        let outcome = runner.run(&runner.script("grep -c busybox /etc/hosts || true"));
        assert_eq!(outcome.assert_code(0).text(), "0\n");
    }
}

// microsoft/playwright#6500, actions/runner#1146
#[test]
fn what_a_job_did_to_its_directories_fails_no_container_step() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    job.run("chown root:root \"$HOME\" && chmod 700 \"$HOME\"").assert_code(0);
    let outcome = runner.run(&runner.script("stat -c '%u %a' /github/home; touch /github/home/x"));
    assert_eq!(outcome.assert_code(0).text(), "0 700\n");
    job.run(
        // The runner itself makes its directories before each step, and stops at a file there.
        "cd /__w/_temp && rm -rf _github_workflow && ln -s /etc _github_workflow",
    )
    .assert_code(0);
    let outcome = runner.run(&runner.script("ls -A /github/home /github/workflow"));
    assert_eq!(outcome.assert_code(0).text(), "/github/home:\nx\n\n/github/workflow:\n");
    let log = outcome.log();
    assert!(log.contains("_github_workflow was a symlink"), "{log}");
    job.clean_up().assert_code(0);
}

#[test]
fn a_part_of_a_shared_claim_leads_to_no_other_runners_files() {
    for trusted in ["false", "true"] {
        let setup = Setup { sub_path: Some("runner-1"), ..Setup::default() };
        let runner = RunnerPod::with(&setup.set("HOOKD_TRUST_SHARED_CLAIM", trusted));
        let other = runner.volume.with_file_name("runner-2");
        fs::create_dir(&other).unwrap();
        chown(&other, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
        let secret = other.join("secret");
        fs::write(&secret, "of another runner").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&secret, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();

        let step = runner.script("cat /github/home/secret; echo mine >/github/home/secret");
        let call = runner.call(&step);
        let home = runner.local(&format!("{WORK}/_temp/_github_home"));
        let _ = fs::remove_dir_all(&home);
        symlink("../../runner-2", &home).unwrap();
        let outcome = call.run();
        assert!(!outcome.printed().contains("of another runner"), "{}", outcome.printed());
        assert_eq!(fs::read_to_string(&secret).unwrap(), "of another runner");
        if trusted == "true" {
            outcome.assert_code(0);
            assert!(outcome.log().contains("_github_home was a symlink"), "{}", outcome.log());
        } else {
            outcome.assert_failed_with(20, &["runner-1", "HOOKD_TRUST_SHARED_CLAIM"]);
            let refused =
                JobRun::of(&runner).prepare(&job_container(IMAGE, &json!({})), &json!([]));
            refused.assert_failed_with(20, &["runner-1", "HOOKD_TRUST_SHARED_CLAIM"]);
        }
        runner.assert_nothing_left();
    }
}
