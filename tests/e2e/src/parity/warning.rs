//! Where hookd's words name a line of a Dockerfile.

/// True if a line of a build's log is a warning of hookd: `<file>:<line>: warning: <text>`.
pub(crate) fn is_in(log: &str, file: &str) -> bool {
    log.lines().any(|line| {
        let text = line.starts_with(file).then(|| behind_line(line, file)).flatten();
        text.and_then(|text| text.strip_prefix(" warning: ")).is_some_and(|text| !text.is_empty())
    })
}

/// True if an error names a line: `<file>:<line>:` or "line <number>". Shells number the lines of
/// their scripts, too.
pub(crate) fn names_line(error: &str, file: &str) -> bool {
    let by_number = error.match_indices("line ").any(|(at, word)| {
        let is_digit = |letter: char| letter.is_ascii_digit();
        error[at + word.len()..].starts_with(is_digit) && !error[..at].ends_with("sh: ")
    });
    by_number || behind_line(error, file).is_some()
}

/// What stands behind the first `<file>:<line>:` of a text.
fn behind_line<'a>(text: &'a str, file: &str) -> Option<&'a str> {
    text.match_indices(file).find_map(|(at, _)| {
        let number = text[at + file.len()..].strip_prefix(':')?;
        let rest = number.trim_start_matches(|letter: char| letter.is_ascii_digit());
        (rest.len() < number.len()).then(|| rest.strip_prefix(':')).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_begins_its_line_and_has_a_text() {
        assert!(is_in("built\nDockerfile:12: warning: x is ignored\n", "Dockerfile"));
        assert!(is_in("my action.Dockerfile:1: warning: x\r\n", "my action.Dockerfile"));
        for log in [
            "Dockerfile: warning: x",
            "Dockerfile:1: x",
            "Dockerfile:: warning: x",
            "Dockerfile:1: warning: ",
            "a Dockerfile:1: warning: x",
            "Dockerfile:1 warning: x",
        ] {
            assert!(!is_in(log, "Dockerfile"), "{log}");
        }
    }

    #[test]
    fn an_error_names_a_line_by_place_or_by_number() {
        assert!(names_line("/w/a/Dockerfile:3: unknown", "Dockerfile"));
        assert!(names_line("dockerfile parse error on line 2: x", "Dockerfile"));
        assert!(!names_line("The build of /w/a/Dockerfile failed: exit code 1", "Dockerfile"));
        assert!(!names_line("/bin/bash: line 1: x: command not found", "Dockerfile"));
        assert!(!names_line("one line more", "Dockerfile"));
    }
}
