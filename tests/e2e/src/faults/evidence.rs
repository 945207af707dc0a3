//! What shows that a fault met an operation while that was under way.

use super::traffic::Traffic;
use super::workload::{Run, Workload};

/// What shows that a fault met an operation.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// It did, and this was seen.
    Observed(String),
    /// It did not, or nothing shows that it did.
    Missing(String),
    /// The proxy or the gateway counts it until the operation has ended.
    Counted(Count, Traffic),
    /// The fault is none for this operation.
    NotApplicable(&'static str),
}

/// Which count has to grow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Resets,
    HalfClosed,
    Withheld,
    WrongAnswers,
}

impl Evidence {
    /// The last word, once the operation has ended.
    pub(crate) fn resolve(self, workload: &Workload) -> Self {
        let Self::Counted(count, before) = self else { return self };
        let now = workload.proxy.traffic();
        let (number, what) = match count {
            Count::Resets => (now.reset - before.reset, "connections reset"),
            Count::HalfClosed => (now.half_closed - before.half_closed, "connections half-closed"),
            Count::Withheld => (now.withheld - before.withheld, "bytes withheld"),
            Count::WrongAnswers => {
                let done = workload.gateway.done();
                let words: Vec<_> =
                    done.iter().map(|(wrong, n)| format!("{n} {wrong:?}")).collect();
                let seen = Self::Observed(words.join(", "));
                return if done.is_empty() {
                    Self::Missing("no answer was wrong".into())
                } else {
                    seen
                };
            }
        };
        let words = format!("{number} {what}");
        if number > 0 { Self::Observed(words) } else { Self::Missing(words) }
    }
}

pub(crate) fn observed_if(is_running: bool, what: &str, inject: impl FnOnce() -> bool) -> Evidence {
    if !is_running {
        return Evidence::Missing("it had ended before".to_owned());
    }
    if inject() {
        Evidence::Observed(what.to_owned())
    } else {
        Evidence::Missing(format!("not {what}"))
    }
}

pub(crate) fn counted(run: &Run<'_>, count: Count, inject: impl FnOnce(&Workload)) -> Evidence {
    let before = run.workload.proxy.traffic();
    if !run.is_running() {
        return Evidence::Missing("it had ended before".to_owned());
    }
    inject(run.workload);
    run.workload.proxy.clear();
    Evidence::Counted(count, before)
}
