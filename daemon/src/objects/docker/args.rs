//! The arguments of a process: from the runner's pieces, and to the kubelet.
//!
//! The runner quotes an action's args for .NET, cuts the line at its spaces and sends the pieces.
//! In docker mode .NET itself would take such a line apart, by the rules of its Unix
//! `Process.Start`; [`split`] follows them, so that a container gets the arguments that docker
//! would have given it. There is no shell: single quotes, `$` and globs are plain characters.

use std::iter::Peekable;
use std::str::Chars;

const SEPARATORS: [char; 2] = [' ', '\t'];

/// The arguments that the runner's `pieces` stand for.
///
/// Spaces and tabs separate. `"` quotes; `""` within quotes is one `"`, and a quote that is never
/// closed lasts to the end. Of backslashes before a `"` every two are one, and an odd one makes
/// the `"` a plain character; all others are plain. An argument that is quoted may be empty.
///
/// # Caveats
/// The runner has lost runs of spaces, and tabs and newlines beside a space, before; [`of_line`]
/// makes that good where the line itself is known.
pub fn split(pieces: &[String]) -> Vec<String> {
    tokens(&pieces.join(" "))
}

/// The arguments of `line`, if it is the one that the runner has cut into `pieces`.
pub fn of_line(line: &str, pieces: &[String]) -> Option<Vec<String>> {
    let cut = line.split(' ').map(str::trim).filter(|piece| !piece.is_empty());
    cut.eq(pieces).then(|| tokens(line))
}

/// The line that the runner makes of an action's `args` before it cuts it.
pub fn line_of(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|text| format!("\"{}\"", text.replace('"', "\\\"")));
    quoted.collect::<Vec<_>>().join(" ")
}

fn tokens(line: &str) -> Vec<String> {
    let mut characters = line.chars().peekable();
    let mut arguments = Vec::new();
    loop {
        while characters.next_if(|character| SEPARATORS.contains(character)).is_some() {}
        if characters.peek().is_none() {
            return arguments;
        }
        arguments.push(next_argument(&mut characters));
    }
}

/// The text as the kubelet must get it: it takes `$(NAME)` for a variable and `$$` for `$` in the
/// command and args of a container, which docker does not.
///
/// A doubled `$` comes back as one whatever follows it, so doubling each is always right.
pub fn quote_dollars(text: &str) -> String {
    text.replace('$', "$$")
}

/// What [`quote_dollars`] has quoted.
pub fn unquote_dollars(text: &str) -> String {
    text.replace("$$", "$")
}

