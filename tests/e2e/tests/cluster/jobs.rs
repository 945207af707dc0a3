//! Jobs with a job container: made ready, their steps run in it, all of it gone at the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::output::sha256;
use test_support::cluster::cluster;
use test_support::wait::{s, until};
use test_support::{
    IMAGE, JobRun, Program, RunnerPod, WORKSPACE, container, images, job_container,
};

/// A service of busybox that listens at `port` after `delay` seconds and answers "pong".
fn service(port: u16, delay: u32, options: &str) -> serde_json::Value {
    let script = format!(
        "sleep {delay}; echo \"with $PASSWORD\"; while :; do echo pong | nc -l -p {port}; done"
    );
    let words: Vec<_> = script.split(' ').collect();
    let mut words: Vec<String> = words.into_iter().map(|word| word.replace('"', "\\\"")).collect();
    words[0].insert(0, '"');
    words.last_mut().unwrap().push('"');
    let arguments: Vec<_> = ["-c".to_owned()].into_iter().chain(words).collect();
    container(
        "busybox:1",
        &json!({
            "entryPoint": "/bin/sh", "entryPointArgs": arguments, "createOptions": options,
            "portMappings": [port.to_string()],
            "environmentVariables": {"PASSWORD": "s3cret-of-a-service"},
        }),
    )
}

#[test]
fn a_job_runs_like_a_workflow() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let fields = json!({"environmentVariables": {"LEVEL": "s3cret-of-the-job"}, "createOptions":
        "--cpus 1"});
    let health = "--network-alias cache --health-cmd \"echo x | nc 127.0.0.1 7001\" \
                  --health-interval 2s --health-retries 20";
    let services = json!([service(7001, 2, health), service(7002, 0, "--hostname other")]);
    let prepared = job.prepare(&job_container(IMAGE, &fields), &services);
    prepared.assert_code(0);
    let response = prepared.read_back.response.clone().unwrap();
    assert_eq!(response["isAlpine"], false);
    assert_eq!(response["context"]["container"]["id"], "job");
    assert_eq!(response["context"]["services"][0]["ports"], json!({"7001": "7001"}));
    assert_eq!(response["context"]["services"][1]["id"], "busybox-1");
    assert!(prepared.log().contains("cache"), "{}", prepared.log());

    // The health check was awaited; services are found by their names.
    // Each serves one caller at a time.
    let ask = "for at in cache/7001 localhost/7002 other/7002 busybox/7001; do \
               until read answer 2>/dev/null < /dev/tcp/$at; do sleep 0.1; done; \
               echo \"$at $answer\"; done 2>/dev/null";
    let outcome = job.run_program(&runner.script_program("bash", ask));
    let answers = "cache/7001 pong\nlocalhost/7002 pong\nother/7002 pong\nbusybox/7001 pong\n";
    assert_eq!(outcome.assert_code(0).text(), answers);

    let outcome = job.run("echo $LEVEL $HOME $GITHUB_ACTIONS $CI; pwd; mkdir -p sub; id -u");
    assert_eq!(
        outcome.assert_code(0).text(),
        "s3cret-of-the-job /github/home true true\n/__w/demo/demo\n0\n"
    );
    let program = runner.script_program("sh", "pwd; ls /__e").within("/__w/demo/demo/sub");
    let outcome = job.run_program(&program);
    assert_eq!(outcome.assert_code(0).text(), "/__w/demo/demo/sub\nnode20\nnode24\n");

    // File commands reach later steps.
    let tool = "#!/bin/sh\necho tool of \"$FROM_ENV\"\n";
    runner.write(&format!("{WORKSPACE}/bin/tool"), tool);
    let outcome = job.run(
        "echo total=42 >> $GITHUB_OUTPUT; echo FROM_ENV=a step >> $GITHUB_ENV; \
         echo $GITHUB_WORKSPACE/bin >> $GITHUB_PATH; echo '# Sum' >> $GITHUB_STEP_SUMMARY",
    );
    assert_eq!(outcome.assert_code(0).read_back.outputs.get("total"), Some("42"));
    assert_eq!(outcome.read_back.summary, "# Sum\n");
    assert_eq!(job.run("tool").assert_code(0).text(), "tool of a step\n");

    // A JavaScript action, with the runner's own Node.js.
    let js = "console.log(process.version, process.env['INPUT_FETCH-DEPTH'], process.argv.length)";
    runner.write(&format!("{WORKSPACE}/action/index.js"), js);
    for (node, version) in [("node20", "v20."), ("node24", "v24.")] {
        let program =
            Program::new(&format!("/__e/{node}/bin/node"), "/__w/demo/demo/action/index.js");
        let outcome = job.run_program(&program.set("INPUT_FETCH-DEPTH", "3"));
        let text = outcome.assert_code(0).text();
        assert!(text.starts_with(version) && text.ends_with(" 3 2\n"), "{text}");
    }

    // A background process serves the next step.
    job.run("(while [ ! -e stop ]; do date +%N > beat; sleep 0.05; done) & echo up").assert_code(0);
    job.run("a=$(cat beat); sleep 0.5; [ \"$a\" != \"$(cat beat)\" ]; touch stop").assert_code(0);

    // A failing step keeps its code and its outputs; a container step beside the job sees its files.
    let outcome = job.run("echo why=this >> $GITHUB_OUTPUT; echo failing >&2; exit 3");
    let log = outcome.assert_code(3).log_lines();
    assert_eq!((log.len(), log[0].as_str()), (2, "failing"), "{log:?}");
    let ran = ["The program itself ended with exit code 3, in container job", " MiB"];
    assert!(ran.iter().all(|part| log[1].contains(part)), "{log:?}");
    assert_eq!(outcome.read_back.outputs.get("why"), Some("this"));
    let outcome = runner.run(&runner.script("cat /github/workspace/bin/tool; echo x > made"));
    assert_eq!(outcome.assert_code(0).text(), tool);
    assert_eq!(job.run("cat made").assert_code(0).text(), "x\n");
    let dockerfile = "FROM busybox:1\nENTRYPOINT [\"/bin/sh\", \"-c\", \
                      \"echo y >> made; echo built=yes >> $GITHUB_OUTPUT\"]\n";
    let outcome = runner.run(&runner.action("edits", &[("Dockerfile", dockerfile)]));
    assert_eq!(outcome.assert_code(0).read_back.outputs.get("built"), Some("yes"));
    assert_eq!(job.run("cat made").assert_code(0).text(), "x\ny\n");

    let cleaned = job.clean_up();
    let text = cleaned.assert_code(0).log();
    for line in ["##[group]Log of service busybox-0", "with s3cret-of-a-service", "##[endgroup]"] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    runner.assert_nothing_left();
    let log = runner.log();
    for secret in ["s3cret-of-the-job", "s3cret-of-a-service"] {
        assert!(!log.contains(secret), "hookd's log has {secret}");
    }
}

