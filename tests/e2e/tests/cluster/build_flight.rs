//! Of all that need one image at the same time one builds it; who ends without it is followed by another.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use test_support::wait::{s, until};
use test_support::{RunnerPod, Setup, cluster};

use crate::build_reuse::{FOUND, action, dockerfile, keeping};

/// As the log of who waits for another's build says it.
pub(crate) const FOLLOWED: &str = " builds it, this is its log\n";
/// No build that lost its builder waits longer for another.
const TAKEN_OVER: Duration = s(10);

/// A runner pod beside others in its namespace, which need one image.
fn in_runner_pod() -> Setup {
    Setup::in_runner_pod().with_registry().set("HOOKD_BUILT_IMAGES", "keep")
}

/// Sees each build Job of a namespace, however short it is there.
pub(crate) struct SeenBuilds(Child);

impl SeenBuilds {
    pub(crate) fn of(runner: &RunnerPod) -> Self {
        let mut watch = Command::new("kubectl");
        watch.args(["-n", &runner.namespace, "get", "jobs", "-l", "hookd.dev/component=build"]);
        Self(watch.args(["-w", "-o", "name"]).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Their names.
    pub(crate) fn end(mut self) -> Vec<String> {
        let _ = self.0.kill();
        let (mut names, mut stdout) = (String::new(), self.0.stdout.take().unwrap());
        stdout.read_to_string(&mut names).unwrap();
        let _ = self.0.wait();
        let mut names: Vec<_> = names.lines().map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Waits for the first build Job of this runner pod.
fn wait_for_job(runner: &RunnerPod) {
    let own = format!("runner-pod={},hookd.dev/component=build", runner.name);
    until("it builds", s(60), || (!runner.objects("jobs", &["-l", &own]).is_empty()).then_some(()));
}

#[test]
fn eight_runners_that_need_one_image_at_once_build_it_once() {
    let first = keeping(Setup::in_runner_pod().with_registry());
    let setup = in_runner_pod();
    let others: Vec<_> = (1..8).map(|_| first.beside(&setup)).collect();
    let runners: Vec<_> = std::iter::once(&first).chain(&others).collect();
    let seen = SeenBuilds::of(&first);
    let dockerfile = dockerfile("busybox:1") + "RUN sleep 8; echo slowly\n";
    let steps = runners.iter().map(|runner| (runner, action(runner, "action", &dockerfile)));
    let hooks: Vec<_> = steps.map(|(runner, step)| runner.call(&step).start()).collect();
    let outcomes: Vec<_> = hooks.into_iter().map(|hook| hook.end_within(s(240))).collect();
    for outcome in &outcomes {
        assert_eq!(outcome.assert_code(0).after_build(), "genuine\n");
    }
    let with = |text: &str| outcomes.iter().filter(|outcome| outcome.log().contains(text)).count();
    assert_eq!((with("Builder "), with(FOUND)), (1, 7), "{}", outcomes[0].log());
    assert!(with(FOLLOWED) > 0, "{}", outcomes[7].log());
    let built = seen.end();
    assert_eq!(built.len(), 1, "{built:?}");
}

/// A build of `first`, which `second` follows.
fn followed<'a>(
    first: &'a RunnerPod,
    second: &'a RunnerPod,
) -> (test_support::Hook<'a>, test_support::Hook<'a>) {
    let dockerfile = dockerfile("busybox:1") + "RUN echo begun; sleep 15\n";
    let builder = first.call(&action(first, "action", &dockerfile)).start();
    builder.wait_for("\nbegun\n");
    let follower = second.call(&action(second, "action", &dockerfile)).start();
    follower.wait_for(FOLLOWED);
    (builder, follower)
}

#[test]
fn the_build_of_a_runner_that_is_gone_is_taken_over() {
    let first = keeping(Setup::in_runner_pod().with_registry());
    let second = first.beside(&in_runner_pod());
    let (_builder, follower) = followed(&first, &second);
    let killed = Instant::now();
    first.k(&["delete", "pod", &first.name, "--force", "--grace-period=0", "--wait=false"]);
    wait_for_job(&second);
    let time = killed.elapsed();
    assert!(time < TAKEN_OVER, "taken over after {time:?}");
    let outcome = follower.end_within(s(120));
    assert_eq!(outcome.assert_code(0).after_build(), "genuine\n");
}

#[test]
fn the_build_of_a_hookd_that_is_killed_is_taken_over() {
    let first = keeping(Setup::in_runner_pod().with_registry());
    let second = first.beside(&in_runner_pod());
    let (builder, follower) = followed(&first, &second);
    let killed = Instant::now();
    assert!(first.daemon().signal(Signal::KILL));
    wait_for_job(&second);
    let time = killed.elapsed();
    assert!(time < TAKEN_OVER, "taken over after {time:?}");
    for hook in [builder, follower] {
        assert_eq!(hook.end_within(s(120)).assert_code(0).after_build(), "genuine\n");
    }
}

#[test]
fn eight_steps_that_need_one_image_at_once_build_it_once() {
    let runner = keeping(Setup::default());
    let dockerfile = dockerfile("busybox:1") + "RUN sleep 3; echo slowly\n";
    let steps = (0..8).map(|number| action(&runner, &format!("a{number}"), &dockerfile));
    let hooks: Vec<_> = steps.map(|step| runner.call(&step).start()).collect();
    let outcomes: Vec<_> = hooks.into_iter().map(|hook| hook.end_within(s(180))).collect();
    let with = |text: &str| outcomes.iter().filter(|outcome| outcome.log().contains(text)).count();
    for outcome in &outcomes {
        assert_eq!(outcome.assert_code(0).after_build(), "genuine\n");
    }
    let log = outcomes[0].log();
    assert_eq!((with("Builder "), with(FOUND)), (1, 7), "{log}");
    // Who follows reads what the build prints.
    let followed = outcomes.iter().filter(|outcome| outcome.log().contains(FOLLOWED));
    assert!(followed.clone().count() > 0, "{log}");
    for outcome in followed {
        assert!(outcome.log().contains("\nslowly\n"), "{}", outcome.log());
    }
    runner.cleanup().run().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn a_build_that_ends_without_an_image_is_taken_over() {
    let runner = keeping(Setup::default().set("HOOKD_REATTACH_TIMEOUT_SECONDS", "2"));
    let dockerfile = dockerfile("busybox:1") + "RUN echo begun; sleep 8\n";
    let first = runner.call(&action(&runner, "first", &dockerfile)).start();
    first.wait_for("\nbegun\n");
    let second = runner.call(&action(&runner, "second", &dockerfile)).start();
    second.wait_for(FOLLOWED);
    first.signal(Signal::KILL);
    let killed = Instant::now();
    second.wait_for("Builder ");
    let time = killed.elapsed();
    assert!(time < s(10), "taken over after {time:?}");
    let outcome = second.end_within(s(120));
    assert_eq!(outcome.assert_code(0).after_build(), "genuine\n");
    assert!(outcome.log().contains("Not waiting for that build any longer"));
    first.end();
}

#[test]
fn who_waits_for_room_in_a_quota_builds_once_in_all() {
    let first = keeping(Setup::in_runner_pod().with_registry());
    let setup = in_runner_pod();
    let others = [first.beside(&setup), first.beside(&setup)];
    let runners = [&first, &others[0], &others[1]];
    cluster::create(&[json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "jobs", "namespace": first.namespace},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    })]);
    let is_counted = "--for=jsonpath={.status.hard}";
    first.k(&["wait", "resourcequota/jobs", is_counted, "--timeout=60s"]);
    let seen = SeenBuilds::of(&first);
    let dockerfile = dockerfile("busybox:1") + "RUN sleep 3\n";
    let steps = runners.map(|runner| action(runner, "action", &dockerfile));
    let calls = runners.iter().zip(&steps).map(|(runner, step)| runner.call(step).start());
    let hooks: Vec<_> = calls.collect();
    // Each has the Lease, and loses it to the next.
    let mut holders = BTreeSet::new();
    until("each has waited for room", s(90), || {
        for lease in first.objects("leases", &[]) {
            holders.insert(lease["spec"]["holderIdentity"].to_string());
        }
        (holders.len() == runners.len()).then_some(())
    });
    first.k(&["delete", "resourcequota", "jobs"]);
    for hook in hooks {
        assert_eq!(hook.end_within(s(120)).assert_code(0).after_build(), "genuine\n");
    }
    let built = seen.end();
    assert_eq!(built.len(), 1, "{built:?}");
}

#[test]
fn a_failed_build_fails_for_each_step_that_needs_it() {
    let runner = keeping(Setup::default());
    let dockerfile = dockerfile("busybox:1") + "RUN echo begun; sleep 2; exit 7\n";
    let hooks: Vec<_> = ["first", "second"]
        .map(|name| runner.call(&action(&runner, name, &dockerfile)).start())
        .into();
    for hook in hooks {
        hook.end_within(s(120)).assert_failed_with(120, &["RUN", "exit code 7"]);
    }
}
