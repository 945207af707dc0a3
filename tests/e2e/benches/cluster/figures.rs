//! The figures: a table for people, JSON for programs.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use test_support::cluster::repository;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Figure {
    name: &'static str,
    /// In order; there is at least one.
    values: Vec<f64>,
    unit: &'static str,
    aim: Option<f64>,
}

impl Figure {
    /// Times, in seconds.
    pub(crate) fn new(name: &'static str, times: &[Duration]) -> Self {
        Self::sorted(name, times.iter().map(Duration::as_secs_f64).collect(), "s")
    }

    /// Sizes, in megabytes.
    pub(crate) fn megabytes(name: &'static str, sizes: &[f64]) -> Self {
        Self::sorted(name, sizes.to_vec(), "MB")
    }

    fn sorted(name: &'static str, mut values: Vec<f64>, unit: &'static str) -> Self {
        values.sort_by(f64::total_cmp);
        Self { name, values, unit, aim: None }
    }

    /// Sets what the median is to be at most.
    pub(crate) fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    pub(crate) fn median(&self) -> f64 {
        let (middle, odd) = (self.values.len() / 2, self.values.len() % 2 == 1);
        if odd {
            return self.values[middle];
        }
        f64::midpoint(self.values[middle - 1], self.values[middle])
    }

    fn min(&self) -> f64 {
        self.values[0]
    }

    fn max(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    fn row(&self) -> String {
        let (n, aim) = (self.values.len(), self.aim.map(|aim| format!("{aim:.3}")));
        let times = format!("{:>8.3} {:>8.3} {:>8.3}", self.median(), self.min(), self.max());
        format!("{:<43} {n:>3} {times} {:<2}   {}", self.name, self.unit, aim.unwrap_or_default())
    }

    fn result(&self) -> Value {
        let rounded = |seconds: f64| (seconds * 1e6).round() / 1e6;
        json!({
            "name": self.name,
            "n": self.values.len(),
            "median": rounded(self.median()),
            "min": rounded(self.min()),
            "max": rounded(self.max()),
            "unit": self.unit,
        })
    }
}

/// The table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table =
        format!("{:<43} {:>3} {:>8} {:>8} {:>8}      aim\n", "", "n", "median", "min", "max");
    for figure in figures {
        writeln!(table, "{}", figure.row().trim_end()).unwrap();
    }
    table
}

/// Writes target/bench.json of the checkout.
pub(crate) fn write(figures: &[Figure]) {
    let results: Vec<_> = figures.iter().map(Figure::result).collect();
    let text = serde_json::to_string_pretty(&json!({"results": results})).unwrap();
    fs::create_dir_all(repository("target")).unwrap();
    fs::write(repository("target/bench.json"), text + "\n").unwrap();
}
