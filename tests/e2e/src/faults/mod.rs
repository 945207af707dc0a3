//! The matrix of faults: each fault once while all operations run side by side, each in a runner pod
//! of its own; and what came of it.
//!
//! One round is: [`Lane::take_off`] of all, [`inject::inject`], [`Flight::land`] of all, and the look
//! at what each printed, how it ended and what it left.

mod daemon;
mod evidence;
mod fault;
mod gateway;
mod inject;
mod lane;
mod memory;
mod operation;
mod output;
mod proxy;
mod streams;
mod table;
mod traffic;
mod volume;

use std::time::Duration;

pub use fault::{ALL, Fault};
pub use table::{Cell, table};

use evidence::Evidence;
use fault::End;
use lane::{Flight, Landing, Lane};
use rustix::process::Signal;
use test_support::faults::Turn;
use test_support::wait::{eventually, s};

/// An operation that has not landed by then, after the fault is over, hangs. The longest is a build
/// whose connections are half-open: a watch is found dead after 75 s, each idle connection that the
/// next requests are sent on after 15 s, and the rest of the build is still to come.
const LANDING: Duration = s(180);
/// After its end nothing of an operation may be there any more: the kubelet, too, makes pauses
/// after an outage before it hears that a pod is to go.
const CLEARING: Duration = s(120);
/// Bytes of memory that hookd may have used.
const MEMORY: u64 = 40_000_000;

/// Runs these faults, in order, on new runner pods; `seed` decides the moments.
pub fn run(faults: &[Fault], seed: u64) -> Vec<Cell> {
    let mut random = fastrand::Rng::with_seed(seed);
    let turn = Turn::alone();
    let mut lanes = side_by_side(&operation::ALL, |operation| Lane::start(*operation, &turn));
    let mut cells = Vec::new();
    for (round, fault) in faults.iter().enumerate() {
        let landed = fly(*fault, &lanes, (u32::try_from(round).unwrap(), &turn), &mut random);
        landed.iter().for_each(|cell| eprintln!("{}", cell.line()));
        cells.extend(landed);
        if round == 0 && *fault != Fault::RunnerPodDeleted {
            // What is made once is there now.
            lanes.iter_mut().for_each(Lane::note_idle);
        }
        // A daemon that is killed takes with it what it has leaked.
        let over = matches!(
            faults.get(round + 1),
            None | Some(Fault::DaemonKilled | Fault::DaemonHung | Fault::ContainerKilled)
        );
        if over && *fault != Fault::ContainerKilled && *fault != Fault::RunnerPodDeleted {
            look_for_leaks(&lanes, &mut cells);
        }
    }
    cells
}

/// One round.
fn fly(
    fault: Fault,
    lanes: &[Lane],
    (round, turn): (u32, &Turn),
    random: &mut fastrand::Rng,
) -> Vec<Cell> {
    side_by_side(lanes, |lane| lane.operation.make_ready(&lane.runner));
    let flights = side_by_side(lanes, |lane| lane.take_off(fault, round));
    let evidence = inject::inject(fault, &flights, turn, random);
    let both: Vec<_> = flights.iter().zip(evidence).collect();
    side_by_side(&both, |(flight, evidence)| land(fault, flight, evidence.clone()))
}

/// Waits for the end of an operation and judges it.
fn land(fault: Fault, flight: &Flight<'_>, evidence: Evidence) -> Cell {
    let lane = flight.lane;
    let landing = flight.land(LANDING);
    let seconds = flight.began.elapsed().as_secs_f64();
    if landing == Landing::Hangs {
        flight.hook.try_process().map(|hook| hook.signal(Signal::KILL));
    }
    let evidence = evidence.settle(lane);
    lane.proxy.calm();
    // Zeros filled the pipe.
    let stdout: Vec<_> = flight.hook.stdout().into_iter().filter(|byte| *byte != 0).collect();
    let code = match landing {
        Landing::Code(code) => Some(code),
        Landing::Gone | Landing::Hangs => None,
    };
    let whole = code == Some(lane.operation.code()) && fault.end(lane.operation) != End::Killed;
    let stderr = flight.hook.stderr();
    let damage = lane.operation.want().check(&stdout, &stderr, whole);
    let own = output::own_lines(&stderr);
    let told = own.iter().rfind(|line| line.starts_with("::error")).cloned().unwrap_or_default();
    let mut left = Vec::new();
    eventually(CLEARING, || {
        left = lane.left(code);
        left.is_empty().then_some(())
    });
    let memory = if fault == Fault::RunnerPodDeleted { 0 } else { lane.peak_memory() };
    let broken = broken_rules(fault, lane, memory, &own);
    let operation = lane.operation;
    Cell { fault, operation, evidence, landing, damage, told, left, seconds, memory, broken, own }
}

/// What must be true of every round.
fn broken_rules(fault: Fault, lane: &Lane, memory: u64, own: &[String]) -> Vec<String> {
    let mut broken = Vec::new();
    if fault == Fault::RunnerPodDeleted {
        return broken;
    }
    if memory > MEMORY {
        broken.push(format!("hookd used {memory} bytes"));
    }
    // ARC takes a sidecar that ended with another code than 0 for a failed runner.
    let pod = lane.runner.object("pod", "runner");
    for status in pod["status"]["initContainerStatuses"].as_array().into_iter().flatten() {
        for state in ["state", "lastState"] {
            let code = status[state]["terminated"]["exitCode"].as_i64().unwrap_or_default();
            if code != 0 && fault != Fault::ContainerKilled {
                broken.push(format!("the sidecar ended with code {code}"));
            }
        }
    }
    let lost = own.iter().filter(|line| line.starts_with("Connection to hookd lost")).count();
    if lost > 1 {
        broken.push(format!("the loss of hookd was told {lost} times"));
    }
    broken
}

/// Counts what daemons and job pods hold, beside what they held in the beginning.
fn look_for_leaks(lanes: &[Lane], cells: &mut [Cell]) {
    for (lane, leak) in lanes.iter().zip(side_by_side(lanes, Lane::leak)) {
        let Some(leak) = leak else { continue };
        eprintln!("LEAK {leak}");
        let cell = cells.iter_mut().rfind(|cell| cell.operation == lane.operation);
        cell.into_iter().for_each(|cell| cell.broken.push(leak.clone()));
    }
}

/// Does the same for all at once; the results in their order.
fn side_by_side<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || work(item))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
