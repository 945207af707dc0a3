//! The outcome of each context, as it was recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::report::Finding;

const HEAD: &str =
    "# What hookd makes of each context; `PARITY_RECORD=1 make parity` rewrites it.\n";

/// Names of contexts and the names of their outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(BTreeMap<String, String>);

impl Record {
    /// Reads a file; none records nothing.
    pub fn read(path: &Path) -> Self {
        Self::parse(&fs::read_to_string(path).unwrap_or_default())
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        fs::write(path, self.text()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Takes new outcomes, and keeps those of other contexts.
    pub fn update(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.0.insert(finding.name.clone(), finding.outcome.name().to_owned());
        }
    }

    /// The outcome of a context.
    pub(crate) fn get(&self, context: &str) -> Option<&str> {
        self.0.get(context).map(String::as_str)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once(' '));
        Self(pairs.map(|(name, outcome)| (name.to_owned(), outcome.trim().to_owned())).collect())
    }

    fn text(&self) -> String {
        let lines: String =
            self.0.iter().map(|(name, outcome)| format!("{name} {outcome}\n")).collect();
        format!("{HEAD}{lines}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record::parse("# old\n1-a as docker\n2-b fails\n");
        record.update(&[Finding {
            name: "2-b".to_owned(),
            outcome: Outcome::Refused,
            details: String::new(),
            warned: None,
        }]);
        assert_eq!(Record::parse(&record.text()), record);
        assert_eq!((record.get("1-a"), record.get("2-b")), (Some("as docker"), Some("refused")));
        assert_eq!(record.get("3-c"), None);
    }
}
