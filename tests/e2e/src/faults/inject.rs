//! Brings faults about while operations are under way, and says what shows that they took effect.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::daemon::{container_killed, daemon_hung, daemon_killed, daemon_stopped};
use super::evidence::{Count, Evidence, counted, seen_if};
use super::fault::Fault;
use super::lane::{Flight, main_process, running_pod};
use super::memory;
use super::operation::Operation;
use super::proxy::PIECE;
use super::streams::{spool_full, stdout_blocked};
use super::volume::{Trouble, broken_volume};
use test_support::cluster::{kubectl, script};
use test_support::faults::{Stopped, Turn};
use test_support::processes;
use test_support::wait::{eventually, let_pass, s};

/// A flight's fault comes within this time after its start.
const LATEST: Duration = s(4);
/// The pace of [`Fault::Throttled`], in bytes a second.
const RATE: u64 = 32 << 10;
/// Kaniko's words before it pushes, and when a push has failed and is to be made again.
const PUSHES: [&str; 2] = ["Pushing image to ", "Retrying operation after "];

/// Brings the fault about; one piece of evidence a flight. Requests that were held are let go.
pub(crate) fn inject(
    fault: Fault,
    flights: &[Flight<'_>],
    turn: &Turn,
    random: &mut fastrand::Rng,
) -> Vec<Evidence> {
    match fault {
        Fault::ApiServerStopped(seconds) => away("kube-apiserver", s(seconds), flights, turn),
        Fault::ApiServerRestarted => restarted_in_sessions(flights, turn),
        Fault::KubeletRestarted => restarted_twice("kubelet", flights, turn),
        Fault::ContainerdRestarted => restarted_twice("containerd", flights, turn),
        Fault::RegistryStopped => registry_stopped(flights),
        _ => each(fault, flights, random),
    }
}

/// Brings a fault about for one flight alone.
fn meet(fault: Fault, flight: &Flight<'_>, random: &mut fastrand::Rng) -> Evidence {
    match fault {
        Fault::ConnectionsReset => {
            let bulk = flight.lane.operation == Operation::Megabytes;
            let most = if bulk { 4 << 20 } else { 4 << 10 };
            let after = (0..4).map(|_| random.u64(1..most)).collect();
            counted(flight, Count::Resets, |lane| lane.proxy.reset(after))
        }
        Fault::HalfOpen => counted(flight, Count::Withheld, |lane| lane.proxy.half_open()),
        Fault::HalfClosed => counted(flight, Count::HalfClosed, |lane| lane.proxy.half_close()),
        Fault::Stalled => counted(flight, Count::Withheld, |lane| {
            lane.proxy.stall();
            let_pass(s(30));
        }),
        Fault::Throttled => throttled(flight),
        Fault::WrongAnswers => counted(flight, Count::WrongAnswers, |lane| {
            lane.gateway.trouble(random);
            lane.proxy.lead_to(lane.gateway.port);
        }),
        Fault::DaemonKilled => daemon_killed(flight),
        Fault::ContainerKilled => container_killed(flight),
        Fault::DaemonStopped => daemon_stopped(flight),
        Fault::DaemonHung => daemon_hung(flight),
        Fault::HookKilled => hook_killed(flight),
        Fault::StdoutBlocked => stdout_blocked(flight),
        Fault::SpoolFull => spool_full(flight),
        Fault::VolumeFull => broken_volume(flight, Trouble::Full),
        Fault::VolumeReadOnly => broken_volume(flight, Trouble::ReadOnly),
        Fault::JobPodDeleted => job_pod_deleted(flight),
        Fault::JobPodOutOfMemory => job_pod_out_of_memory(flight),
        Fault::RunnerPodDeleted => seen_if(flight.flies(), "deleted while under way", || {
            flight.lane.runner.k(&["delete", "pod", "runner", "--wait=false"]);
            true
        }),
        Fault::ApiServerStopped(_)
        | Fault::ApiServerRestarted
        | Fault::KubeletRestarted
        | Fault::ContainerdRestarted
        | Fault::RegistryStopped => Evidence::Missing("all have it at once".to_owned()),
    }
}

/// Brings a fault about for each flight by itself, at a moment of its own. The requests of a
/// clean-up are let go after it.
fn each(fault: Fault, flights: &[Flight<'_>], random: &mut fastrand::Rng) -> Vec<Evidence> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = flights
            .iter()
            .map(|flight| {
                let mut random = random.fork();
                scope.spawn(move || {
                    // A full spool and a volume have moments of their own.
                    let own_moment = fault == Fault::SpoolFull || Trouble::of(fault).is_some();
                    if flight.lane.operation != Operation::Cleanup && !own_moment {
                        let_pass(LATEST.mul_f64(random.f64()));
                    }
                    let evidence = meet(fault, flight, &mut random);
                    flight.let_go();
                    evidence
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A component of the cluster is killed and comes back after a while.
fn away(name: &'static str, time: Duration, flights: &[Flight<'_>], turn: &Turn) -> Vec<Evidence> {
    let pid = || script("devcluster/component.sh", &["pid", name]).trim().to_owned();
    let before = pid();
    let flying: Vec<_> = flights.iter().map(Flight::flies).collect();
    let began = Instant::now();
    let stopped = Stopped::component(name, turn);
    flights.iter().for_each(Flight::let_go);
    let_pass(time);
    drop(stopped);
    let seen = format!("pid {before} -> {}, away {:.1} s", pid(), began.elapsed().as_secs_f64());
    let new = before != pid();
    flying.into_iter().map(|flies| seen_if(flies, &seen, || new)).collect()
}

/// What a node runs by is killed while pods start, and again once all that print have begun; some have
/// landed then, and met it once.
fn restarted_twice(name: &'static str, flights: &[Flight<'_>], turn: &Turn) -> Vec<Evidence> {
    let at_start = away(name, Duration::ZERO, flights, turn);
    let prints = |flight: &Flight<'_>| !flight.lane.operation.want().stdout.is_empty();
    flights.iter().filter(|flight| prints(flight)).for_each(|flight| flight.hook.wait_for("~"));
    let while_printing = away(name, Duration::ZERO, flights, turn);
    let both = at_start.into_iter().zip(while_printing);
    both.map(|(one, other)| if matches!(other, Evidence::Seen(_)) { other } else { one }).collect()
}

/// The API server is killed in the middle of exec sessions.
fn restarted_in_sessions(flights: &[Flight<'_>], turn: &Turn) -> Vec<Evidence> {
    let_pass(s(1));
    let sessions: Vec<_> = flights.iter().map(|flight| flight.lane.sessions()).collect();
    let evidence = away("kube-apiserver", Duration::ZERO, flights, turn);
    let both = evidence.into_iter().zip(sessions);
    let with_sessions = both.map(|(evidence, sessions)| match evidence {
        Evidence::Seen(seen) if !sessions.is_empty() => {
            let ended = eventually(s(30), || {
                sessions.iter().all(|session| session.read("cmdline").is_empty()).then_some(())
            });
            let words = format!("{seen}, {} exec sessions ended", sessions.len());
            if ended.is_some() { Evidence::Seen(words) } else { Evidence::Missing(words) }
        }
        evidence => evidence,
    });
    with_sessions.collect()
}

/// The registry is away from the middle of a build's RUN until the build's push has failed.
fn registry_stopped(flights: &[Flight<'_>]) -> Vec<Evidence> {
    let is_build = |flight: &Flight<'_>| flight.lane.operation == Operation::Build;
    let build = flights.iter().find(|flight| is_build(flight));
    if let Some(build) = build {
        build.hook.wait_for("~b1\n");
    }
    let scale = |replicas: &str| {
        kubectl(&["-n", "hookd-registry", "scale", "deployment/registry", "--replicas", replicas])
    };
    let runs = || {
        processes::all().iter().any(|process| process.command.contains("/etc/registry/config.yml"))
    };
    let flying: Vec<_> = flights.iter().map(Flight::flies).collect();
    scale("0");
    let gone = eventually(s(20), || (!runs()).then_some(())).is_some();
    flights.iter().for_each(Flight::let_go);
    let_pass(s(8));
    // How long RUN and the snapshot take is up to the machine.
    let failed = build.is_some_and(push_fails);
    let gone = gone && !runs();
    scale("1");
    kubectl(&["-n", "hookd-registry", "rollout", "status", "deployment/registry", "--timeout=60s"]);
    let both = flights.iter().zip(flying);
    let evidence = both.map(|(flight, flies)| {
        if is_build(flight) {
            seen_if(flies, "a push that failed while its process was gone", || gone && failed)
        } else {
            seen_if(flies, "its process gone for 8 s", || gone)
        }
    });
    evidence.collect()
}

/// Waits until the build's log says that a push has failed; false if it does not.
fn push_fails(build: &Flight<'_>) -> bool {
    let [pushing, failed] = PUSHES;
    let has_failed = || {
        let log = String::from_utf8_lossy(&build.hook.stderr()).into_owned();
        log.split_once(pushing).is_some_and(|(_, rest)| rest.contains(failed))
    };
    eventually(s(60), || (has_failed() || !build.flies()).then_some(()));
    has_failed()
}

fn throttled(flight: &Flight<'_>) -> Evidence {
    /// A step that prints far more than passes waits most of the time.
    const BULK: Duration = s(10);
    /// Pieces of a direction that may be past the throttle when it comes.
    const PAST: u64 = 8;
    let proxy = &flight.lane.proxy;
    if !flight.flies() {
        return Evidence::Missing("it had landed before".to_owned());
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
    let before_it = PAST * 2 * PIECE as u64 * before.open;
    let all = slowed > 0 && bytes <= slowed + before_it;
    let much = flight.lane.operation != Operation::Megabytes || delay >= BULK;
    if all && much { Evidence::Seen(words) } else { Evidence::Missing(words) }
}

fn hook_killed(flight: &Flight<'_>) -> Evidence {
    seen_if(flight.flies(), "killed while under way", || {
        flight.hook.try_process().is_some_and(|hook| hook.signal(Signal::KILL))
    })
}

fn job_pod_deleted(flight: &Flight<'_>) -> Evidence {
    let Some((name, _)) = running_pod(flight) else {
        return Evidence::Missing("its pod does not run".to_owned());
    };
    seen_if(flight.flies(), &format!("{name} deleted while under way"), || {
        flight.lane.runner.k(&["delete", "pod", &name, "--wait=false"]);
        true
    })
}

fn job_pod_out_of_memory(flight: &Flight<'_>) -> Evidence {
    let Some(victim) = main_process(flight) else {
        return Evidence::Missing("its pod has no process".to_owned());
    };
    let what =
        format!("the kernel killed {}", victim.command.split(' ').next().unwrap_or_default());
    seen_if(flight.flies(), &what, || memory::exhaust(&victim))
}
