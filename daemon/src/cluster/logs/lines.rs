//! Takes a Pod log with time stamps apart: the program's bytes, and where they stand. No I/O.

use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};

use super::position::LogPosition;

/// Of "2026-01-01T00:00:00", the same for all lines of a second.
const SECOND: usize = 19;
/// The longest time stamp with its space: "2026-01-01T00:00:00.000000000+00:00 ".
const LONGEST_STAMP: usize = 40;

/// The runtime stamps the lines of both streams before it writes them, each stream by itself: a line
/// may stand behind one with a later time stamp. By how much is not bounded, but small.
pub(super) const DISORDER: SignedDuration = SignedDuration::from_secs(1);

/// Two files of a log are begun further apart than this, whatever the kubelet is set to, and so are the
/// lines before and behind a file that was skipped.
pub(super) const MIN_TIMESTAMP_GAP: SignedDuration = SignedDuration::from_secs(3);
/// Bytes that are kept of the kubelet's own error.
const KUBELET_ERROR_LIMIT: usize = 1 << 10;

/// The log went on past the newest line seen, or ended, without showing that line again.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap {
    /// Time stamp of the newest line seen.
    pub after: String,
    /// Time stamp of the first line that came back, if one did.
    pub next: Option<String>,
}

/// Reader of one log stream that was opened at or before a position.
#[derive(Debug)]
pub struct Lines {
    position: LogPosition,
    state: State,
    /// The newest line of the position came by, or none is looked for.
    found: bool,
    /// Lines seen in this read with the position's time stamp, until found.
    count: u64,
    /// Time stamp of the first line later than the position's that came before it was found.
    later: Option<String>,
    timestamp_gap: Option<TimestampGap>,
    kubelet_error: Vec<u8>,
}

/// A line stamped [`MIN_TIMESTAMP_GAP`] or more after the one before it: a file may have been skipped.
#[derive(Debug, PartialEq, Eq)]
pub struct TimestampGap {
    /// The position before the line.
    pub before: LogPosition,
    /// The time between the two.
    pub time: SignedDuration,
    /// What was lost, if a file was skipped.
    pub gap: Gap,
}

#[derive(Debug)]
enum State {
    /// At the start of a line; holds what there is of its time stamp. `first`: of the stream.
    Stamp { held: Vec<u8>, first: bool },
    /// In a line that was seen before.
    Skip,
    /// In the newest line seen; this many of its bytes are still to be dropped.
    Rest(u64),
    /// In a new line.
    Copy,
    /// In what the kubelet says of an error, which it appends to the log.
    KubeletError,
}

/// What a line is to us, by its time stamp.
enum Kind {
    Old,
    Newest,
    New,
}

impl Lines {
    /// A reader that drops what lies before `position`.
    pub fn resume(position: LogPosition) -> Self {
        let found = position.timestamp.is_none();
        Self {
            position,
            state: State::Stamp { held: Vec::new(), first: true },
            found,
            count: 0,
            later: None,
            timestamp_gap: None,
            kubelet_error: Vec::new(),
        }
    }

    /// True if nothing can lie between what was read before and what this stream shows.
    pub fn joins(&self) -> bool {
        self.found
    }

    /// The stream has ended, and there is no more of the log; `whole`: all of the log had been read
    /// before, so that a file which was begun since may well be empty.
    ///
    /// # Errors
    /// See [`Gap`].
    pub fn finish(&self, whole: bool) -> Result<(), Gap> {
        if self.found || (whole && self.later.is_none()) {
            return Ok(());
        }
        let after = self.since().unwrap_or_default().to_owned();
        Err(Gap { after, next: self.later.clone() })
    }

    /// Where all that was returned ends.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// Time stamp to ask the log from; none: from its start.
    pub fn since(&self) -> Option<&str> {
        self.position.timestamp.as_deref()
    }

    /// The longest time that can have passed between the newest line and `end`, which the kubelet gives
    /// in whole seconds.
    pub fn quiet_until(&self, end: Timestamp) -> Option<SignedDuration> {
        let newest: Timestamp = self.since()?.parse().ok()?;
        Some(end.duration_since(newest) + SignedDuration::from_secs(1))
    }

    /// The first such gap in what was fed since this was last asked.
    pub fn take_timestamp_gap(&mut self) -> Option<TimestampGap> {
        self.timestamp_gap.take()
    }

    /// The kubelet's own error, with which it ended the stream.
    pub fn kubelet_error(&self) -> Option<String> {
        let is_set = !self.kubelet_error.is_empty();
        is_set.then(|| String::from_utf8_lossy(&self.kubelet_error).into_owned())
    }

    /// Takes the next bytes of the stream; returns the program's bytes among them that are new.
    ///
    /// # Errors
    /// See [`Gap`].
    pub fn feed(&mut self, mut input: &[u8]) -> Result<Bytes, Gap> {
        let mut output = BytesMut::new();
        while !input.is_empty() {
            input = match self.state {
                State::Stamp { .. } => self.stamp(input, &mut output)?,
                _ => self.content(input, &mut output),
            };
        }
        Ok(output.freeze())
    }

