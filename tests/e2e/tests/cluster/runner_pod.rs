//! Jobs in the runner's own pod: no claim, no copy, no new pod.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::{assert_large_output, requests};
use crate::policies;
use test_support::cluster::{cluster, try_kubectl};
use test_support::faults::Stopped;
use test_support::wait::{s, until};
use test_support::{
    IMAGE, JobRun, Program, RunnerPod, Setup, Values, WORK, WORKSPACE, container, images,
    job_container,
};

fn start() -> RunnerPod {
    RunnerPod::with(&Setup::in_runner_pod())
}

/// A service of busybox that answers "pong" at this port.
fn service(port: u16, fields: &Value) -> Value {
    let script = format!("\"echo up $SECRET; while :; do echo pong | nc -l -p {port}; done\"");
    let words: Vec<_> = ["-c"].into_iter().chain(script.split(' ')).collect();
    let mut all = json!({"entryPoint": "/bin/sh", "entryPointArgs": words,
        "environmentVariables": {"SECRET": "s3cret-of-a-service"}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    container("busybox:1", &all)
}

/// Command lines of the processes in containers of jobs.
fn processes(runner: &RunnerPod) -> Vec<String> {
    let all = test_support::processes::all().into_iter();
    let own = all.filter(|process| process.is_of_pod(&runner.uid));
    let own = own.filter(|process| process.command.contains("/__hookd/stepd"));
    own.map(|process| process.command).collect()
}

#[test]
fn files_are_the_runners_own_and_what_a_job_deletes_is_gone() {
    let runner = start();
    runner.write(&format!("{WORKSPACE}/from-runner"), "hello");
    let mut job = JobRun::start(&runner);
    job.run("cat from-runner; rm from-runner; echo made > from-job").assert_code(0);
    assert!(!runner.local(&format!("{WORKSPACE}/from-runner")).exists());
    assert_eq!(fs::read(runner.local(&format!("{WORKSPACE}/from-job"))).unwrap(), b"made\n");
    // A container step sees them, and its edits and outputs are there.
    let outcome = runner.run(&runner.script(
        "pwd; cat from-job; echo more >> from-job; echo by=step >> $GITHUB_OUTPUT; ls -d /__w/demo",
    ));
    let text = outcome.assert_code(0).text();
    assert_eq!(text, "/github/workspace\nmade\n/__w/demo\n");
    assert_eq!(outcome.read_back.outputs.get("by"), Some("step"));
    assert_eq!(job.run("cat from-job").assert_code(0).text(), "made\nmore\n");
    job.clean_up().assert_code(0);
    until("no process of the job is left", s(10), || processes(&runner).is_empty().then_some(()));
    // Neither a pod nor a Job was made for it.
    assert_eq!(runner.objects("pods", &[]).len(), 1);
}

#[test]
fn nodejs_is_the_runners_and_is_copied_when_a_step_needs_it() {
    let runner = start();
    let mut job = JobRun::start(&runner);
    let externals = runner.empty_dir("hookd-externals");
    assert_eq!(fs::read_dir(&externals).unwrap().count(), 0);
    runner.write(&format!("{WORKSPACE}/a.js"), "console.log(process.version)");
    let program = Program::new("/__e/node20/bin/node", "/__w/demo/demo/a.js");
    let text = job.run_program(&program).assert_code(0).text();
    assert!(text.starts_with("v20."), "{text}");
    assert!(externals.join("node20").exists() && !externals.join("node24").exists());
    // The job cannot put its own in place of it.
    job.run("echo x > /__e/node20/bin/node").assert_code(2);
    job.clean_up().assert_code(0);
}

#[test]
fn services_are_healthy_before_the_job_and_found_by_their_names() {
    let runner = start();
    let mut job = JobRun::of(&runner);
    let health = "--network-alias cache --health-cmd \"echo x | nc 127.0.0.1 7001\" \
                  --health-interval 1s --health-retries 30";
    let services = json!([
        service(7001, &json!({"createOptions": health, "portMappings": ["7001"]})),
        service(7002, &json!({"createOptions": "--name unknown", "portMappings": ["7002"]})),
    ]);
    let prepared = job.prepare(&job_container(IMAGE, &json!({})), &services);
    let log = prepared.assert_code(0).log();
    assert!(log.contains("Container busybox-0 is healthy after"), "{log}");
    // The runner pod of this test has no such name.
    assert!(log.contains("nothing is found under unknown"), "{log}");
    let response = prepared.read_back.response.clone().unwrap();
    assert_eq!(response["context"]["services"][0]["ports"], json!({"7001": "7001"}));
    let ask = "for at in cache/7001 localhost/7002; do \
               until read answer 2>/dev/null < /dev/tcp/$at; do sleep 0.1; done; \
               echo \"$at $answer\"; done 2>/dev/null";
    let outcome = job.run_program(&runner.script_program("bash", ask));
    assert_eq!(outcome.assert_code(0).text(), "cache/7001 pong\nlocalhost/7002 pong\n");
    let seen = serde_json::to_string(&runner.objects("pods,events,secrets", &[])).unwrap();
    assert!(!seen.contains("s3cret-of-") && !seen.contains("czNjcmV0"), "a value is in an object");
    let text = job.clean_up().assert_code(0).log();
    for line in ["##[group]Log of service busybox-0", "up s3cret-of-a-service"] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    until("no process of the job is left", s(10), || processes(&runner).is_empty().then_some(()));
}

#[test]
fn a_job_without_a_container_reaches_its_services_at_localhost() {
    let runner = start();
    let mut job = JobRun::of(&runner);
    let services = json!([service(7001, &json!({"portMappings": ["7003:7001"]}))]);
    let prepared = job.prepare(&Value::Null, &services);
    prepared.assert_code(0);
    let response = prepared.read_back.response.clone().unwrap();
    assert_eq!(response["context"]["services"][0]["ports"], json!({"7001": "7003"}));
    for port in [7001, 7003] {
        let ask = format!("read answer < /dev/tcp/localhost/{port}; echo $answer");
        let answer = runner.k(&["exec", "runner", "-c", "runner", "--", "bash", "-c", &ask]);
        assert_eq!(answer, "pong\n");
    }
    job.clean_up().assert_code(0);
}

#[test]
fn a_service_that_crashes_is_told_with_its_last_lines() {
    let runner = start();
    let mut job = JobRun::of(&runner);
    let crash = json!({"entryPointArgs": ["-c", "\"echo", "no", "database;", "exit", "5\""]});
    let outcome = job.prepare(&job_container(IMAGE, &json!({})), &json!([service(7001, &crash)]));
    outcome.assert_failed_with(60, &["busybox", "exit code 5"]);
    assert!(outcome.printed().contains("no database"), "{}", outcome.printed());
    until("no process of the job is left", s(10), || processes(&runner).is_empty().then_some(()));
    // The next job finds nothing in its way.
    let mut job = JobRun::start(&runner);
    job.run("echo works").assert_code(0);
}

#[test]
fn a_job_that_cannot_start_is_told_and_the_next_one_works() {
    let runner = start();
    let mut job = JobRun::of(&runner);
    job.prepare(&job_container("debian:misspelt", &json!({})), &json!([]))
        .assert_failed_with(60, &["debian:misspelt"]);
    let part = json!({"createOptions": "--user 1000", "userMountVolumes": [{
        "userProvidedValue": format!("{WORK}/x:/x"), "sourceVolumePath": format!("{WORK}/x"),
        "targetVolumePath": "/x"}]});
    let outcome = job.prepare(&job_container(IMAGE, &part), &json!([]));
    outcome.assert_failed_with(30, &["stepd ended with exit code 1"]);
    assert!(outcome.printed().contains("\"/x\" cannot be made to lead"), "{}", outcome.printed());
    let privileged = json!({"createOptions": "--privileged"});
    job.prepare(&job_container(IMAGE, &privileged), &json!([]))
        .assert_failed_with(10, &["--privileged", "HOOKD_ALLOW_PRIVILEGED"]);
    let missing = container("busybox:1", &json!({"entryPoint": "/none"}));
    job.prepare(&job_container(IMAGE, &json!({})), &json!([missing]))
        .assert_failed_with(60, &["busybox", "127"]);
    let mut job = JobRun::start(&runner);
    assert_eq!(job.run("echo works").assert_code(0).text(), "works\n");
    runner.run(&runner.script("exit 3")).assert_code(3);
}

#[test]
fn volumes_are_spare_ones_of_the_pod_and_no_job_gets_anothers() {
    let runner = start();
    let named = json!([{"userProvidedValue": "data:/data", "sourceVolumePath": "data",
        "targetVolumePath": "/data"}]);
    for _ in 0..2 {
        let mut job = JobRun::of(&runner);
        let service = service(7001, &json!({"userMountVolumes": named}));
        let fields = json!({"userMountVolumes": named});
        job.prepare(&job_container(IMAGE, &fields), &json!([service])).assert_code(0);
        assert_eq!(job.run("ls /data; echo x > /data/mine").assert_code(0).text(), "");
        job.clean_up().assert_code(0);
    }
}

#[test]
fn a_step_outlives_hookd_and_its_output_is_whole() {
    let runner = start();
    let mut job = JobRun::start(&runner);
    let script = "echo begun; while [ ! -e go ]; do sleep 0.05; done; seq 1 20000; exit 4";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    hook.wait_for("begun\n");
    let killed = runner.daemon();
    killed.signal(Signal::KILL);
    until("another daemon", s(30), || (runner.daemon().pid != killed.pid).then_some(()));
    runner.write(&format!("{WORKSPACE}/go"), "");
    let outcome = hook.end();
    let numbers: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert_eq!(outcome.assert_code(4).text(), format!("begun\n{numbers}"));
    assert_eq!(job.run("echo after").assert_code(0).text(), "after\n");
    job.clean_up().assert_code(0);
}

#[test]
fn a_cancelled_step_leaves_no_process() {
    let runner = start();
    let job = JobRun::start(&runner);
    let script = "trap '' INT TERM; (setsid sleep 7654 &) ; sleep 7654";
    let hook = job.step_call(&runner.script_program("sh", &format!("echo up; {script}"))).start();
    hook.wait_for("up\n");
    hook.signal(Signal::INT);
    hook.end_within(s(20));
    let step = runner.call(&runner.script(&format!("echo up; {script}"))).start();
    step.wait_for("up\n");
    step.signal(Signal::TERM);
    step.end_within(s(20));
    until("no process is left", s(10), || {
        let all = test_support::processes::all();
        (!all.iter().any(|one| one.command == "sleep 7654")).then_some(())
    });
}

#[test]
fn a_step_needs_no_api_server_once_its_job_runs() {
    let runner = RunnerPod::with(&Setup { alone: true, ..Setup::in_runner_pod() });
    let mut job = JobRun::start(&runner);
    let program = runner.script_program("sh", "echo done");
    job.run_program(&program).assert_code(0);
    // Hooks that have been started wait for hookd until the API server is gone.
    let daemon = runner.daemon();
    assert!(daemon.signal(Signal::STOP));
    let hooks: Vec<_> = (0..10).map(|_| job.step_call(&program).start()).collect();
    let stopped = Stopped::component("kube-apiserver", &runner.turn);
    let began = Instant::now();
    assert!(daemon.signal(Signal::CONT));
    for hook in hooks {
        assert_eq!(hook.end_within(s(10)).assert_code(0).text(), "done\n");
    }
    assert!(began.elapsed() < s(5), "{:?}", began.elapsed());
    drop(stopped);
    job.run("echo after").assert_code(0);
}

#[test]
fn two_hundred_megabytes_arrive_whole_from_the_runner_pod() {
    assert_large_output(&start());
}

#[test]
fn a_scratch_image_can_be_a_jobs_container_and_a_step() {
    let runner = start();
    let image = images::of_one_file(std::path::Path::new("/bin/busybox"), Some("/busybox"));
    // hookd must reach its registry, and does by the map for Docker Hub's images.
    let image = image.split_once('/').unwrap().1;
    let mut job = JobRun::of(&runner);
    job.prepare(&job_container(image, &json!({})), &json!([])).assert_code(0);
    let program = Program::new("/busybox", "true");
    job.run_program(&program).assert_code(0);
    let action = format!(
        "runs:\n  using: docker\n  image: docker://{image}\n  args: [echo, 'from  scratch']\n"
    );
    let outcome = runner.run(&runner.action("bare", &[("action.yml", &action)]));
    assert_eq!(outcome.assert_code(0).text(), "from  scratch\n");
}

#[test]
fn a_malicious_step_reaches_neither_stepd_nor_hookd_nor_a_token() {
    let runner = start();
    runner.write(&format!("{WORKSPACE}/call.py"), "");
    let mut job = JobRun::of(&runner);
    let service = service(7001, &json!({}));
    job.prepare(&job_container(IMAGE, &json!({})), &json!([service])).assert_code(0);
    // Nothing but its own container: no token, no socket of hookd, no other process.
    let looks = job.run(
        "ls /var/run/secrets /run/hookd /run/hookd-agents 2>&1 | grep -c 'No such'; \
         ls /__hookd_run; ls /proc | grep -c '^[0-9]*$'; \
         touch /__hookd/x /github/x 2>&1 | grep -c 'Read-only'; mount | grep -c hookd-services",
    );
    let text = looks.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines[3], lines[4]), ("3", "2", "0"), "{text}");
    assert!(lines[1].starts_with("job-"), "{text}");
    assert!(lines[2].parse::<u32>().unwrap() < 20, "{text}");
    // stepd answers no process of its own container: it closes the connection without a byte.
    let call = "exec 3<>/dev/null; for at in /__hookd_run/*/stepd.sock; do \
                perl -MIO::Socket::UNIX -e '$SIG{PIPE} = \"IGNORE\"; $s = IO::Socket::UNIX->new($ARGV[0]) or exit 0; \
                print $s \"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\" . (\"\\0\" x 9); \
                exit(defined(<$s>) ? 1 : 0)' $at || echo answered; done; echo asked";
    assert_eq!(job.run(call).assert_code(0).text(), "asked\n");
    // A link in place of the socket leads hookd nowhere, and hookd says so.
    job.run("cd /__hookd_run/*/ && mv stepd.sock real && ln -s /run/hookd/hookd.sock stepd.sock")
        .assert_code(0);
    let killed = runner.daemon();
    killed.signal(Signal::KILL);
    until("another daemon", s(30), || (runner.daemon().pid != killed.pid).then_some(()));
    let log = try_kubectl(&["-n", &runner.namespace, "logs", "runner", "-c", "hookd"], None);
    assert!(!log.unwrap().contains("panicked"));
}