#[test]
fn environments_of_services_are_in_a_secret_and_a_jobs_nowhere() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let fields = json!({"environmentVariables": {"A": "s3cret-of-the-job"}});
    job.prepare(&job_container(IMAGE, &fields), &json!([service(7003, 0, "")])).assert_code(0);
    let program =
        runner.script_program("sh", "echo started; while [ ! -e go ]; do sleep 0.05; done");
    let call = job.step_call(&program.set("B", "s3cret-of-the-step"));
    let hook = call.start();
    hook.wait_for("started\n");
    let seen = serde_json::to_string(&runner.objects("pods,events,jobs", &[])).unwrap();
    let secrets = serde_json::to_string(&runner.objects("secrets", &[])).unwrap();
    runner.write(&format!("{WORKSPACE}/go"), "");
    hook.end().assert_code(0);
    job.clean_up().assert_code(0);
    let audit = cluster().state.join("logs/audit.log");
    let audit = fs::read_to_string(audit).unwrap();
    for (what, text) in
        [("objects", &seen), ("the audit log", &audit), ("hookd's log", &runner.log())]
    {
        assert!(!text.contains("s3cret-of-"), "a value stands in {what}");
    }
    // The base64 of "s3cret-of-a-service", and of the beginning of the others.
    assert!(secrets.contains("czNjcmV0LW9mLWEtc2VydmljZQ"), "a service's value is in a Secret");
    assert!(!secrets.contains("czNjcmV0LW9mLXRo"), "a value of job or step is in a Secret");
}

#[test]
fn the_secrets_of_a_jobs_pod_go_though_the_pod_is_gone() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let services = json!([service(7003, 0, "")]);
    job.prepare(&job_container(IMAGE, &json!({})), &services).assert_code(0);
    runner.k(&["delete", "pod", "runner-workflow"]);
    // What names them is not the memory of one daemon.
    let killed = runner.daemon();
    killed.signal(Signal::KILL);
    until("another daemon", s(30), || (runner.daemon().pid != killed.pid).then_some(()));
    assert_eq!(runner.objects("secrets", &["-l", "runner-pod=runner"]).len(), 1);
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn two_hundred_megabytes_arrive_whole_and_hookd_stays_small() {
    assert_large_output(&RunnerPod::start());
}

