//! What the kernel knows of this process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clock ticks a second in /proc, on every architecture that hookd runs on.
const TICKS: f64 = 100.0;

/// Bytes in memory; none if /proc is not there.
pub(super) fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Seconds of processor time, of user and system together.
pub(super) fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses, and may have any letters.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
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
