//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(25);

/// What `look` returns once it returns something; nothing if it does not within `timeout`.
pub fn eventually<T>(timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        #[allow(clippy::disallowed_methods, reason = "no runtime is blocked here")]
        std::thread::sleep(PAUSE);
    }
}

/// As [`eventually`]; fails the test with `what` did not happen.
pub fn until<T>(what: &str, timeout: Duration, look: impl FnMut() -> Option<T>) -> T {
    let found = eventually(timeout, look);
    found.unwrap_or_else(|| panic!("not within {} s: {what}", timeout.as_secs()))
}

/// Seconds, for short.
pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets time pass: for faults that have to last.
pub fn let_pass(time: Duration) {
    eventually(time, || None::<()>);
}
