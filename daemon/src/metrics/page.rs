//! The page that a scraper reads: prometheus-client writes it, in Prometheus' text format, version 0.0.4.

use std::fmt::Debug;
use std::hash::Hash;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{Label, all};

/// How the page says what it is.
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// A counter for each set of labels.
pub(super) type Counters<S> = Family<S, Counter>;
/// Durations by the value of a label.
pub(super) type Durations<A> = Family<A, Histogram, fn() -> Histogram>;

/// What is on it, in the order in which it was added. prometheus-client ends a help text with a full stop and the
/// name of a counter with `_total`.
#[derive(Debug, Default)]
pub(super) struct Page(Registry);

impl Page {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    /// A number that may fall.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.add(name, help, Gauge::default())
    }

    /// A number that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    /// A counter for each of these sets of labels, and for others once they are counted.
    pub(super) fn counters<S>(
        &mut self,
        name: &str,
        help: &str,
        at_0: impl IntoIterator<Item = S>,
    ) -> Counters<S>
    where
        S: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static,
    {
        let counters = Counters::default();
        for labels in at_0 {
            drop(counters.get_or_create(&labels));
        }
        self.add(name, help, counters)
    }

    /// A histogram as `empty` makes it for each value of a label.
    pub(super) fn durations<A: Label>(
        &mut self,
        name: &str,
        help: &str,
        empty: fn() -> Histogram,
    ) -> Durations<A> {
        let durations = Durations::new_with_constructor(empty);
        for value in all() {
            drop(durations.get_or_create(&value));
        }
        self.add(name, help, durations)
    }

    /// With what is asked for at each scrape.
    pub(super) fn and(mut self, collector: impl Collector) -> Self {
        self.0.register_collector(Box::new(collector));
        self
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.0);
        text
    }
}
