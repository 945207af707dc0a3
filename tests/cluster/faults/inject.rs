//! Brings faults about while operations are under way, and says what shows that they took effect.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::process::Signal;

use super::fault::Fault;
use super::lane::{Flight, Lane};
use super::memory;
use super::operation::Operation;
use super::proxy::Traffic;
use crate::support::cluster::{kubectl, script};
use crate::support::faults::{Stopped, Turn};
use crate::support::processes::{self, Process};
use crate::support::wait::{eventually, let_pass, s};

/// What shows that a fault met an operation.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// It did, and this was seen.
    Seen(String),
    /// It did not, or nothing shows that it did.
    Missing(String),
    /// The proxy or the gateway counts it until the operation has landed.
    Counted(Count, Traffic),
    /// The fault is none for this operation.
    Inapplicable(&'static str),
}

/// Which count has to grow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Resets,
    HalfClosed,
    Withheld,
    WrongAnswers,
}

/// The pace of [`Fault::Throttled`], in bytes a second.
const RATE: u64 = 32 << 10;
/// The spool's bound in stepd is 64 MiB; what was taken before it was looked at is not counted.
const SPOOL: u64 = 56 << 20;

impl Evidence {
    /// The last word, once the operation has landed.
    pub(crate) fn settle(self, lane: &Lane) -> Self {
        let Self::Counted(count, before) = self else { return self };
        let now = lane.proxy.traffic();
        let (number, what) = match count {
            Count::Resets => (now.reset - before.reset, "connections reset"),
            Count::HalfClosed => (now.half_closed - before.half_closed, "connections half-closed"),
            Count::Withheld => (now.withheld - before.withheld, "bytes withheld"),
            Count::WrongAnswers => {
                let done = lane.gateway.done();
                let words: Vec<_> = done.iter().map(|(wrong, n)| format!("{n} {wrong:?}")).collect();
                let seen = Self::Seen(words.join(", "));
                return if done.is_empty() { Self::Missing("no answer was wrong".into()) } else { seen };
            }
        };
        let words = format!("{number} {what}");
        if number > 0 { Self::Seen(words) } else { Self::Missing(words) }
    }
}

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
        Fault::KubeletRestarted => away("kubelet", Duration::ZERO, flights, turn),
        Fault::ContainerdRestarted => away("containerd", Duration::ZERO, flights, turn),
        Fault::RegistryStopped => registry_stopped(flights),
        Fault::ConnectionsReset => each(flights, random, s(3), |flight, random| {
            let most = if flight.lane.operation == Operation::Megabytes { 4 << 20 } else { 4 << 10 };
            let after = (0..4).map(|_| random.u64(1..most)).collect();
            counted(flight, Count::Resets, |lane| lane.proxy.reset(after))
        }),
        Fault::HalfOpen => each(flights, random, s(3), |flight, _| {
            counted(flight, Count::Withheld, |lane| lane.proxy.half_open())
        }),
        Fault::HalfClosed => each(flights, random, s(3), |flight, _| {
            counted(flight, Count::HalfClosed, |lane| lane.proxy.half_close())
        }),
        Fault::Stalled => each(flights, random, s(2), |flight, _| {
            counted(flight, Count::Withheld, |lane| {
                lane.proxy.stall();
                let_pass(s(30));
            })
        }),
        Fault::Throttled => each(flights, random, s(2), |flight, _| throttled(flight)),
        Fault::WrongAnswers => each(flights, random, s(1), |flight, random| {
            counted(flight, Count::WrongAnswers, |lane| {
                lane.gateway.trouble(random);
                lane.proxy.lead_to(lane.gateway.port);
            })
        }),
        Fault::DaemonKilled => each(flights, random, s(5), |flight, _| daemon_killed(flight)),
        Fault::ContainerKilled => each(flights, random, s(3), |flight, _| container_killed(flight)),
        Fault::DaemonStopped => each(flights, random, s(2), |flight, _| daemon_stopped(flight)),
        Fault::HookKilled => each(flights, random, s(4), |flight, _| hook_killed(flight)),
        Fault::StdoutBlocked => each(flights, random, s(2), |flight, _| stdout_blocked(flight)),
        Fault::SpoolFull => each(flights, random, s(1), |flight, _| spool_full(flight)),
        Fault::JobPodDeleted => each(flights, random, s(2), |flight, _| job_pod_deleted(flight)),
        Fault::JobPodOutOfMemory => {
            each(flights, random, s(2), |flight, _| job_pod_out_of_memory(flight))
        }
        Fault::RunnerPodDeleted => each(flights, random, s(3), |flight, _| {
            seen_if(flight.flies(), "deleted while under way", || {
                flight.lane.runner.k(&["delete", "pod", "runner", "--wait=false"]);
                true
            })
        }),
    }
}

