//! Health checks as docker makes them, as a startup probe of Kubernetes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ExecAction, Probe};

use crate::objects::docker::args;
use crate::registry::image_config::{Healthcheck, ImageConfig};

/// docker's interval and timeout where neither options nor image set one.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// docker's interval during the start period, likewise.
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
/// docker's number of failures, likewise.
const DEFAULT_RETRIES: u32 = 3;

/// When a container counts as healthy: what differs from its image's HEALTHCHECK.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Health {
    pub(super) command: Option<String>,
    /// --no-healthcheck.
    pub(super) none: bool,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) start_period: Option<Duration>,
    pub(super) start_interval: Option<Duration>,
    pub(super) retries: Option<u32>,
}

impl Health {
    /// True if any flag of the health check was given.
    pub(super) fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// docker makes its first check an interval after the start (within a start period: a start
    /// interval), and gives up after `retries` failures that lie behind the start period. The probe
    /// begins and ends with docker; in between it is made more often, so that no job waits for the
    /// end of an interval.
    pub(super) fn probe(&self, image: Option<&ImageConfig>) -> Option<Probe> {
        let check = image.and_then(|image| image.healthcheck.as_ref());
        let command = self.test(image, check)?;
        let of_image = |time: fn(&Healthcheck) -> u64| {
            check.map(time).filter(|time| *time > 0).map(Duration::from_nanos)
        };
        // docker takes 0 for "not set".
        let set = |own: Option<Duration>, of_image: Option<Duration>| {
            own.filter(|time| !time.is_zero()).or(of_image)
        };
        let interval =
            set(self.interval, of_image(|check| check.interval)).unwrap_or(DEFAULT_INTERVAL);
        let timeout =
            set(self.timeout, of_image(|check| check.timeout)).unwrap_or(DEFAULT_INTERVAL);
        let start = set(self.start_period, of_image(|check| check.start_period));
        let start_interval = set(self.start_interval, of_image(|check| check.start_interval));
        let retries = self.retries.filter(|number| *number > 0);
        let retries = retries.or(check.map(|check| check.retries).filter(|number| *number > 0));
        let first = match start {
            Some(_) => start_interval.unwrap_or(DEFAULT_START_INTERVAL),
            None => interval,
        };
        let all = interval.saturating_mul(retries.unwrap_or(DEFAULT_RETRIES));
        let last = start.unwrap_or_default().saturating_add(all);
        let period = (interval.as_secs() / 10).clamp(1, 10);
        let failures = seconds(last).saturating_sub(seconds(first)).div_ceil(period) + 1;
        Some(Probe {
            exec: Some(ExecAction { command: Some(command) }),
            initial_delay_seconds: Some(int32(seconds(first))),
            period_seconds: Some(int32(period)),
            timeout_seconds: Some(int32(seconds(timeout).max(1))),
            failure_threshold: Some(int32(failures)),
            ..Probe::default()
        })
    }

    /// The program that checks the container's health, if it has one, as the kubelet must get it.
    fn test(
        &self,
        image: Option<&ImageConfig>,
        check: Option<&Healthcheck>,
    ) -> Option<Vec<String>> {
        if self.none {
            return None;
        }
        let shell = |rest: &[String]| {
            // The image's SHELL, as docker takes it.
            let shell =
                image.and_then(|image| image.shell.clone()).filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| ["/bin/sh", "-c"].map(str::to_owned).to_vec());
            shell.into_iter().chain(rest.iter().cloned()).collect()
        };
        let own = self.command.as_ref().filter(|command| !command.is_empty());
        let words: Vec<String> = match (own, check.map(|check| check.test.as_slice())) {
            (Some(command), _) => shell(std::slice::from_ref(command)),
            (None, Some([kind, rest @ ..])) if kind == "CMD-SHELL" && !rest.is_empty() => {
                shell(rest)
            }
            (None, Some([kind, rest @ ..])) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
            _ => return None,
        };
        Some(words.iter().map(|word| args::quote_dollars(word)).collect())
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

fn int32(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
