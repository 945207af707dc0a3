//! How long tests hold the cluster: `tests/e2e/slowest.sh` prints the longest.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names the file that takes the times of this run.
const TIMES: &str = "HOOKD_TEST_TIMES";

/// Writes a line when it is dropped: begin and end, in seconds since 1970, and the test.
#[derive(Debug)]
pub struct Timer {
    test: Option<String>,
    begin: f64,
}

impl Timer {
    /// Starts for the test of this thread: the harness names each thread after its test.
    pub(crate) fn start() -> Self {
        Self { test: std::thread::current().name().map(str::to_owned), begin: now() }
    }

    fn line(&self, end: f64) -> Option<String> {
        Some(format!("{:.3} {end:.3} {}\n", self.begin, self.test.as_ref()?))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let (Some(path), Some(line)) = (std::env::var_os(TIMES), self.line(now())) else { return };
        // In one write, so that the lines of two tests do not mix.
        let file = OpenOptions::new().create(true).append(true).open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("cannot write to {}: {error}", path.display());
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_begin_end_and_the_name_of_the_test() {
        let mut timer = Timer::start();
        timer.begin = 1.0;
        let name = "timer::tests::a_line_has_begin_end_and_the_name_of_the_test";
        assert_eq!(timer.line(2.5).as_deref(), Some(format!("1.000 2.500 {name}\n").as_str()));
    }
}
