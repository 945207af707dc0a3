//! docker's `options:` and `volumes:` on the cluster: applied, refused by policy, or named.

use serde_json::{Value, json};

use test_support::{IMAGE, JobRun, RunnerPod, Setup, container, job_container};

/// A service of busybox that runs a script with these options.
fn service(script: &str, options: &str) -> Value {
    let mut words: Vec<_> = script.split(' ').map(|word| word.replace('"', "\\\"")).collect();
    words[0].insert(0, '"');
    words.last_mut().unwrap().push('"');
    let arguments: Vec<_> = ["-c".to_owned()].into_iter().chain(words).collect();
    let fields = json!({"entryPoint": "/bin/sh", "entryPointArgs": arguments,
        "createOptions": options});
    container("busybox:1", &fields)
}

// nektos/act#1835, docker/cli#4399, ARC#3641, docker/for-mac#3133, docker-library/postgres#880 and #146
#[test]
fn options_and_volumes_of_a_job_do_what_they_do_in_docker() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let processors = std::thread::available_parallelism().unwrap();
    let fields = json!({
        "createOptions": format!(
            "--add-host=git.internal:10.9.8.7 --add-host Artifacts.Corp.example:10.2.3.4 \
             --add-host=host.docker.internal:host-gateway --add-host build_cache:10.2.3.5 \
             --hostname build-box --network-alias builder --cpus {processors} --memory 4g"
        ),
        "userMountVolumes": [
            {"userProvidedValue": "/etc/skel", "targetVolumePath": "/etc/skel"},
            {"userProvidedValue": "/var/run/docker.sock:/var/run/docker.sock",
             "sourceVolumePath": "/var/run/docker.sock",
             "targetVolumePath": "/var/run/docker.sock"},
        ],
    });
    // The first server of the image is a temporary one, as docker's first check never sees.
    let early = "sleep 1; touch /tmp/up; sleep 4; rm /tmp/up; sleep 2; touch /tmp/up; exec httpd \
                 -f -p 5432 -h /tmp";
    let options = "--health-cmd \"test -e /tmp/up -a -d /proc/$$\" --health-interval 8s \
                   --health-timeout 5s --health-retries 5 --ulimit nofile=1024";
    let services = json!([service(early, options)]);
    let prepared = job.prepare(&job_container(IMAGE, &fields), &services);
    let text = prepared.assert_code(0).log();
    for note in [
        "Container job: `--add-host build_cache:10.2.3.5`",
        "Container job: volume at /etc/skel starts empty",
        "no docker daemon",
        "Container busybox: `--ulimit`",
    ] {
        assert!(text.contains(note), "{note:?} is not in\n{text}");
    }
    let hosts = job.run(
        "for h in git.internal artifacts.corp.example host.docker.internal build-box builder \
         busybox; do getent hosts $h > /dev/null || echo $h is unknown; done; hostname; \
         getent hosts git.internal | cut -d' ' -f1",
    );
    assert_eq!(hosts.assert_code(0).text(), "build-box\n10.9.8.7\n");
    let connect = runner.script_program("bash", "exec 3<>/dev/tcp/127.0.0.1/5432 && echo open");
    assert_eq!(job.run_program(&connect).assert_code(0).text(), "open\n");
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn power_is_refused_until_the_administrator_allows_it() {
    let runner = RunnerPod::start();
    let plain = json!({});
    for (options, setting) in [
        ("--privileged", "HOOKD_ALLOW_PRIVILEGED"),
        ("--user root", "HOOKD_ALLOW_ROOT_USER"),
        ("--cap-add NET_ADMIN", "HOOKD_ALLOWED_CAPABILITIES"),
        ("--network host", "HOOKD_ALLOW_PRIVILEGED"),
    ] {
        let fields = json!({"createOptions": options});
        let mut job = JobRun::of(&runner);
        let outcome = job.prepare(&job_container(IMAGE, &fields), &json!([]));
        outcome.assert_failed_with(10, &["Container job", options, setting]);
        let services = json!([container("busybox:1", &fields)]);
        let outcome = job.prepare(&job_container(IMAGE, &plain), &services);
        outcome.assert_failed_with(10, &["Container busybox", options, setting]);
        let call = runner.call(&runner.script("true"));
        let edited = call.edit(|input| input["args"]["createOptions"] = options.into());
        edited.run().assert_failed_with(10, &["Container step", options, setting]);
    }
    let hidden = json!({"userMountVolumes": [{"userProvidedValue": "x://__hookd/",
        "sourceVolumePath": "x", "targetVolumePath": "//__hookd/"}]});
    let outcome = JobRun::of(&runner).prepare(&job_container(IMAGE, &hidden), &json!([]));
    outcome.assert_failed_with(10, &["Container job", "//__hookd/"]);
    runner.assert_nothing_left();
}

#[test]
fn what_the_administrator_allows_is_applied() {
    let setup = Setup::default()
        .set("HOOKD_ALLOW_ROOT_USER", "true")
        .set("HOOKD_ALLOWED_CAPABILITIES", "NET_ADMIN");
    let runner = RunnerPod::with(&setup);
    // What hookd lets pass, the namespace has to let pass too.
    let enforce = "pod-security.kubernetes.io/enforce=privileged";
    runner.k(&["label", "--overwrite", "namespace", &runner.namespace, enforce]);
    let fields = json!({"createOptions": "--user root --cap-drop ALL --cap-add NET_ADMIN"});
    let mut job = JobRun::of(&runner);
    job.prepare(&job_container(IMAGE, &fields), &json!([])).assert_code(0);
    // CAP_NET_ADMIN alone.
    let outcome = job.run("id -u; grep CapEff /proc/self/status | cut -f2");
    assert_eq!(outcome.assert_code(0).text(), "0\n0000000000001000\n");
}
