//! Counters and histograms: a fixed number of atomics each, so that counting takes no lock.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::labels::{Label, Unlabelled};

fn zeros(number: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(number).collect()
}

/// A number for each pair of values of two labels.
#[derive(Debug)]
pub(super) struct Counters<A = Unlabelled, B = Unlabelled> {
    cells: Box<[AtomicU64]>,
    labels: PhantomData<fn(A, B)>,
}

impl<A: Label, B: Label> Default for Counters<A, B> {
    fn default() -> Self {
        Self { cells: zeros(A::ALL.len() * B::ALL.len()), labels: PhantomData }
    }
}

impl<A: Label, B: Label> Counters<A, B> {
    pub(super) fn add(&self, one: A, other: B, number: u64) {
        if let Some(cell) = self.cells.get(one.index() * B::ALL.len() + other.index()) {
            cell.fetch_add(number, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, one: A, other: B) -> u64 {
        let cell = self.cells.get(one.index() * B::ALL.len() + other.index());
        cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Durations by the value of a label.
#[derive(Debug)]
pub(super) struct Durations<A> {
    /// Of the buckets, in seconds, growing.
    bounds: &'static [f64],
    /// For each value: one count for each bound, and one for what is above all.
    counts: Box<[AtomicU64]>,
    /// For each value, in microseconds.
    sums: Box<[AtomicU64]>,
    label: PhantomData<fn(A)>,
}

impl<A: Label> Durations<A> {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let values = A::ALL.len();
        let counts = zeros(values * (bounds.len() + 1));
        Self { bounds, counts, sums: zeros(values), label: PhantomData }
    }

    pub(super) fn observe(&self, value: A, time: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < time.as_secs_f64());
        if let Some(cell) = self.counts.get(value.index() * (self.bounds.len() + 1) + bucket) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(sum) = self.sums.get(value.index()) {
            sum.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The bound of each bucket, as scrapers read it, with how many durations are not above it.
    pub(super) fn buckets(&self, value: A) -> impl Iterator<Item = (String, u64)> {
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let width = self.bounds.len() + 1;
        let counts = self.counts.iter().skip(value.index() * width).take(width);
        let counts = counts.scan(0, |total, count| {
            *total += count.load(Ordering::Relaxed);
            Some(*total)
        });
        bounds.zip(counts)
    }

    /// All durations together, in seconds.
    pub(super) fn sum(&self, value: A) -> f64 {
        let sum = self.sums.get(value.index());
        let micros = sum.map_or(0, |sum| sum.load(Ordering::Relaxed));
        Duration::from_micros(micros).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::{Output, Phase};
    use super::*;

    #[test]
    fn each_pair_of_values_has_a_number_of_its_own() {
        let counters = Counters::<Phase, Output>::default();
        counters.add(Phase::Pull, Output::Stdout, 3);
        counters.add(Phase::Pull, Output::Stderr, 4);
        assert_eq!(counters.get(Phase::Pull, Output::Stdout), 3);
        assert_eq!(counters.get(Phase::Pull, Output::Stderr), 4);
        assert_eq!(counters.get(Phase::Run, Output::Stdout), 0);
    }

    #[test]
    fn buckets_count_all_that_is_not_above_their_bound() {
        let durations = Durations::<Phase>::new(&[0.5, 2.0]);
        for millis in [500, 501, 3000] {
            durations.observe(Phase::Run, Duration::from_millis(millis));
        }
        let buckets: Vec<_> = durations.buckets(Phase::Run).collect();
        let expected = [("0.5", 1), ("2", 2), ("+Inf", 3)];
        assert_eq!(buckets, expected.map(|(bound, count)| (bound.to_owned(), count)));
        assert!((durations.sum(Phase::Run) - 4.001).abs() < 1e-9);
        assert!(durations.buckets(Phase::Pull).all(|(_, count)| count == 0));
    }
}