#[test]
fn no_secret_of_a_job_in_the_runner_pod_is_in_the_cluster() {
    let runner = start();
    let mut job = JobRun::of(&runner);
    let fields = json!({"environmentVariables": {"A": "s3cret-of-the-job"}});
    job.prepare(&job_container(IMAGE, &fields), &json!([])).assert_code(0);
    let program = runner.script_program("sh", "echo $A $B").set("B", "s3cret-of-the-step");
    let text = job.run_program(&program).assert_code(0).text();
    assert_eq!(text, "s3cret-of-the-job s3cret-of-the-step\n");
    let mut step = runner.script("echo $C");
    step.env.set("C", "s3cret-of-a-container-step");
    runner.run(&step).assert_code(0);
    let seen = serde_json::to_string(&runner.objects("pods,events,secrets", &[])).unwrap();
    let audit = fs::read_to_string(cluster().state.join("logs/audit.log")).unwrap();
    for (what, text) in [("objects", &seen), ("the audit log", &audit), ("the log", &runner.log())]
    {
        assert!(!text.contains("s3cret-of-the-") && !text.contains("s3cret-of-a-con"), "{what}");
    }
    job.clean_up().assert_code(0);
}

#[test]
fn ten_script_steps_and_a_container_step_take_eight_requests() {
    let runner = start();
    let before = requests(&runner);
    let mut job = JobRun::start(&runner);
    for number in 0..10 {
        job.run(&format!("echo {number}")).assert_code(0);
    }
    runner.run(&runner.script("echo container")).assert_code(0);
    job.clean_up().assert_code(0);
    let made = requests(&runner) - before;
    assert!((2..=8).contains(&made), "{made} requests");
}