    /// Reads on in a time stamp.
    fn stamp<'a>(&mut self, input: &'a [u8], output: &mut BytesMut) -> Result<&'a [u8], Gap> {
        let State::Stamp { held, first } = &mut self.state else { return Ok(input) };
        let end = input.iter().position(|byte| matches!(byte, b' ' | b'\n'));
        let taken = end.map_or(input.len(), |end| end + 1);
        held.extend_from_slice(&input[..taken]);
        if end.is_none() && held.len() < LONGEST_STAMP {
            return Ok(&[]);
        }
        let (held, first) = (std::mem::take(held), *first);
        if let Some(stamp) = parse_stamp(&held) {
            self.begin_line(stamp)?;
        } else {
            // At the start of a stream a long line goes on that began before the time asked for, and
            // was seen. Elsewhere the kubelet stamps whatever stands behind the end of a line.
            self.state = if first && !self.found { State::Skip } else { State::KubeletError };
            self.content(&held, output);
        }
        Ok(&input[taken..])
    }

    fn begin_line(&mut self, stamp: &str) -> Result<(), Gap> {
        self.state = match self.kind(stamp)? {
            Kind::Old => State::Skip,
            Kind::Newest => {
                self.found = true;
                State::Rest(self.position.bytes)
            }
            Kind::New => {
                self.mark_timestamp_gap(stamp);
                let same = self.position.timestamp.as_deref() == Some(stamp);
                self.position.nth = if same { self.position.nth + 1 } else { 1 };
                if !same {
                    self.position.timestamp = Some(stamp.to_owned());
                }
                self.position.bytes = 0;
                self.position.line_ended = false;
                State::Copy
            }
        };
        Ok(())
    }

    fn mark_timestamp_gap(&mut self, stamp: &str) {
        let Some(newest) = self.position.timestamp.as_deref() else { return };
        // Most lines were written in the same second: no time to lose.
        if self.timestamp_gap.is_some() || newest.get(..SECOND) == stamp.get(..SECOND) {
            return;
        }
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let Some((newest_at, at)) = time(newest).zip(time(stamp)) else { return };
        let apart = at.duration_since(newest_at);
        if apart >= MIN_TIMESTAMP_GAP {
            let gap = Gap { after: newest.to_owned(), next: Some(stamp.to_owned()) };
            self.timestamp_gap =
                Some(TimestampGap { before: self.position.clone(), time: apart, gap });
        }
    }

    fn kind(&mut self, stamp: &str) -> Result<Kind, Gap> {
        if self.found {
            return Ok(Kind::New);
        }
        let Some(newest) = self.position.timestamp.as_deref() else { return Ok(Kind::New) };
        if stamp == newest {
            self.count += 1;
            return Ok(if self.count < self.position.nth { Kind::Old } else { Kind::Newest });
        }
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let (at, limit) = (time(stamp), time(newest).and_then(|at| at.checked_add(DISORDER).ok()));
        if at > limit {
            return Err(Gap { after: newest.to_owned(), next: Some(stamp.to_owned()) });
        }
        if at > time(newest) {
            self.later.get_or_insert_with(|| stamp.to_owned());
        }
        Ok(Kind::Old)
    }

    /// Reads on in a line, up to its end at most.
    fn content<'a>(&mut self, input: &'a [u8], output: &mut BytesMut) -> &'a [u8] {
        if matches!(self.state, State::KubeletError) {
            let room = KUBELET_ERROR_LIMIT.saturating_sub(self.kubelet_error.len());
            self.kubelet_error.extend_from_slice(&input[..input.len().min(room)]);
            return &[];
        }
        let end = input.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let (line, rest) = input.split_at(end.unwrap_or(input.len()));
        let new = match &mut self.state {
            State::Skip | State::Stamp { .. } | State::KubeletError => &[],
            State::Copy => line,
            State::Rest(left) => {
                let dropped = usize::try_from(*left).unwrap_or(usize::MAX).min(line.len());
                *left -= dropped as u64;
                &line[dropped..]
            }
        };
        output.extend_from_slice(new);
        self.position.bytes += new.len() as u64;
        if end.is_some() {
            self.position.line_ended |= !new.is_empty();
            self.state = State::Stamp { held: Vec::new(), first: false };
        }
        rest
    }
}

/// "2026-01-01T00:00:00.123456789Z " as the kubelet writes it before each line.
fn parse_stamp(held: &[u8]) -> Option<&str> {
    let stamp = held.strip_suffix(b" ").filter(|_| held.len() <= LONGEST_STAMP)?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let marked = |(at, mark): (usize, u8)| stamp.get(at) == Some(&mark);
    let plausible = stamp.len() >= 20 && stamp[..4].iter().all(u8::is_ascii_digit);
    if plausible && marks.into_iter().all(marked) { std::str::from_utf8(stamp).ok() } else { None }
}

#[cfg(test)]
mod tests;
