//! Brings faults about while operations are under way, and says what shows that they took effect.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::daemon::{container_killed, daemon_hung, daemon_killed, daemon_stopped};
use super::evidence::{Count, Evidence, counted, observed_if};
use super::fault::Fault;
use super::memory;
use super::operation::Operation;
use super::proxy::CHUNK_SIZE;
use super::streams::{spool_full, stdout_blocked};
use super::volume::{VolumeFault, volume_fault};
use super::workload::{Run, main_process, running_pod};
use test_support::cluster::{kubectl, script};
use test_support::faults::{Stopped, Turn};
use test_support::processes;
use test_support::wait::{eventually, let_pass, s};

/// A run's fault comes within this time after its start.
const MAX_DELAY: Duration = s(4);
/// The pace of [`Fault::Throttled`], in bytes a second.
const RATE: u64 = 32 << 10;
/// Kaniko's words before it pushes, and when a push has failed and is to be made again.
const PUSH_LINES: [&str; 2] = ["Pushing image to ", "Retrying operation after "];

/// Brings the fault about; one piece of evidence a run. Requests that were held are let go.
pub(crate) fn inject(
    fault: Fault,
    runs: &[Run<'_>],
    turn: &Turn,
    random: &mut fastrand::Rng,
) -> Vec<Evidence> {
    match fault {
        Fault::ApiServerStopped(seconds) => {
            stop_component("kube-apiserver", s(seconds), runs, turn)
        }
        Fault::ApiServerRestarted => restarted_in_sessions(runs, turn),
        Fault::KubeletRestarted => restarted_twice("kubelet", runs, turn),
        Fault::ContainerdRestarted => restarted_twice("containerd", runs, turn),
        Fault::RegistryStopped => registry_stopped(runs),
        _ => each(fault, runs, random),
    }
}

/// Brings a fault about for one run alone.
fn inject_one(fault: Fault, run: &Run<'_>, random: &mut fastrand::Rng) -> Evidence {
    if let Some(why) = fault.not_applicable(run.workload.operation) {
        return Evidence::NotApplicable(why);
    }
    match fault {
        Fault::ConnectionsReset => {
            let bulk = run.workload.operation == Operation::Megabytes;
            let most = if bulk { 4 << 20 } else { 4 << 10 };
            let after = (0..4).map(|_| random.u64(1..most)).collect();
            counted(run, Count::Resets, |workload| workload.proxy.reset(after))
        }
        Fault::HalfOpen => counted(run, Count::Withheld, |workload| workload.proxy.half_open()),
        Fault::HalfClosed => {
            counted(run, Count::HalfClosed, |workload| workload.proxy.half_close())
        }
        Fault::Stalled => counted(run, Count::Withheld, |workload| {
            workload.proxy.stall();
            let_pass(s(30));
        }),
        Fault::Throttled => throttled(run),
        Fault::WrongAnswers => counted(run, Count::WrongAnswers, |workload| {
            workload.gateway.inject(random);
            workload.proxy.redirect_to(workload.gateway.port);
        }),
        Fault::DaemonKilled => daemon_killed(run),
        Fault::ContainerKilled => container_killed(run),
        Fault::DaemonStopped => daemon_stopped(run),
        Fault::DaemonHung => daemon_hung(run),
        Fault::HookKilled => hook_killed(run),
        Fault::StdoutBlocked => stdout_blocked(run),
        Fault::SpoolFull => spool_full(run),
        Fault::VolumeFull => volume_fault(run, VolumeFault::Full),
        Fault::VolumeReadOnly => volume_fault(run, VolumeFault::ReadOnly),
        Fault::JobPodDeleted => job_pod_deleted(run),
        Fault::JobPodOutOfMemory => job_pod_out_of_memory(run),
        Fault::RunnerPodDeleted => observed_if(run.is_running(), "deleted while under way", || {
            run.workload.runner.k(&["delete", "pod", "runner", "--wait=false"]);
            true
        }),
        Fault::ApiServerStopped(_)
        | Fault::ApiServerRestarted
        | Fault::KubeletRestarted
        | Fault::ContainerdRestarted
        | Fault::RegistryStopped => Evidence::Missing("all have it at once".to_owned()),
    }
}

/// Brings a fault about for each run by itself, at a moment of its own. The requests of a
/// clean-up are let go after it.
fn each(fault: Fault, runs: &[Run<'_>], random: &mut fastrand::Rng) -> Vec<Evidence> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = runs
            .iter()
            .map(|run| {
                let mut random = random.fork();
                scope.spawn(move || {
                    // A full spool and a volume have moments of their own.
                    let own_moment = fault == Fault::SpoolFull || VolumeFault::of(fault).is_some();
                    if run.workload.operation != Operation::Cleanup && !own_moment {
                        let_pass(MAX_DELAY.mul_f64(random.f64()));
                    }
                    let evidence = inject_one(fault, run, &mut random);
                    run.release();
                    evidence
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A component of the cluster is killed and comes back after a while.
fn stop_component(
    name: &'static str,
    time: Duration,
    runs: &[Run<'_>],
    turn: &Turn,
) -> Vec<Evidence> {
    let pid = || script("devcluster/component.sh", &["pid", name]).trim().to_owned();
    let before = pid();
    let running: Vec<_> = runs.iter().map(Run::is_running).collect();
    let began = Instant::now();
    let stopped = Stopped::component(name, turn);
    runs.iter().for_each(Run::release);
    let_pass(time);
    drop(stopped);
    let seen = format!("pid {before} -> {}, away {:.1} s", pid(), began.elapsed().as_secs_f64());
    let new = before != pid();
    running.into_iter().map(|is_running| observed_if(is_running, &seen, || new)).collect()
}

/// What a node runs by is killed while pods start, and again once all that print have begun; some have
/// ended then, and met it once.
fn restarted_twice(name: &'static str, runs: &[Run<'_>], turn: &Turn) -> Vec<Evidence> {
    let at_start = stop_component(name, Duration::ZERO, runs, turn);
    let prints = |run: &Run<'_>| !run.workload.operation.expected_output().stdout.is_empty();
    // One that ends without it is a bad outcome, which its evaluation tells.
    runs.iter().filter(|run| prints(run)).for_each(|run| _ = run.hook.prints("~"));
    let while_printing = stop_component(name, Duration::ZERO, runs, turn);
    let both = at_start.into_iter().zip(while_printing);
    both.map(|(one, other)| if matches!(other, Evidence::Observed(_)) { other } else { one })
        .collect()
}

/// The API server is killed in the middle of exec sessions.
fn restarted_in_sessions(runs: &[Run<'_>], turn: &Turn) -> Vec<Evidence> {
    let_pass(s(1));
    let sessions: Vec<_> = runs.iter().map(|run| run.workload.sessions()).collect();
    let evidence = stop_component("kube-apiserver", Duration::ZERO, runs, turn);
    let both = evidence.into_iter().zip(sessions);
    let with_sessions = both.map(|(evidence, sessions)| match evidence {
        Evidence::Observed(seen) if !sessions.is_empty() => {
            let ended = eventually(s(30), || {
                sessions.iter().all(|session| session.read("cmdline").is_empty()).then_some(())
            });
            let words = format!("{seen}, {} exec sessions ended", sessions.len());
            if ended.is_some() { Evidence::Observed(words) } else { Evidence::Missing(words) }
        }
        evidence => evidence,
    });
    with_sessions.collect()
}

/// The registry is away from the middle of a build's RUN until the build's push has failed.
fn registry_stopped(runs: &[Run<'_>]) -> Vec<Evidence> {
    let is_build = |run: &Run<'_>| run.workload.operation == Operation::Build;
    let build = runs.iter().find(|run| is_build(run));
    if let Some(build) = build {
        build.hook.wait_for("~b1\n");
    }
    let scale = |replicas: &str| {
        kubectl(&["-n", "hookd-registry", "scale", "deployment/registry", "--replicas", replicas])
    };
    let registry_runs = || {
        processes::all().iter().any(|process| process.command.contains("/etc/registry/config.yml"))
    };
    let running: Vec<_> = runs.iter().map(Run::is_running).collect();
    scale("0");
    let gone = eventually(s(20), || (!registry_runs()).then_some(())).is_some();
    runs.iter().for_each(Run::release);
    let_pass(s(8));
    // How long RUN and the snapshot take is up to the machine.
    let failed = build.is_some_and(push_fails);
    let gone = gone && !registry_runs();
    scale("1");
    kubectl(&["-n", "hookd-registry", "rollout", "status", "deployment/registry", "--timeout=60s"]);
    let both = runs.iter().zip(running);
    let evidence = both.map(|(run, is_running)| {
        if is_build(run) {
            observed_if(is_running, "a push that failed while its process was gone", || {
                gone && failed
            })
        } else {
            observed_if(is_running, "its process gone for 8 s", || gone)
        }
    });
    evidence.collect()
}

/// Waits until the build's log says that a push has failed; false if it does not.
fn push_fails(build: &Run<'_>) -> bool {
    let [pushing, failed] = PUSH_LINES;
    let has_failed = || {
        let log = String::from_utf8_lossy(&build.hook.stderr()).into_owned();
        log.split_once(pushing).is_some_and(|(_, rest)| rest.contains(failed))
    };
    eventually(s(60), || (has_failed() || !build.is_running()).then_some(()));
    has_failed()
}

fn throttled(run: &Run<'_>) -> Evidence {
    /// A step that prints far more than passes waits most of the time.
    const BULK: Duration = s(10);
    /// Pieces of a direction that may be past the throttle when it comes.
    const PAST: u64 = 8;
    let proxy = &run.workload.proxy;
    if !run.is_running() {
        return Evidence::Missing("it had ended before".to_owned());
    }
    let before = proxy.traffic();
    proxy.throttle(RATE);
    let_pass(s(20));
    let now = proxy.traffic();
    proxy.clear();
    let (bytes, slowed) = (now.bytes - before.bytes, now.slowed - before.slowed);
    let delay = now.delay - before.delay;
    let seconds = delay.as_secs_f64();
    let words = format!("{slowed} of {bytes} bytes slowed down, by {seconds:.3} s in all");
    let before_it = PAST * 2 * CHUNK_SIZE as u64 * before.open;
    let all = slowed > 0 && bytes <= slowed + before_it;
    let much = run.workload.operation != Operation::Megabytes || delay >= BULK;
    if all && much { Evidence::Observed(words) } else { Evidence::Missing(words) }
}

fn hook_killed(run: &Run<'_>) -> Evidence {
    observed_if(run.is_running(), "killed while under way", || {
        run.hook.try_process().is_some_and(|hook| hook.signal(Signal::KILL))
    })
}

fn job_pod_deleted(run: &Run<'_>) -> Evidence {
    let Some((name, _)) = running_pod(run) else {
        return Evidence::Missing("its pod does not run".to_owned());
    };
    observed_if(run.is_running(), &format!("{name} deleted while under way"), || {
        run.workload.runner.k(&["delete", "pod", &name, "--wait=false"]);
        true
    })
}

fn job_pod_out_of_memory(run: &Run<'_>) -> Evidence {
    let Some(victim) = main_process(run) else {
        return Evidence::Missing("its pod has no process".to_owned());
    };
    let what =
        format!("the kernel killed {}", victim.command.split(' ').next().unwrap_or_default());
    observed_if(run.is_running(), &what, || memory::exhaust(&victim))
}
