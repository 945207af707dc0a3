//! The page that a scraper reads: Prometheus' text format, version 0.0.4.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};

use super::labels::Label;
use super::values::{Counters, Durations};

/// How the page says what it is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Default)]
pub(super) struct Page(String);

/// Name of a metric, and what it is.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

impl Page {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn begin(&mut self, about: About, kind: &str) {
        let About { name, help } = about;
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// `labels` without a name are left out.
    fn sample(&mut self, name: impl Display, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "{name}");
        let labels = labels.iter().filter(|(name, _)| !name.is_empty());
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(self.0, "{before}{label}=\"{value}\"");
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A number that may fall.
    pub(super) fn gauge(&mut self, about: About, labels: &[(&str, &str)], value: impl Display) {
        self.begin(about, "gauge");
        self.sample(about.name, labels, value);
    }

    /// A number that only grows.
    pub(super) fn counter(&mut self, about: About, value: impl Display) {
        self.begin(about, "counter");
        self.sample(about.name, &[], value);
    }

    /// A counter for each pair of values that `is_shown`, and for those that were counted.
    pub(super) fn counters<A: Label, B: Label>(
        &mut self,
        about: About,
        counters: &Counters<A, B>,
        is_shown: impl Fn(A, B) -> bool,
    ) {
        self.begin(about, "counter");
        for one in A::ALL {
            for other in B::ALL {
                let count = counters.get(*one, *other);
                if count > 0 || is_shown(*one, *other) {
                    let labels = [(A::NAME, one.value()), (B::NAME, other.value())];
                    self.sample(about.name, &labels, count);
                }
            }
        }
    }

    pub(super) fn durations<A: Label>(&mut self, about: About, durations: &Durations<A>) {
        self.begin(about, "histogram");
        let name = about.name;
        for value in A::ALL {
            let label = (A::NAME, value.value());
            let mut count = 0;
            for (bound, number) in durations.buckets(*value) {
                self.sample(format_args!("{name}_bucket"), &[label, ("le", &bound)], number);
                count = number;
            }
            self.sample(format_args!("{name}_sum"), &[label], durations.sum(*value));
            self.sample(format_args!("{name}_count"), &[label], count);
        }
    }
}
