//! What came of each fault for each operation.

use std::fmt::Write as _;

use super::evidence::Evidence;
use super::fault::{Expected, Fault};
use super::operation::Operation;
use super::output::Damage;
use super::workload::Completion;

/// What is shown of hook's own lines when something is wrong.
const LAST_LINES: usize = 30;

/// One fault, one operation.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub(crate) fault: Fault,
    pub(crate) operation: Operation,
    pub(crate) evidence: Evidence,
    pub(crate) completion: Completion,
    pub(crate) damage: Damage,
    /// The `::error` line, or empty.
    pub(crate) error: String,
    pub(crate) left: Vec<String>,
    /// From the operation's start to its end.
    pub(crate) seconds: f64,
    /// Most memory that hookd's process has used, in bytes; 0: it is gone.
    pub memory: u64,
    /// Further rules that were broken.
    pub(crate) violations: Vec<String>,
    /// The lines of hook and hookd, and of a build's log.
    pub(crate) own: Vec<String>,
}

impl Outcome {
    fn is_wrong(&self) -> bool {
        let own = self.completion == Completion::Exited(self.operation.code());
        let has_error = |words: &[&str]| {
            let all = words.iter().all(|word| self.error.contains(word));
            self.completion == Completion::Exited(1) && all
        };
        let right = match self.fault.expected(self.operation) {
            Expected::Unaffected => own,
            Expected::Error(words) => has_error(words),
            Expected::Killed => self.completion == Completion::Exited(137),
            Expected::Gone => !own && self.completion != Completion::Exited(0),
            Expected::GoneOrUnaffected => own || self.completion == Completion::ContainerGone,
        };
        !right && !self.hangs()
    }

    fn hangs(&self) -> bool {
        self.completion == Completion::TimedOut
    }

    fn is_not_applicable(&self) -> bool {
        matches!(self.evidence, Evidence::NotApplicable(_))
    }

    fn is_unproven(&self) -> bool {
        !matches!(self.evidence, Evidence::Observed(_) | Evidence::NotApplicable(_))
    }

    /// True if a rule was broken, or nothing shows that the fault took effect.
    pub fn is_bad(&self) -> bool {
        self.is_wrong()
            || self.hangs()
            || self.is_unproven()
            || self.damage != Damage::default()
            || !self.left.is_empty()
            || !self.violations.is_empty()
    }

    /// All of it in one line.
    pub fn line(&self) -> String {
        let evidence = match &self.evidence {
            Evidence::Observed(seen) => seen.clone(),
            Evidence::NotApplicable(reason) => format!("none: {reason}"),
            Evidence::Missing(reason) => format!("UNPROVEN: {reason}"),
            Evidence::Counted(..) => "UNPROVEN: it was not counted".to_owned(),
        };
        let mut line = format!(
            "{} {} | {} | {:?} after {:.1} s | lost {} repeated {} | {evidence}",
            if self.is_bad() { "BAD" } else { "ok " },
            self.fault.name(),
            self.operation.name(),
            self.completion,
            self.seconds,
            self.damage.lost,
            self.damage.repeated
        );
        for more in [self.error.as_str(), &self.left.join(", "), &self.violations.join("; ")] {
            if !more.is_empty() {
                let _ = write!(line, " | {more}");
            }
        }
        if self.is_bad() {
            let last = self.own.len().saturating_sub(LAST_LINES);
            self.own[last..].iter().for_each(|own| line = format!("{line}\n      {own}"));
        }
        line
    }
}

/// The table of all outcomes: sums of each fault and operation over its runs.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<22} {:<24} {:>4} {:>9} {:>9} {:>6} {:>6} {:>5} {:>9}  {}\n",
        "fault",
        "operation",
        "runs",
        "lost",
        "repeated",
        "codes",
        "hangs",
        "left",
        "unproven",
        "what the user saw"
    );
    let mut seen = Vec::new();
    for outcome in outcomes {
        let key = (outcome.fault, outcome.operation);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let same: Vec<_> =
            outcomes.iter().filter(|one| (one.fault, one.operation) == key).collect();
        let count = |is: fn(&Outcome) -> bool| same.iter().filter(|outcome| is(outcome)).count();
        let sum = |of: fn(&Outcome) -> u64| same.iter().map(|outcome| of(outcome)).sum::<u64>();
        let error =
            same.iter().map(|outcome| title(&outcome.error)).find(|error| !error.is_empty());
        let runs = same.len() - count(Outcome::is_not_applicable);
        let _ = writeln!(
            text,
            "{:<22} {:<24} {:>4} {:>9} {:>9} {:>6} {:>6} {:>5} {:>9}  {}",
            outcome.fault.name(),
            outcome.operation.name(),
            runs,
            sum(|outcome| outcome.damage.lost),
            sum(|outcome| outcome.damage.repeated),
            count(Outcome::is_wrong),
            count(Outcome::hangs),
            count(|outcome| !outcome.left.is_empty() || !outcome.violations.is_empty()),
            count(Outcome::is_unproven),
            error.unwrap_or_default()
        );
    }
    text
}

/// "Step lost" of "::error title=Step lost::...".
fn title(error: &str) -> String {
    let title = error.split_once("title=").and_then(|(_, rest)| rest.split_once("::"));
    title.map(|(title, _)| title.to_owned()).unwrap_or_default()
}
