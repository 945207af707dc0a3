//! How the arguments of an action become `entryPointArgs`.

/// The arguments of `runs.args`: each in double quotes, then split like a raw string.
///
/// Backslashes are not escaped, which is what the runner does.
pub fn from_list<S: AsRef<str>>(arguments: &[S]) -> Vec<String> {
    let quoted: Vec<String> = arguments
        .iter()
        .map(|argument| format!("\"{}\"", argument.as_ref().replace('"', "\\\"")))
        .collect();
    split(&quoted.join(" "))
}

/// A raw argument string (the input `args`): split on single spaces, each piece trimmed, empty
/// pieces dropped. Quotes mean nothing here; their receiver joins them again.
pub fn split(arguments: &str) -> Vec<String> {
    arguments
        .split(' ')
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_of_a_list_is_quoted_and_then_split_on_spaces() {
        assert_eq!(
            from_list(&["--title", "hello world", "say \"hi\"", "", "src/**/*.ts"]),
            [
                "\"--title\"",
                "\"hello",
                "world\"",
                "\"say",
                "\\\"hi\\\"\"",
                "\"\"",
                "\"src/**/*.ts\""
            ]
        );
    }

    #[test]
    fn backslashes_stay_as_they_are() {
        assert_eq!(from_list(&[r"a\"]), [r#""a\""#]);
    }

    #[test]
    fn runs_of_spaces_and_line_ends_beside_a_space_are_lost() {
        assert_eq!(split("\n -c  \"a   b\"\n c\td \n"), ["-c", "\"a", "b\"", "c\td"]);
    }

    #[test]
    fn no_argument_gives_an_empty_list() {
        assert!(from_list::<&str>(&[]).is_empty());
        assert!(split("").is_empty());
    }
}
