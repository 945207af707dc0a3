//! What the kernel knows of this process.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;

/// Clock ticks a second in /proc, on every architecture that hookd runs on.
const TICKS: f64 = 100.0;

/// This process, which is looked at when it is scraped.
#[derive(Debug)]
pub(super) struct Process {
    /// In seconds since 1970.
    started: f64,
}

impl Process {
    pub(super) fn started_now() -> Self {
        Self { started: now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut add = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        // The name of an Info is ended with `_info`, that of a counter with `_total`.
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        add("hookd_build", "The version of hookd; always 1.", &version)?;
        let started = ConstGauge::new(self.started);
        add("process_start_time_seconds", "When hookd started, since 1970.", &started)?;
        if let Some(memory) = resident_memory() {
            let memory = ConstGauge::new(memory);
            add("process_resident_memory_bytes", "Memory of hookd.", &memory)?;
        }
        if let Some(time) = processor_time() {
            add("process_cpu_seconds", "Processor time of hookd.", &ConstCounter::new(time))?;
        }
        Ok(())
    }
}

/// Bytes in memory; none if /proc is not there.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Seconds of processor time, of user and system together.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses, and may have any letters.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_of_this_process_are_known() {
        assert!(resident_memory().unwrap() > 1 << 20);
        let before = processor_time().unwrap();
        let mut number = 0_u64;
        while processor_time().unwrap() <= before {
            number = std::hint::black_box(number + 1);
        }
        assert!(now() > 1.7e9);
    }
}