#[test]
fn the_admission_policy_lets_a_job_in_the_runner_pod_start() {
    let runner = start();
    policies::enforce(&runner);
    let mut job = JobRun::start(&runner);
    job.run("true").assert_code(0);
    runner.run(&runner.script("true")).assert_code(0);
    let built = runner.action("built", &[("Dockerfile", "FROM busybox:1\nCMD [\"true\"]\n")]);
    runner.run(&built).assert_code(0);
    let mut token = json!({"name": "token", "image": "busybox:1", "volumeMounts": [
        {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]});
    let patch = |container: &Value| {
        let patch = json!({"spec": {"ephemeralContainers": [container]}}).to_string();
        let user = format!("--as=system:serviceaccount:{}:hookd", runner.namespace);
        let arguments = [
            "-n",
            &runner.namespace,
            "patch",
            "pod",
            "runner",
            "--subresource",
            "ephemeralcontainers",
            "--dry-run=server",
            &user,
            // kubectl reads what it patches, and hookd may not.
            "--as-group=system:masters",
            "-p",
            &patch,
        ];
        try_kubectl(&arguments, None)
    };
    let refusal = patch(&token).unwrap_err();
    assert!(refusal.contains("mounts no service account token"), "{refusal}");
    let mut secret = token.clone();
    secret["volumeMounts"] = json!([]);
    secret["envFrom"] = json!([{"secretRef": {"name": "other"}}]);
    let refusal = patch(&secret).unwrap_err();
    assert!(refusal.contains("reads no Secret"), "{refusal}");
    token["volumeMounts"] = json!([]);
    patch(&token).unwrap();
    token["securityContext"] = json!({"capabilities": {"add": ["NET_ADMIN"]}});
    assert!(patch(&token).is_err());
}

/// The pod that ARC's controller makes of the values: with its variable, its labels and no restarts.
#[test]
fn a_runner_pod_as_arc_makes_it_from_the_values_runs_a_job() {
    for values in [Values::Stable, Values::Experimental] {
        let runner = RunnerPod::with(&Setup::in_runner_pod().from(values));
        let mut job = JobRun::of(&runner);
        let prepared = job.prepare(&job_container(IMAGE, &json!({})), &json!([]));
        // Nothing of a plain job is left out.
        assert!(!prepared.assert_code(0).printed().contains("ignored"), "{}", prepared.printed());
        assert_eq!(job.run("echo works; ls /__e").assert_code(0).text(), "works\n");
        runner.run(&runner.script("true")).assert_code(0);
        let dockerfile = "FROM busybox:1\nRUN true\nENTRYPOINT [\"/bin/echo\", \"built\"]\n";
        let built = runner.run(&runner.action("built", &[("Dockerfile", dockerfile)]));
        assert_eq!(built.assert_code(0).after_build(), "built\n");
        job.clean_up().assert_code(0);
    }
}

#[test]
fn a_container_step_needs_no_job() {
    let runner = start();
    runner.run(&runner.script("echo x > made; exit 4")).assert_code(4);
    runner.run(&runner.script("cat made")).assert_code(0);
    runner.cleanup().run().assert_code(0);
    until("no process is left", s(10), || processes(&runner).is_empty().then_some(()));
}

#[test]
fn a_step_cannot_outlive_its_end_by_taking_its_socket_away() {
    let runner = start();
    let mut job = JobRun::start(&runner);
    let outcome = runner.run(&runner.script(
        "rm /__hookd_run/*/stepd.sock; mkdir /__hookd_run/step-planted; \
         (setsid sleep 7531 &); echo done",
    ));
    assert_eq!(outcome.assert_code(0).text(), "done\n");
    until("the container has ended", s(10), || {
        let all = test_support::processes::all();
        (!all.iter().any(|one| one.command == "sleep 7531")).then_some(())
    });
    job.run("echo goes on").assert_code(0);
    job.clean_up().assert_code(0);
    until("no process is left", s(10), || processes(&runner).is_empty().then_some(()));
}

#[test]
fn containers_run_under_the_runtimes_seccomp_profile() {
    let runner = RunnerPod::with(&Setup::in_runner_pod().from(Values::Stable));
    let mut job = JobRun::start(&runner);
    let filtered = "grep -q 'Seccomp:.2' /proc/self/status";
    job.run(filtered).assert_code(0);
    runner.run(&runner.script(filtered)).assert_code(0);
}
