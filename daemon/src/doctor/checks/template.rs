//! The administrator's template for pods.

use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;

/// It is one, if there is one.
pub(super) async fn check(facts: &Facts) -> Outcome {
    match facts.template() {
        Ok(None) => Outcome::skipped("no hook template is set"),
        Ok(Some(template)) if template.warnings().is_empty() => {
            Outcome::ok("the hook template can be used")
        }
        Ok(Some(template)) => Outcome::warning(
            template.warnings().join("; "),
            "hookd does not use all of the hook template",
            "Correct the template; docs/placement.md and docs/config.md say what it may have",
        ),
        Err(outcome) => outcome,
    }
}
