//! The settings in the environment.

use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;

/// Each can be used as it is.
pub(super) async fn check(facts: &Facts) -> Outcome {
    if facts.refused.is_empty() {
        return Outcome::ok("every setting can be used");
    }
    Outcome::failure(
        facts.refused.join("; "),
        "The value has another form than the setting takes",
        "Correct it on the hookd container; docs/config.md lists the settings with their forms",
    )
}
