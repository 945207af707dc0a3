//! The administrator's policy for what workflows may ask for.

use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;

/// It can be read, if there is one.
pub(super) async fn check(facts: &Facts) -> Outcome {
    match &facts.policy {
        Ok(None) => Outcome::skipped("no policy is set"),
        Ok(Some(_)) => Outcome::ok("the policy can be used"),
        Err(failure) => failure.into(),
    }
}
