//! Which events may build.

use super::error::PolicyError;
use super::file::BuildRules;

const RULE: &str = "builds.events";

/// What the rules refuse of a build by this event; none: it is not known, or what says so is not believed.
pub(super) fn check(rules: &BuildRules, event: Option<&str>) -> Option<PolicyError> {
    let allowed = rules.events.as_ref()?;
    let rule = RULE.to_owned();
    match event.filter(|event| !event.is_empty()) {
        None => Some(PolicyError::EventUnknown { rule }),
        Some(event) if allowed.iter().any(|one| one == event) => None,
        Some(event) => Some(PolicyError::EventNotAllowed { event: event.to_owned(), rule }),
    }
}
