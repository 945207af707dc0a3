//! What came of the contexts, and what of it must not be.

use super::record::Record;

/// Letters of a line's details.
const MOST_LETTERS: usize = 400;

/// What came of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The same image, or both fail.
    AsDocker,
    /// Another image.
    Wrong,
    /// Docker builds it, hookd's build fails.
    Fails,
    /// Docker builds it, hookd names the line that it refuses.
    Refused,
    /// Docker refuses it, hookd builds it.
    Builds,
    /// Docker refuses it, and hookd failed for a reason of the cluster.
    Broken,
}

/// All, in the order of the counts.
const ALL: [Outcome; 6] = [
    Outcome::AsDocker,
    Outcome::Wrong,
    Outcome::Fails,
    Outcome::Refused,
    Outcome::Builds,
    Outcome::Broken,
];

impl Outcome {
    /// Its name in lines and in the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsDocker => "as docker",
            Self::Wrong => "wrong",
            Self::Fails => "fails",
            Self::Refused => "refused",
            Self::Builds => "builds",
            Self::Broken => "broken",
        }
    }
}

/// What came of one context.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Name of the context.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The difference, or hookd's error.
    pub details: String,
    /// Of a build that is green and should not be: whether hookd warned with the line.
    pub warned: Option<bool>,
}

impl Finding {
    /// One line.
    pub fn line(&self) -> String {
        let mut details = self.details.trim().replace('\n', " | ");
        if let Some((end, _)) = details.char_indices().nth(MOST_LETTERS) {
            details.replace_range(end.., "...");
        }
        let warned = match self.warned {
            Some(true) => "  warned",
            Some(false) => "  NOT WARNED",
            None => "",
        };
        let line = format!("{:<36} {:<9}  {details}", self.name, self.outcome.name());
        format!("{}{warned}", line.trim_end())
    }
}

/// How many there are of each outcome.
pub fn counts(findings: &[Finding]) -> String {
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let of_each = ALL.map(|outcome| format!("{} {}", count(outcome), outcome.name()));
    let silent = findings.iter().filter(|finding| finding.warned == Some(false)).count();
    format!("{} contexts: {}; {silent} NOT WARNED", findings.len(), of_each.join(", "))
}

/// What must not be: a build that is green, not as docker's and without a warning; an outcome other
/// than the recorded one; fewer than `least` as docker.
pub fn violations(
    findings: &[Finding],
    recorded: Option<&Record>,
    least: Option<usize>,
) -> Vec<String> {
    let mut violations = Vec::new();
    for Finding { name, outcome, warned, .. } in findings {
        if *warned == Some(false) {
            violations.push(format!("{name}: green, not as docker, and no warning names a line"));
        }
        if *outcome == Outcome::Broken {
            violations.push(format!("{name}: failed for a reason of the cluster"));
        }
        match recorded.map(|recorded| recorded.get(name)) {
            Some(Some(before)) if before != outcome.name() => {
                violations.push(format!("{name}: {}, recorded: {before}", outcome.name()));
            }
            Some(None) => {
                violations.push(format!("{name}: not recorded; PARITY_RECORD=1 does it"));
            }
            _ => {}
        }
    }
    let as_docker = findings.iter().filter(|finding| finding.outcome == Outcome::AsDocker).count();
    if let Some(least) = least.filter(|least| as_docker < *least) {
        violations.push(format!("{as_docker} are as docker, fewer than {least}"));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, outcome: Outcome, warned: Option<bool>) -> Finding {
        Finding { name: name.to_owned(), outcome, details: "a\nb".to_owned(), warned }
    }

    #[test]
    fn a_line_is_one_line_and_says_who_was_warned() {
        let line = finding("1-a", Outcome::Wrong, Some(false)).line();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>().join(" "),
            "1-a wrong a | b NOT WARNED"
        );
        let long = Finding { details: "é".repeat(999), ..finding("1-a", Outcome::Fails, None) };
        assert!(long.line().ends_with("é..."));
    }

    #[test]
    fn silence_changes_and_few_are_violations() {
        let findings = [
            finding("1-a", Outcome::AsDocker, None),
            finding("2-b", Outcome::Wrong, Some(true)),
            finding("3-c", Outcome::Builds, Some(false)),
        ];
        let all = violations(&findings, None, Some(2));
        assert_eq!(all.len(), 2, "{all:?}");
        let mut record = Record::default();
        record.update(&findings[..2]);
        let changed = finding("2-b", Outcome::Fails, None);
        let all = violations(&[findings[0].clone(), changed], Some(&record), None);
        assert_eq!(all, ["2-b: fails, recorded: wrong"]);
        let all = violations(&[finding("4-d", Outcome::AsDocker, None)], Some(&record), None);
        assert_eq!(all.len(), 1, "{all:?}");
        let text = "3 contexts: 1 as docker, 1 wrong, 0 fails, 0 refused, 1 builds, 0 broken; 1 NOT WARNED";
        assert_eq!(counts(&findings), text);
    }
}
