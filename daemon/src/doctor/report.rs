//! What the checks found, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::cluster::pod::one_line;
use crate::error::{Failure, report};

/// Where the documentation of a check is: a heading has its name.
const PAGE: &str = "docs/doctor.md#";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It could not be made, or does not apply.
    Skipped,
    /// All is well.
    Ok,
    /// Jobs run, and something is not as it should be.
    Warning,
    /// Jobs or builds will fail.
    Failure,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        }
    }
}

/// What a check found. Texts are on one line, and empty where there is nothing to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    /// How it ended.
    pub(super) status: Status,
    /// What it found, or why it was skipped.
    pub(super) found: String,
    /// Why that is so.
    pub(super) cause: String,
    /// What to do about it.
    pub(super) remedy: String,
}

impl Outcome {
    fn new(status: Status, found: &str, cause: &str, remedy: &str) -> Self {
        let [found, cause, remedy] = [found, cause, remedy].map(one_line);
        Self { status, found, cause, remedy }
    }

    /// All is well.
    pub(super) fn ok(found: impl AsRef<str>) -> Self {
        Self::new(Status::Ok, found.as_ref(), "", "")
    }

    /// The check does not apply, or cannot be made.
    pub(super) fn skipped(why: impl AsRef<str>) -> Self {
        Self::new(Status::Skipped, why.as_ref(), "", "")
    }

    /// Something is not as it should be.
    pub(super) fn warning(
        found: impl AsRef<str>,
        cause: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        Self::new(Status::Warning, found.as_ref(), cause.as_ref(), remedy.as_ref())
    }

    /// Jobs or builds will fail.
    pub(super) fn failure(
        found: impl AsRef<str>,
        cause: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        Self::new(Status::Failure, found.as_ref(), cause.as_ref(), remedy.as_ref())
    }
}

/// As the user of a step would read it.
impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        let whole = report(failure);
        let causes = whole.strip_prefix(failure.message.as_str()).unwrap_or_default();
        let cause = match causes.trim_start_matches(": ") {
            "" => failure.reason.as_str(),
            causes => causes,
        };
        Self::failure(&failure.message, cause, &failure.remedy)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::from(&failure)
    }
}

/// A check that was made.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// Its stable name.
    pub(super) name: &'static str,
    /// What it found.
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    /// Where it is documented.
    pub(super) link: String,
    /// How long it took.
    pub(super) milliseconds: u64,
}

impl Finding {
    /// What the check of this name found.
    pub(super) fn new(name: &'static str, outcome: Outcome, took: Duration) -> Self {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { name, outcome, link: format!("{PAGE}{name}"), milliseconds }
    }
}

/// The worst of all; a skipped check is none.
pub(super) fn worst(findings: &[Finding]) -> Status {
    findings
        .iter()
        .map(|finding| finding.outcome.status)
        .max()
        .unwrap_or(Status::Ok)
        .max(Status::Ok)
}

/// One JSON object.
pub(super) fn as_json(findings: &[Finding]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    json!({"status": worst(findings), "version": version, "checks": findings}).to_string()
}

/// A line for each check; cause, remedy and link below those that are not well.
pub(super) fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let longest = findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
    for Finding { name, outcome, link, .. } in findings {
        let Outcome { status, found, cause, remedy } = outcome;
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:8} {name:longest$}  {found}", status.as_str());
        if *status >= Status::Warning {
            for (what, said) in [("cause", cause), ("remedy", remedy), ("see", link)] {
                if !said.is_empty() {
                    let _ = writeln!(text, "{:8} {:longest$}  {what}: {said}", "", "");
                }
            }
        }
    }
    let count = |status| findings.iter().filter(|one| one.outcome.status == status).count();
    let [ok, skipped, warnings, failures] =
        [Status::Ok, Status::Skipped, Status::Warning, Status::Failure].map(count);
    let all = findings.len();
    let _ = writeln!(
        text,
        "{all} checks: {ok} ok, {warnings} warnings, {failures} failures, {skipped} skipped"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn findings() -> Vec<Finding> {
        let took = Duration::from_millis(7);
        vec![
            Finding::new("clock", Outcome::ok("it is right"), took),
            Finding::new("quota", Outcome::skipped("not readable"), took),
            Finding::new("claim", Outcome::failure("a\nb", "c", "d"), took),
        ]
    }

    #[test]
    fn a_failure_has_cause_remedy_and_link_on_lines_of_their_own() {
        let expected = "\
ok       clock  it is right
skipped  quota  not readable
FAILURE  claim  a b
                cause: c
                remedy: d
                see: docs/doctor.md#claim
3 checks: 1 ok, 0 warnings, 1 failures, 1 skipped
";
        assert_eq!(as_text(&findings()), expected);
    }

    #[test]
    fn the_fields_of_the_json_are_stable() {
        let json: serde_json::Value = serde_json::from_str(&as_json(&findings())).unwrap();
        assert_eq!(json["status"], "failure");
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        let claim = json!({"name": "claim", "status": "failure", "found": "a b", "cause": "c",
            "remedy": "d", "link": "docs/doctor.md#claim", "milliseconds": 7});
        assert_eq!(json["checks"][2], claim);
        assert_eq!(worst(&findings()[..2]), Status::Ok);
    }

    #[test]
    fn a_failure_of_the_daemon_keeps_its_words() {
        let plain = Failure::new(Reason::ClaimUnusable, "No claim", "Make one");
        assert_eq!(
            Outcome::from(&plain),
            Outcome::failure("No claim", "CLAIM_UNUSABLE", "Make one")
        );
        let caused = plain.with_source(std::io::Error::other("the disk"));
        assert_eq!(Outcome::from(caused).cause, "the disk");
    }
}
