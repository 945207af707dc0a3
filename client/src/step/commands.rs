//! Workflow commands that a build's log has stopped (`::stop-commands::TOKEN`): hookd starts them
//! again at the group's end. A step that fails without hookd leaves that to us, or the runner would
//! take the error's own line for output.

const STOP: &str = "::stop-commands::";
/// Digits of hookd's tokens.
const TOKEN: usize = 32;

/// The token with which commands are stopped, as far as the output shows it.
#[derive(Debug, Default)]
pub(super) struct Commands {
    stopped: Option<String>,
}

impl Commands {
    /// Takes in output. hookd sends each of these lines in one piece.
    pub(super) fn seen(&mut self, bytes: &[u8]) {
        if !bytes.windows(2).any(|pair| pair == b"::") {
            return;
        }
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            match (line.strip_prefix(STOP), &self.stopped) {
                (Some(token), None) if is_token(token) => self.stopped = Some(token.to_owned()),
                (None, Some(token)) if is_resumed(line, token) => self.stopped = None,
                _ => {}
            }
        }
    }

    /// The line that starts commands again, if they are stopped.
    pub(super) fn resume(&mut self) -> Option<String> {
        self.stopped.take().map(|token| format!("::{token}::"))
    }
}

fn is_token(text: &str) -> bool {
    text.len() == TOKEN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_resumed(line: &str, token: &str) -> bool {
    let inner = line.strip_prefix("::").and_then(|line| line.strip_suffix("::"));
    inner == Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_started_again_if_the_group_is_open() {
        let token = "0123456789abcdef".repeat(2);
        let open = format!("##[group]Build x\n::stop-commands::{token}\nBuilder\n");
        let mut commands = Commands::default();
        commands.seen(open.as_bytes());
        commands.seen(b"::error::not a command\n::stop-commands::x\n");
        assert_eq!(commands.resume(), Some(format!("::{token}::")));
        assert_eq!(commands.resume(), None);
        commands.seen(format!("{open}x\n::{token}::\n##[endgroup]\n").as_bytes());
        assert_eq!(commands.resume(), None);
        commands.seen(b"plain \xff\n");
        assert_eq!(commands.resume(), None);
    }
}
