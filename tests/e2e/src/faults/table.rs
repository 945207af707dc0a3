//! What came of each fault for each operation.

use std::fmt::Write as _;

use super::evidence::Evidence;
use super::fault::{End, Fault};
use super::lane::Landing;
use super::operation::Operation;
use super::output::Damage;

/// What is shown of hook's own lines when something is wrong.
const LAST_LINES: usize = 30;

/// One fault, one operation.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(crate) fault: Fault,
    pub(crate) operation: Operation,
    pub(crate) evidence: Evidence,
    pub(crate) landing: Landing,
    pub(crate) damage: Damage,
    /// The `::error` line, or empty.
    pub(crate) told: String,
    pub(crate) left: Vec<String>,
    /// From the operation's start to its end.
    pub(crate) seconds: f64,
    /// Most memory that hookd's process has used, in bytes; 0: it is gone.
    pub memory: u64,
    /// Further rules that were broken.
    pub(crate) broken: Vec<String>,
    /// The lines of hook and hookd, and of a build's log.
    pub(crate) own: Vec<String>,
}

impl Cell {
    fn is_wrong(&self) -> bool {
        let own = self.landing == Landing::Code(self.operation.code());
        let told = |words: &[&str]| {
            let all = words.iter().all(|word| self.told.contains(word));
            self.landing == Landing::Code(1) && all
        };
        let right = match self.fault.end(self.operation) {
            End::Own => own,
            End::Told(words) => told(words),
            End::Killed => self.landing == Landing::Code(137),
            End::Gone => !own && self.landing != Landing::Code(0),
            End::GoneOrOwn => own || self.landing == Landing::Gone,
        };
        !right && !self.hangs()
    }

    fn hangs(&self) -> bool {
        self.landing == Landing::Hangs
    }

    fn is_inapplicable(&self) -> bool {
        matches!(self.evidence, Evidence::Inapplicable(_))
    }

    fn is_unproven(&self) -> bool {
        !matches!(self.evidence, Evidence::Seen(_) | Evidence::Inapplicable(_))
    }

    /// True if a rule was broken, or nothing shows that the fault took effect.
    pub fn is_bad(&self) -> bool {
        self.is_wrong()
            || self.hangs()
            || self.is_unproven()
            || self.damage != Damage::default()
            || !self.left.is_empty()
            || !self.broken.is_empty()
    }

    /// All of it in one line.
    pub fn line(&self) -> String {
        let evidence = match &self.evidence {
            Evidence::Seen(seen) => seen.clone(),
            Evidence::Inapplicable(why) => format!("none: {why}"),
            Evidence::Missing(why) => format!("UNPROVEN: {why}"),
            Evidence::Counted(..) => "UNPROVEN: it was not counted".to_owned(),
        };
        let mut line = format!(
            "{} {} | {} | {:?} after {:.1} s | lost {} repeated {} | {evidence}",
            if self.is_bad() { "BAD" } else { "ok " },
            self.fault.name(),
            self.operation.name(),
            self.landing,
            self.seconds,
            self.damage.lost,
            self.damage.repeated
        );
        for more in [self.told.as_str(), &self.left.join(", "), &self.broken.join("; ")] {
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

/// The table of all cells: sums of each fault and operation over its runs.
pub fn table(cells: &[Cell]) -> String {
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
    for cell in cells {
        let key = (cell.fault, cell.operation);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let same: Vec<_> = cells.iter().filter(|one| (one.fault, one.operation) == key).collect();
        let count = |is: fn(&Cell) -> bool| same.iter().filter(|cell| is(cell)).count();
        let sum = |of: fn(&Cell) -> u64| same.iter().map(|cell| of(cell)).sum::<u64>();
        let told = same.iter().map(|cell| title(&cell.told)).find(|told| !told.is_empty());
        let runs = same.len() - count(Cell::is_inapplicable);
        let _ = writeln!(
            text,
            "{:<22} {:<24} {:>4} {:>9} {:>9} {:>6} {:>6} {:>5} {:>9}  {}",
            cell.fault.name(),
            cell.operation.name(),
            runs,
            sum(|cell| cell.damage.lost),
            sum(|cell| cell.damage.repeated),
            count(Cell::is_wrong),
            count(Cell::hangs),
            count(|cell| !cell.left.is_empty() || !cell.broken.is_empty()),
            count(Cell::is_unproven),
            told.unwrap_or_default()
        );
    }
    text
}

/// "Step lost" of "::error title=Step lost::...".
fn title(told: &str) -> String {
    let title = told.split_once("title=").and_then(|(_, rest)| rest.split_once("::"));
    title.map(|(title, _)| title.to_owned()).unwrap_or_default()
}