/// Takes one argument; the input starts at it.
fn next_argument(characters: &mut Peekable<Chars<'_>>) -> String {
    let mut argument = String::new();
    let mut quoted = false;
    loop {
        let mut backslashes = 0;
        while characters.next_if_eq(&'\\').is_some() {
            backslashes += 1;
        }
        if characters.peek() == Some(&'"') {
            argument.extend(std::iter::repeat_n('\\', backslashes / 2));
            if backslashes % 2 == 1 {
                argument.extend(characters.next());
                continue;
            }
        } else {
            argument.extend(std::iter::repeat_n('\\', backslashes));
        }
        match characters.next() {
            Some('"') if quoted => match characters.next_if_eq(&'"') {
                Some(quote) => argument.push(quote),
                None => quoted = false,
            },
            Some('"') => quoted = true,
            Some(character) if quoted || !SEPARATORS.contains(&character) => {
                argument.push(character);
            }
            Some(_) | None => return argument,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_was_quoted_for_the_kubelet_comes_back_as_it_was() {
        for text in ["", "a", "$", "$$", "$(X)", "$$(X)$", "a$b$$c"] {
            assert_eq!(unquote_dollars(&quote_dollars(text)), text);
        }
    }

    #[test]
    fn pieces_of_an_actions_args_become_the_actions_args() {
        // run_container_step_dockerfile_entrypoint_args.json
        let pieces = [
            "\"--title\"",
            "\"hello",
            "world\"",
            "\"say",
            "\\\"hi\\\"\"",
            "\"\"",
            "\"src/**/*.ts\"",
        ];
        let arguments = ["--title", "hello world", "say \"hi\"", "", "src/**/*.ts"];
        assert_eq!(split(&owned(&pieces)), arguments);
    }

    #[test]
    fn pieces_of_a_steps_args_become_what_docker_makes_of_them() {
        // run_container_step_image_args.json
        let pieces =
            ["-c", "\"echo", "'hello", "world'", "&&", "printf", "'%s\\n'", "\\\"$GREETING\\\"\""];
        let arguments = ["-c", "echo 'hello world' && printf '%s\\n' \"$GREETING\""];
        assert_eq!(split(&owned(&pieces)), arguments);
    }

    #[test]
    fn a_line_is_taken_apart_as_by_dotnet() {
        let table: [(&str, &[&str]); 28] = [
            ("", &[]),
            (" \t ", &[]),
            ("a", &["a"]),
            ("  a \t b  ", &["a", "b"]),
            ("a\nb", &["a\nb"]),
            ("\"a b\"", &["a b"]),
            ("\"a\tb\"", &["a\tb"]),
            ("a\"b c\"d", &["ab cd"]),
            ("\"\"", &[""]),
            ("\"\" \"\"", &["", ""]),
            ("a \"\"", &["a", ""]),
            ("a\"\"", &["a"]),
            ("'a b'", &["'a", "b'"]),
            ("it's", &["it's"]),
            ("$HOME *", &["$HOME", "*"]),
            // Backslashes.
            (r"a\b \ \\ c\", &[r"a\b", r"\", r"\\", r"c\"]),
            (r"a\ b", &[r"a\", "b"]),
            (r#"\""#, &["\""]),
            (r#"\\" a""#, &[r"\ a"]),
            (r#"\\\"a b"#, &[r#"\"a"#, "b"]),
            (r#"\\\\"a b""#, &[r"\\a b"]),
            (r#""a\\" b"#, &[r"a\", "b"]),
            (r#""C:\x\y""#, &[r"C:\x\y"]),
            // Two quotes in quotes; a quote that is never closed.
            (r#""a""b""#, &[r#"a"b"#]),
            (r#""a"" b""#, &[r#"a" b"#]),
            (r#"""""#, &["\""]),
            (r#""a b"#, &["a b"]),
            (r#"a ""#, &["a", ""]),
        ];
        for (line, arguments) in table {
            assert_eq!(split(&owned(&[line])), arguments, "{line:?}");
        }
    }

    #[test]
    fn a_line_that_is_known_loses_no_white_space() {
        let line = line_of(&owned(&["a  b", "\tc \n", "", "say \"hi\""]));
        let pieces = as_the_runner_cuts(&line);
        assert_eq!(split(&pieces)[0], "a b", "nothing was lost");
        let expected = owned(&["a  b", "\tc \n", "", "say \"hi\""]);
        assert_eq!(of_line(&line, &pieces), Some(expected));
        assert_eq!(of_line("another line", &pieces), None);
    }

    fn as_the_runner_cuts(line: &str) -> Vec<String> {
        let pieces = line.split(' ').map(str::trim).filter(|piece| !piece.is_empty());
        pieces.map(str::to_owned).collect()
    }

    /// The arguments as the runner sends them.
    fn as_the_runner_sends(arguments: &[String]) -> Vec<String> {
        as_the_runner_cuts(&line_of(arguments))
    }

    /// Numbers that look random and are the same on every run.
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        }
    }

    /// True where the runner loses nothing.
    fn survives(argument: &str) -> bool {
        let next = argument.chars().skip(1).chain(['"']);
        let lost = |(this, next): (char, char)| {
            this.is_whitespace() && next.is_whitespace() || (this, next) == ('\\', '"')
        };
        !argument.chars().zip(next).any(lost)
    }

    #[test]
    fn arguments_come_back_from_the_runner_unchanged() {
        const ALPHABET: [char; 14] =
            ['a', '"', '\\', ' ', '\t', '\n', '\'', '$', '(', ')', '*', 'é', '-', '='];
        let mut number = numbers();
        let mut tried = 0;
        while tried < 20_000 {
            let count = number(5);
            let mut word = || (0..number(9)).map(|_| ALPHABET[number(14)]).collect::<String>();
            let arguments: Vec<String> = (0..count).map(|_| word()).collect();
            if arguments.iter().all(|argument| survives(argument)) {
                assert_eq!(split(&as_the_runner_sends(&arguments)), arguments);
                tried += 1;
            }
        }
    }

    /// What the kubelet makes of a container's args, `NAME` being the one variable.
    fn expanded_by_the_kubelet(text: &str) -> String {
        let (mut result, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            result.push_str(before);
            let reference = after.strip_prefix('(').and_then(|after| after.split_once(')'));
            let (tail, piece) = match (after.strip_prefix('$'), reference) {
                (Some(tail), _) => (tail, "$".to_owned()),
                (None, Some(("NAME", tail))) => (tail, "value".to_owned()),
                (None, Some((name, tail))) => (tail, format!("$({name})")),
                (None, None) => (after, "$".to_owned()),
            };
            result.push_str(&piece);
            rest = tail;
        }
        result + rest
    }

    #[test]
    fn doubled_dollars_come_back_from_the_kubelet_as_they_were() {
        assert_eq!(expanded_by_the_kubelet("a$(NAME) $$(NAME) $(x"), "avalue $(NAME) $(x");
        const ALPHABET: [&str; 6] = ["$", "(", ")", "NAME", "$(NAME)", "x"];
        let mut number = numbers();
        for _ in 0..20_000 {
            let text: String = (0..number(9)).map(|_| ALPHABET[number(6)]).collect();
            let quoted = quote_dollars(&text);
            assert_eq!(expanded_by_the_kubelet(&quoted), text, "{quoted}");
        }
    }
}
