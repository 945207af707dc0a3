//! The matrix of faults: each fault once while all operations run side by side, each in a runner pod
//! of its own; and what came of it.
//!
//! One round is: `Workload::start` of all, `inject::inject`, `Run::wait` for all, and a check of
//! what each printed, how it ended and what it left.

mod daemon;
mod evidence;
mod fault;
mod gateway;
mod inject;
mod memory;
mod operation;
mod output;
mod proxy;
mod streams;
mod table;
mod traffic;
mod volume;
mod workload;

use std::time::Duration;

pub use fault::{ALL, Fault};
pub use gateway::Gateway;
pub use table::{Outcome, table};

use evidence::Evidence;
use fault::Expected;
use rustix::process::Signal;
use test_support::faults::Turn;
use test_support::wait::{eventually, s};
use workload::{Completion, Run, Workload};

/// How many operations meet each fault, at once.
pub const OPERATIONS: usize = operation::ALL.len();

/// An operation that has not ended by then, after the fault is over, hangs. The longest is a build
/// whose connections are half-open: a watch is found dead after 75 s, each idle connection that the
/// next requests are sent on after 15 s, and the rest of the build is still to come.
const COMPLETION_TIMEOUT: Duration = s(180);
/// After its end nothing of an operation may be there any more: the kubelet, too, makes pauses
/// after an outage before it hears that a pod is to go.
const CLEANUP_TIMEOUT: Duration = s(120);
/// Bytes of memory that hookd may have used.
const MEMORY_LIMIT: u64 = 40_000_000;

/// Runs these faults, in order, on new runner pods; `seed` decides the moments.
pub fn run(faults: &[Fault], seed: u64) -> Vec<Outcome> {
    let mut random = fastrand::Rng::with_seed(seed);
    let turn = Turn::alone();
    let mut workloads =
        in_parallel(&operation::ALL, |operation| Workload::deploy(*operation, &turn));
    let mut outcomes = Vec::new();
    for (round, fault) in faults.iter().enumerate() {
        let round_number = u32::try_from(round).unwrap();
        let new = run_round(*fault, &workloads, (round_number, &turn), &mut random);
        new.iter().for_each(|outcome| eprintln!("{}", outcome.line()));
        outcomes.extend(new);
        if round == 0 && *fault != Fault::RunnerPodDeleted {
            // What is made once is there now.
            workloads.iter_mut().for_each(Workload::record_baseline);
        }
        // A daemon that is killed takes with it what it has leaked.
        let over = matches!(
            faults.get(round + 1),
            None | Some(Fault::DaemonKilled | Fault::DaemonHung | Fault::ContainerKilled)
        );
        if over && *fault != Fault::ContainerKilled && *fault != Fault::RunnerPodDeleted {
            check_leaks(&workloads, &mut outcomes);
        }
    }
    outcomes
}

/// One round.
fn run_round(
    fault: Fault,
    workloads: &[Workload],
    (round, turn): (u32, &Turn),
    random: &mut fastrand::Rng,
) -> Vec<Outcome> {
    in_parallel(workloads, |workload| workload.operation.set_up(&workload.runner));
    let runs = in_parallel(workloads, |workload| workload.start(fault, round));
    let evidence = inject::inject(fault, &runs, turn, random);
    let both: Vec<_> = runs.iter().zip(evidence).collect();
    in_parallel(&both, |(run, evidence)| evaluate(fault, run, evidence.clone()))
}

/// Waits for the end of an operation, and compares what came of it with what must.
fn evaluate(fault: Fault, run: &Run<'_>, evidence: Evidence) -> Outcome {
    let workload = run.workload;
    let completion = run.wait(COMPLETION_TIMEOUT);
    let seconds = run.began.elapsed().as_secs_f64();
    if completion == Completion::TimedOut {
        run.hook.try_process().map(|hook| hook.signal(Signal::KILL));
    }
    let evidence = evidence.resolve(workload);
    workload.proxy.stop_injection();
    // Zeros filled the pipe.
    let stdout: Vec<_> = run.hook.stdout().into_iter().filter(|byte| *byte != 0).collect();
    let code = match completion {
        Completion::Exited(code) => Some(code),
        Completion::ContainerGone | Completion::TimedOut => None,
    };
    let whole = code == Some(workload.operation.code())
        && fault.expected(workload.operation) != Expected::Killed;
    let stderr = run.hook.stderr();
    let log = workload.operation.last_log(fault, &stderr);
    let damage = workload.operation.expected_output().check(&stdout, log, whole);
    let own = output::own_lines(&stderr);
    let error = own.iter().rfind(|line| line.starts_with("::error")).cloned().unwrap_or_default();
    let mut left = Vec::new();
    eventually(CLEANUP_TIMEOUT, || {
        left = workload.left(code);
        left.is_empty().then_some(())
    });
    let memory = if fault == Fault::RunnerPodDeleted { 0 } else { workload.peak_memory() };
    let violations = violations_of(fault, workload, memory, &own);
    let operation = workload.operation;
    Outcome {
        fault,
        operation,
        evidence,
        completion,
        damage,
        error,
        left,
        seconds,
        memory,
        violations,
        own,
    }
}

/// What must be true of every round.
fn violations_of(fault: Fault, workload: &Workload, memory: u64, own: &[String]) -> Vec<String> {
    let mut violations = Vec::new();
    if fault == Fault::RunnerPodDeleted {
        return violations;
    }
    if memory > MEMORY_LIMIT {
        violations.push(format!("hookd used {memory} bytes"));
    }
    // ARC takes a sidecar that ended with another code than 0 for a failed runner.
    let pod = workload.runner.object("pod", "runner");
    for status in pod["status"]["initContainerStatuses"].as_array().into_iter().flatten() {
        for state in ["state", "lastState"] {
            let code = status[state]["terminated"]["exitCode"].as_i64().unwrap_or_default();
            if code != 0 && fault != Fault::ContainerKilled {
                violations.push(format!("the sidecar ended with code {code}"));
            }
        }
    }
    let lost = own.iter().filter(|line| line.starts_with("Connection to hookd lost")).count();
    if lost > 1 {
        violations.push(format!("the loss of hookd was reported {lost} times"));
    }
    violations
}

/// Counts what daemons and job pods hold, beside what they held in the beginning.
fn check_leaks(workloads: &[Workload], outcomes: &mut [Outcome]) {
    for (workload, leak) in workloads.iter().zip(in_parallel(workloads, Workload::leak)) {
        let Some(leak) = leak else { continue };
        eprintln!("LEAK {leak}");
        let outcome = outcomes.iter_mut().rfind(|outcome| outcome.operation == workload.operation);
        outcome.into_iter().for_each(|outcome| outcome.violations.push(leak.clone()));
    }
}

/// Does the same for all at once; the results in their order.
fn in_parallel<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || work(item))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
