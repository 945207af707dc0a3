//! Writes the bytes of a step unchanged and fits hook's own lines between them.
//!
//! Own lines go to standard error: standard output is the program's alone. An own line within a
//! line of the step would corrupt both, and any workflow command in them, so own lines wait until
//! the step's standard error is at the start of a line.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::StdStream;

/// Own lines that are held back at most; older ones are dropped then, and counted.
const HELD: usize = 100;

/// The two output streams of hook.
pub(super) struct Printer<O, E> {
    stdout: O,
    stderr: E,
    /// True if the last byte on standard error was not a line feed.
    mid_line: bool,
    /// Own lines that wait for a line boundary.
    held: VecDeque<String>,
    /// Number of lines dropped from `held`.
    dropped: usize,
}

impl<O: Write, E: Write> Printer<O, E> {
    /// A printer at the start of a line of both streams.
    pub(super) fn new(stdout: O, stderr: E) -> Self {
        Self { stdout, stderr, mid_line: false, held: VecDeque::new(), dropped: 0 }
    }

    /// Writes `bytes`, whole or not at all to the caller's knowledge: after an error nothing is
    /// known of how much arrived.
    pub(super) fn data(&mut self, channel: StdStream, bytes: &[u8]) -> io::Result<()> {
        match channel {
            StdStream::Stdout => {
                self.stdout.write_all(bytes)?;
                self.stdout.flush()
            }
            StdStream::Stderr => self.stderr_data(bytes),
        }
    }

    /// Prints `text` as a line, now or at the next line boundary.
    pub(super) fn line(&mut self, text: String) {
        if self.held.len() == HELD {
            self.held.pop_front();
            self.dropped += 1;
        }
        self.held.push_back(text);
        if !self.mid_line {
            self.release();
        }
    }

    /// Prints what is held back and then `last`, on lines of their own in any case: nothing of the
    /// step follows.
    pub(super) fn finish(&mut self, last: Option<String>) {
        self.held.extend(last);
        if self.mid_line && !self.held.is_empty() {
            self.own(b"\n");
            self.mid_line = false;
        }
        self.release();
    }

    /// Writes to standard error, with what is held back at the first line boundary.
    fn stderr_data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else { return Ok(()) };
        let boundary = if self.held.is_empty() {
            None
        } else {
            bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
        };
        let (head, tail) = bytes.split_at(boundary.unwrap_or(0));
        if !head.is_empty() {
            self.stderr.write_all(head)?;
            self.release();
        }
        self.stderr.write_all(tail)?;
        self.mid_line = *last != b'\n';
        self.stderr.flush()
    }

    /// Prints all that is held back; standard error is at the start of a line.
    fn release(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.own(format!("({dropped} earlier messages of hook were left out)\n").as_bytes());
        }
        while let Some(mut text) = self.held.pop_front() {
            text.push('\n');
            self.own(text.as_bytes());
        }
    }

    /// Writes bytes of hook's own.
    fn own(&mut self, bytes: &[u8]) {
        // If no process reads them, the step's own bytes fail the same way, and that is reported.
        let _ = self.stderr.write_all(bytes).and_then(|()| self.stderr.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Buffers = Printer<Vec<u8>, Vec<u8>>;

    fn printer() -> Buffers {
        Printer::new(Vec::new(), Vec::new())
    }

    fn stderr(printer: &Buffers) -> String {
        String::from_utf8_lossy(&printer.stderr).into_owned()
    }

    #[test]
    fn a_line_waits_for_the_end_of_the_step_s_line() {
        let mut printer = printer();
        printer.line("first".to_owned());
        printer.data(StdStream::Stderr, b"half").unwrap();
        printer.line("held".to_owned());
        printer.data(StdStream::Stderr, b" a line").unwrap();
        assert_eq!(stderr(&printer), "first\nhalf a line");
        printer.data(StdStream::Stderr, b".\nnext").unwrap();
        assert_eq!(stderr(&printer), "first\nhalf a line.\nheld\nnext");
    }

    #[test]
    fn standard_output_is_the_programs_alone() {
        let mut printer = printer();
        printer.data(StdStream::Stdout, b"half").unwrap();
        printer.line("own".to_owned());
        printer.finish(Some("last".to_owned()));
        assert_eq!(printer.stdout, b"half");
        assert_eq!(stderr(&printer), "own\nlast\n");
    }

    #[test]
    fn the_last_line_starts_on_a_line_of_its_own() {
        let mut printer = printer();
        printer.data(StdStream::Stderr, b"half").unwrap();
        printer.line("held".to_owned());
        printer.finish(Some("last".to_owned()));
        assert_eq!(stderr(&printer), "half\nheld\nlast\n");
    }

    #[test]
    fn without_lines_of_hook_nothing_is_added() {
        let mut printer = printer();
        printer.data(StdStream::Stderr, b"half").unwrap();
        printer.data(StdStream::Stderr, b"").unwrap();
        printer.finish(None);
        assert_eq!(stderr(&printer), "half");
    }

    #[test]
    fn too_many_held_lines_drop_the_oldest_and_say_so() {
        let mut printer = printer();
        printer.data(StdStream::Stderr, b"x").unwrap();
        for number in 0..HELD + 2 {
            printer.line(format!("line {number}"));
        }
        printer.data(StdStream::Stderr, b"\n").unwrap();
        let lines: Vec<String> = stderr(&printer).lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "(2 earlier messages of hook were left out)");
        assert_eq!(lines[2], "line 2");
        assert_eq!(lines.len(), 2 + HELD);
    }

    #[test]
    fn bytes_pass_unchanged() {
        let mut printer = printer();
        let bytes: Vec<u8> = (0..=255).collect();
        printer.data(StdStream::Stdout, &bytes).unwrap();
        printer.data(StdStream::Stderr, &bytes).unwrap();
        assert_eq!((&printer.stdout, &printer.stderr), (&bytes, &bytes));
    }
}
