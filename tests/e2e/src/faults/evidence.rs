//! What shows that a fault met an operation while that was under way.

use super::lane::{Flight, Lane};
use super::traffic::Traffic;

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
                let words: Vec<_> =
                    done.iter().map(|(wrong, n)| format!("{n} {wrong:?}")).collect();
                let seen = Self::Seen(words.join(", "));
                return if done.is_empty() {
                    Self::Missing("no answer was wrong".into())
                } else {
                    seen
                };
            }
        };
        let words = format!("{number} {what}");
        if number > 0 { Self::Seen(words) } else { Self::Missing(words) }
    }
}

pub(crate) fn seen_if(flies: bool, what: &str, inject: impl FnOnce() -> bool) -> Evidence {
    if !flies {
        return Evidence::Missing("it had landed before".to_owned());
    }
    if inject() {
        Evidence::Seen(what.to_owned())
    } else {
        Evidence::Missing(format!("not {what}"))
    }
}

pub(crate) fn counted(flight: &Flight<'_>, count: Count, inject: impl FnOnce(&Lane)) -> Evidence {
    let before = flight.lane.proxy.traffic();
    if !flight.flies() {
        return Evidence::Missing("it had landed before".to_owned());
    }
    inject(flight.lane);
    flight.lane.proxy.clear();
    Evidence::Counted(count, before)
}
