//! The end of a program's output, and whether it says that the program must be PID 1.

/// Bytes of each stream that are kept; the message stands in the last lines.
const KEPT: usize = 4096;
/// Messages of programs that do not name the process by its number.
const PHRASES: [&str; 4] = [
    // systemd, as another process than PID 1.
    "required to run as user manager",
    "has not been booted with systemd as init",
    // init of systemd or of sysvinit, which then is telinit.
    "couldn't find an alternative telinit implementation",
    "init: must be superuser",
];
/// What stands before the number.
const NAMES: [&str; 2] = ["pid", "process"];
/// Words that may stand between them.
const BETWEEN: [&str; 6] = ["no", "nr", "id", "number", "is", "be"];

/// The note for a step with such a program.
pub const NOTE: &str = "The program says that it must be PID 1 of its container; hookd's agent is. Set \
                        HOOKD_CONTAINER_STEP_LAUNCHER=kubelet for hookd to have the kubelet start the programs of \
                        container steps, in pods of their own (HOOKD_JOB_PLACEMENT=own-pod)";

/// The newest bytes of a program's two streams.
#[derive(Debug, Default)]
pub struct Tail {
    streams: [Vec<u8>; 2],
}

impl Tail {
    /// Takes in what the program wrote.
    pub fn push(&mut self, stderr: bool, data: &[u8]) {
        let stream = &mut self.streams[usize::from(stderr)];
        stream.extend_from_slice(&data[data.len().saturating_sub(KEPT)..]);
        let excess = stream.len().saturating_sub(KEPT);
        stream.drain(..excess);
    }

    /// True if the program said that it must be PID 1.
    pub fn wants_pid_1(&self) -> bool {
        self.streams.iter().any(|stream| says_pid_1(&String::from_utf8_lossy(stream)))
    }
}

fn says_pid_1(text: &str) -> bool {
    let text = text.to_lowercase();
    if PHRASES.iter().any(|phrase| text.contains(phrase)) {
        return true;
    }
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let words: Vec<&str> =
        text.split(|letter: char| !is_word(letter)).filter(|word| !word.is_empty()).collect();
    words.iter().enumerate().any(|(at, word)| {
        let next = words[at + 1..].iter().find(|next| !BETWEEN.contains(next));
        *word == "pid1" || (NAMES.contains(word) && next == Some(&"1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_must_be_pid_1_is_known_by_its_message() {
        for line in [
            "init: fatal: can only run as pid 1 (this is 16)",
            "s6-overlay-suexec: fatal: can only run as pid 1",
            "runit must be run as process no 1.",
            "init: must be run as PID 1",
            "Error: not running as PID1",
            "supervisor has to be pid=1",
            "I am not process #1!",
            "must be started with process id 1",
            "Explicit --user argument required to run as user manager.",
            "System has not been booted with systemd as init system (PID 1). Can't operate.",
            "Couldn't find an alternative telinit implementation to spawn.",
        ] {
            assert!(says_pid_1(line), "{line}");
        }
        for line in [
            "",
            "pid 12",
            "pid 10 ended with 1",
            "rapid 1",
            "1 process",
            "started pid 71",
            "process 100 of 1",
        ] {
            assert!(!says_pid_1(line), "{line}");
        }
    }

    #[test]
    fn only_the_end_of_the_output_counts_and_is_kept() {
        let mut tail = Tail::default();
        tail.push(true, b"can only run as p");
        tail.push(false, b"id 1");
        assert!(!tail.wants_pid_1());
        tail.push(true, b"id 1\n");
        assert!(tail.wants_pid_1());
        tail.push(true, &[b'x'; 2 * KEPT]);
        assert!(!tail.wants_pid_1());
        assert_eq!(tail.streams[1].len(), KEPT);
    }
}
