//! Some rows of the matrix of faults; `make faults` has them all. Steps that turned green when a
//! connection broke are rch#165, rch#258 and rch#396; steps that hung, rch#124 and rch#228.

use e2e::faults::{self, Fault};

#[test]
fn operations_under_faults_lose_repeat_and_leave_nothing() {
    let chosen = [
        Fault::ConnectionsReset,
        Fault::WrongAnswers,
        Fault::DaemonKilled,
        Fault::HookKilled,
        Fault::JobPodDeleted,
        Fault::VolumeFull,
    ];
    let outcomes = faults::run(&chosen, 1);
    let bad: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.is_bad()).map(faults::Outcome::line).collect();
    assert!(bad.is_empty(), "{}\n{}", faults::table(&outcomes), bad.join("\n"));
    assert_eq!(outcomes.len(), chosen.len() * faults::OPERATIONS);
}