/// Brings a fault about for each flight by itself, at a moment of its own. The requests of a
/// clean-up are let go after it.
fn each(
    flights: &[Flight<'_>],
    random: &mut fastrand::Rng,
    latest: Duration,
    inject: impl Fn(&Flight<'_>, &mut fastrand::Rng) -> Evidence + Sync,
) -> Vec<Evidence> {
    let inject = &inject;
    std::thread::scope(|scope| {
        let threads: Vec<_> = flights
            .iter()
            .map(|flight| {
                let mut random = random.fork();
                scope.spawn(move || {
                    if flight.lane.operation != Operation::Cleanup {
                        let_pass(latest.mul_f64(random.f64()));
                    }
                    let evidence = inject(flight, &mut random);
                    flight.let_go();
                    evidence
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn seen_if(flies: bool, what: &str, inject: impl FnOnce() -> bool) -> Evidence {
    if !flies {
        return Evidence::Missing("it had landed before".to_owned());
    }
    if inject() { Evidence::Seen(what.to_owned()) } else { Evidence::Missing(format!("not {what}")) }
}

fn counted(flight: &Flight<'_>, count: Count, inject: impl FnOnce(&Lane)) -> Evidence {
    let before = flight.lane.proxy.traffic();
    if !flight.flies() {
        return Evidence::Missing("it had landed before".to_owned());
    }
    inject(flight.lane);
    flight.lane.proxy.clear();
    Evidence::Counted(count, before)
}

/// A component of the cluster is killed and comes back after a while.
fn away(name: &'static str, time: Duration, flights: &[Flight<'_>], turn: &Turn) -> Vec<Evidence> {
    let pid = || script("devcluster/component.sh", &["pid", name]).trim().to_owned();
    let before = pid();
    let flying: Vec<_> = flights.iter().map(Flight::flies).collect();
    let began = std::time::Instant::now();
    let stopped = Stopped::component(name, turn);
    flights.iter().for_each(Flight::let_go);
    let_pass(time);
    drop(stopped);
    let seen = format!("pid {before} -> {}, away {:.1} s", pid(), began.elapsed().as_secs_f64());
    let new = before != pid();
    flying.into_iter().map(|flies| seen_if(flies, &seen, || new)).collect()
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

fn registry_stopped(flights: &[Flight<'_>]) -> Vec<Evidence> {
    let build = flights.iter().find(|flight| flight.lane.operation == Operation::Build);
    if let Some(build) = build {
        build.hook.wait_for("~b1\n");
    }
    let scale = |replicas: &str| {
        kubectl(&["-n", "hookd-registry", "scale", "deployment/registry", "--replicas", replicas])
    };
    let runs = || processes::all().iter().any(|process| process.command.contains("/etc/registry/config.yml"));
    let flying: Vec<_> = flights.iter().map(Flight::flies).collect();
    scale("0");
    let gone = eventually(s(20), || (!runs()).then_some(())).is_some();
    flights.iter().for_each(Flight::let_go);
    let_pass(s(8));
    scale("1");
    kubectl(&["-n", "hookd-registry", "rollout", "status", "deployment/registry", "--timeout=60s"]);
    flying.into_iter().map(|flies| seen_if(flies, "its process gone for 8 s", || gone)).collect()
}

fn throttled(flight: &Flight<'_>) -> Evidence {
    let proxy = &flight.lane.proxy;
    let before = proxy.traffic();
    if !flight.flies() {
        return Evidence::Missing("it had landed before".to_owned());
    }
    proxy.throttle(RATE);
    let_pass(s(20));
    let now = proxy.traffic();
    proxy.clear();
    let bytes = now.bytes - before.bytes;
    let most = RATE * 20 * 2 * (now.connections - before.connections + before.open + 1);
    let seen = format!("{bytes} bytes in 20 s, {most} at most");
    if bytes > 0 && bytes <= most { Evidence::Seen(seen) } else { Evidence::Missing(seen) }
}

fn daemon_killed(flight: &Flight<'_>) -> Evidence {
    let runner = &flight.lane.runner;
    let daemon = runner.daemon();
    seen_if(flight.flies(), &format!("pid {} replaced", daemon.pid), || {
        daemon.signal(Signal::KILL)
            && eventually(s(20), || (runner.daemon().pid != daemon.pid).then_some(())).is_some()
    })
}

fn container_killed(flight: &Flight<'_>) -> Evidence {
    let runner = &flight.lane.runner;
    let restarts = || {
        let pod = runner.object("pod", "runner");
        pod["status"]["initContainerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    };
    let before = restarts();
    seen_if(flight.flies(), "one restart more of the sidecar's container", || {
        runner.supervisor().signal(Signal::KILL) && {
            flight.let_go();
            eventually(s(60), || (restarts() > before).then_some(())).is_some()
        }
    })
}

fn daemon_stopped(flight: &Flight<'_>) -> Evidence {
    let daemon = flight.lane.runner.daemon();
    seen_if(flight.flies(), "30 s in state T, the hook waiting", || {
        let stopped = daemon.signal(Signal::STOP);
        flight.let_go();
        let_pass(s(30));
        let in_state_t = daemon.read("stat").contains(") T ");
        let waits = flight.flies();
        stopped && daemon.signal(Signal::CONT) && in_state_t && waits
    })
}

fn hook_killed(flight: &Flight<'_>) -> Evidence {
    seen_if(flight.flies(), "killed while under way", || {
        flight.hook.try_process().is_some_and(|hook| hook.signal(Signal::KILL))
    })
}

/// Stops the reader and fills the pipe, so that the first byte that hook prints has to wait.
fn stdout_blocked(flight: &Flight<'_>) -> Evidence {
    let Some(reader) = flight.hook.reader() else {
        return Evidence::Missing("the pipe has no reader".to_owned());
    };
    seen_if(flight.flies(), "nothing read for 20 s, the hook waiting", || {
        reader.signal(Signal::STOP);
        // Until it has stopped it may read what fills the pipe.
        eventually(s(5), || reader.read("stat").contains(") T ").then_some(()));
        fill(&reader);
        let before = bytes_read(&reader);
        flight.let_go();
        let_pass(s(20));
        let unread = bytes_read(&reader) == before && reader.read("stat").contains(") T ");
        let waits = flight.flies();
        reader.signal(Signal::CONT) && unread && waits
    })
}

/// Bytes that a process has read from files and pipes.
fn bytes_read(process: &Process) -> u64 {
    let io = process.read("io");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|read| read.parse().ok()).unwrap_or_default()
}

/// Fills the pipe that `reader` reads with zeros.
fn fill(reader: &Process) {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let pipe = OpenOptions::new().write(true).custom_flags(nonblocking).open(reader.path("fd/0"));
    let Ok(mut pipe) = pipe else { return };
    for size in [4096, 1] {
        loop {
            match pipe.write(&vec![0; size]) {
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
    }
}

fn spool_full(flight: &Flight<'_>) -> Evidence {
    if flight.lane.operation != Operation::Megabytes {
        return Evidence::Inapplicable("prints less than a spool holds");
    }
    let stepd = main_process(flight);
    let (Some(stepd), Some(reader)) = (stepd, flight.hook.reader()) else {
        return Evidence::Missing("stepd or the pipe's reader is not there".to_owned());
    };
    let taken = || bytes_read(&stepd);
    let began = taken();
    reader.signal(Signal::STOP);
    let mut last = 0;
    let full = eventually(s(60), || {
        let_pass(s(1));
        let now = taken() - began;
        (std::mem::replace(&mut last, now) == now && now > SPOOL).then_some(())
    });
    let waits = flight.flies();
    reader.signal(Signal::CONT);
    let words = format!("stepd took {last} bytes and then none");
    if full.is_some() && waits { Evidence::Seen(words) } else { Evidence::Missing(words) }
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
    let what = format!("the kernel killed {}", victim.command.split(' ').next().unwrap_or_default());
    seen_if(flight.flies(), &what, || memory::exhaust(&victim))
}

/// Name and uid of the pod of the operation's program, once it runs.
fn running_pod(flight: &Flight<'_>) -> Option<(String, String)> {
    let runner = &flight.lane.runner;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    eventually(s(30), || {
        let pods = runner.objects("pods", &["-l", "runner-pod=runner"]);
        let pod = pods.into_iter().find(|pod| {
            let wanted = flight.lane.operation.pod();
            pod["status"]["phase"] == "Running"
                && wanted.is_none_or(|wanted| pod["metadata"]["name"] == wanted)
        })?;
        Some((text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"])))
    })
}

/// The first process of that pod's main container.
fn main_process(flight: &Flight<'_>) -> Option<Process> {
    let (_, uid) = running_pod(flight)?;
    let mut own: Vec<_> = processes::all().into_iter().filter(|one| one.is_of_pod(&uid)).collect();
    own.retain(|process| !process.command.contains("pause"));
    own.sort_by_key(|process| process.pid);
    let stepd = own.iter().position(|process| process.command.contains("stepd serve"));
    (!own.is_empty()).then(|| own.swap_remove(stepd.unwrap_or(0)))
}