/// A step's 200 MB arrive whole, and hookd does not grow with them.
pub(crate) fn assert_large_output(runner: &RunnerPod) {
    let mut job = JobRun::start(runner);
    let outcome = job.run("head -c 200000000 /dev/urandom | tee /__w/_temp/large; echo err >&2");
    outcome.assert_code(0);
    let written = fs::read(runner.local("/home/runner/_work/_temp/large")).unwrap();
    assert_eq!((outcome.stdout.len(), written.len()), (200_000_000, 200_000_000));
    assert_eq!(sha256(&outcome.stdout), sha256(&written));
    assert_eq!(outcome.stderr, b"err\n");
    let status = runner.daemon().read("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kilobytes < 40 << 10, "hookd had {kilobytes} kB resident");
}

#[test]
fn a_job_image_with_a_user_of_its_own_can_write_its_files() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let fields = json!({"createOptions": "--user 1000:1000"});
    job.prepare(&job_container(IMAGE, &fields), &json!([])).assert_code(0);
    let outcome =
        job.run("id -u; echo who=$(id -u) >> $GITHUB_OUTPUT; echo x > $HOME/mine; ls /__e");
    assert_eq!(outcome.assert_code(0).text(), "1000\nnode20\nnode24\n");
    assert_eq!(outcome.read_back.outputs.get("who"), Some("1000"));
}

#[test]
fn steps_side_by_side_do_not_mix() {
    let runner = RunnerPod::start();
    let job = JobRun::start(&runner);
    let hooks: Vec<_> = (1..=4)
        .map(|n| {
            let script = format!("for i in 1 2 3 4 5; do echo step {n}; sleep 0.1; done; exit {n}");
            job.step_call(&runner.script_program("sh", &script)).start()
        })
        .collect();
    for (n, hook) in (1..).zip(hooks) {
        let outcome = hook.end();
        assert_eq!(outcome.assert_code(n).text(), format!("step {n}\n").repeat(5));
    }
}

#[test]
fn a_job_with_services_only_is_prepared_and_cleaned_up() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let outcome = job.prepare(&json!(null), &json!([service(7004, 0, "")]));
    let response = outcome.assert_code(0).read_back.response.clone().unwrap();
    assert_eq!(response["context"].get("container"), None);
    assert_eq!(response["context"]["services"][0]["ports"], json!({"7004": "7004"}));
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn another_prepare_job_takes_the_place_of_an_earlier_one() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    job.run("touch /in-the-first").assert_code(0);
    let mut job = JobRun::start(&runner);
    job.run("test ! -e /in-the-first").assert_code(0);
}

#[test]
fn an_image_without_anything_but_one_program_is_a_job_container() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let prepared = job.prepare(
        &job_container(&images::of_one_file(Path::new("/bin/busybox"), None), &json!({})),
        &json!([]),
    );
    assert_eq!(prepared.assert_code(0).read_back.response.as_ref().unwrap()["isAlpine"], false);
    let outcome = job.run_program(&Program::new("/busybox", "echo from scratch"));
    assert_eq!(outcome.assert_code(0).text(), "from scratch\n");
    let outcome = job.run_program(&Program::new("/busybox", "false"));
    outcome.assert_code(1);
    assert!(job.run_program(&Program::new("sh", "-e x")).assert_code(127).log().contains("PATH"));
}

/// Requests of hookd's account so far; a watch is one.
pub(crate) fn requests(runner: &RunnerPod) -> usize {
    let user = format!("system:serviceaccount:{}:hookd", runner.namespace);
    let log = fs::read_to_string(cluster().state.join("logs/audit.log")).unwrap();
    let events = log.lines().filter(|line| line.contains(&user));
    let events = events.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ids = events.filter(|event| event["user"]["username"] == user.as_str());
    let ids: BTreeSet<_> = ids.map(|event| event["auditID"].to_string()).collect();
    ids.len()
}

#[test]
fn a_job_of_ten_steps_makes_at_most_thirty_api_requests() {
    let runner = RunnerPod::start();
    let before = requests(&runner);
    let mut job = JobRun::start(&runner);
    for number in 0..10 {
        job.run(&format!("echo {number}")).assert_code(0);
    }
    runner.run(&runner.script("echo container")).assert_code(0);
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
    let made = requests(&runner) - before;
    assert!((10..=30).contains(&made), "{made} requests");
}
