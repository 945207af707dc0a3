//! Where a step's output stands: what was written here, and so where hookd must go on.

use hookd_api::v1::{Output as OutputEvent, Resume, Stream};

use crate::output::StdStream;

/// Bytes written of each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    /// Of standard output.
    pub(super) stdout: u64,
    /// Of standard error.
    pub(super) stderr: u64,
}

/// The last event acted on, and the bytes written by then.
#[derive(Debug, Default)]
pub(super) struct Position {
    cursor: Vec<u8>,
    offsets: Offsets,
}

/// Output that cannot be put where it belongs.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum OutOfPlace {
    /// Bytes are missing.
    #[error("hookd left out output: {channel:?} goes on at byte {offset}, {written} are written")]
    Gap {
        /// The stream.
        channel: StdStream,
        /// Where hookd's bytes begin.
        offset: u64,
        /// Where they had to begin.
        written: u64,
    },
    /// The stream is none that this version knows.
    #[error("hookd sent output of stream {0}, which is neither standard output nor error")]
    Stream(i32),
}

// === impl Offsets ===

impl Offsets {
    /// Bytes of both streams.
    pub(super) fn total(self) -> u64 {
        self.stdout + self.stderr
    }

    /// The offset of one stream.
    fn of(&mut self, channel: StdStream) -> &mut u64 {
        match channel {
            StdStream::Stdout => &mut self.stdout,
            StdStream::Stderr => &mut self.stderr,
        }
    }
}

// === impl Position ===

impl Position {
    /// Bytes written of each stream.
    pub(super) fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Bytes written of both streams.
    pub(super) fn bytes(&self) -> u64 {
        self.offsets.total()
    }

    /// Where hookd must go on; `None`: at the beginning.
    pub(super) fn resume(&self) -> Option<Resume> {
        let Offsets { stdout: stdout_offset, stderr: stderr_offset } = self.offsets;
        let fresh = self.cursor.is_empty() && self.bytes() == 0;
        (!fresh).then(|| Resume { cursor: self.cursor.clone(), stdout_offset, stderr_offset })
    }

    /// The bytes of `output` that were not written yet; after a break hookd may repeat some.
    pub(super) fn new_bytes(
        &mut self,
        output: OutputEvent,
    ) -> Result<(StdStream, Vec<u8>), OutOfPlace> {
        let channel = match output.stream() {
            Stream::Stdout => StdStream::Stdout,
            Stream::Stderr => StdStream::Stderr,
            Stream::Unspecified => return Err(OutOfPlace::Stream(output.stream)),
        };
        let written = *self.offsets.of(channel);
        let Some(repeated) = written.checked_sub(output.offset) else {
            return Err(OutOfPlace::Gap { channel, offset: output.offset, written });
        };
        let mut bytes = output.data;
        let repeated = usize::try_from(repeated).unwrap_or(usize::MAX).min(bytes.len());
        bytes.drain(..repeated);
        Ok((channel, bytes))
    }

    /// `length` bytes more were written to `channel`.
    pub(super) fn wrote(&mut self, channel: StdStream, length: usize) {
        *self.offsets.of(channel) += length as u64;
    }

    /// The event at `cursor` was acted on.
    pub(super) fn reached(&mut self, cursor: Vec<u8>) {
        if !cursor.is_empty() {
            self.cursor = cursor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(offset: u64, data: &[u8]) -> OutputEvent {
        OutputEvent { stream: Stream::Stdout.into(), offset, data: data.to_vec() }
    }

    fn at(stdout: usize) -> Position {
        let mut position = Position::default();
        position.wrote(StdStream::Stdout, stdout);
        position
    }

    #[test]
    fn bytes_that_were_written_before_are_dropped() {
        for (offset, data, new) in
            [(5, "abc", "abc"), (3, "abcd", "cd"), (2, "abc", ""), (0, "abc", "")]
        {
            let bytes = at(5).new_bytes(output(offset, data.as_bytes())).unwrap();
            assert_eq!(bytes, (StdStream::Stdout, new.as_bytes().to_vec()), "at {offset}");
        }
    }

    #[test]
    fn a_gap_is_an_error() {
        let gap = OutOfPlace::Gap { channel: StdStream::Stdout, offset: 6, written: 5 };
        assert_eq!(at(5).new_bytes(output(6, b"x")), Err(gap));
    }

    #[test]
    fn a_stream_that_is_not_known_is_an_error() {
        let event = OutputEvent { stream: 7, offset: 0, data: b"x".to_vec() };
        assert_eq!(at(0).new_bytes(event), Err(OutOfPlace::Stream(7)));
    }

    #[test]
    fn each_stream_has_its_own_offset() {
        let mut position = at(5);
        position.wrote(StdStream::Stderr, 2);
        position.reached(b"c1".to_vec());
        position.reached(Vec::new());
        let resume = position.resume().unwrap();
        assert_eq!((resume.stdout_offset, resume.stderr_offset), (5, 2));
        assert_eq!(resume.cursor, b"c1");
    }

    #[test]
    fn a_step_that_received_nothing_has_nothing_to_resume() {
        assert_eq!(Position::default().resume(), None);
    }
}
