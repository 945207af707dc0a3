//! One stream of a step's output, from its first byte that was not acknowledged to its newest.
//!
//! It lies in files, so that memory stays small, in segments, so that what is acknowledged can go.
//! The files have no name: no other process finds them, and nothing stays if this process ends.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// A segment is closed when it has this many bytes.
const SEGMENT: u64 = 4 << 20;
/// Name of a segment for a moment, where it cannot be made without one.
const SEGMENT_NAME: &str = "segment";

/// See the module.
#[derive(Debug)]
pub(crate) struct Spool {
    /// By descriptor: another user may be able to rename it.
    dir: Arc<OwnedFd>,
    /// In order, without gaps; the last one is written to.
    segments: VecDeque<Segment>,
    /// All bytes before this are released.
    released: u64,
    /// Number of bytes that were ever written.
    end: u64,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    file: File,
}

/// Bytes that were asked for and are gone, or that were never written.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("byte {offset} is not kept: {released} are released, {end} were written")]
pub(crate) struct OutOfRange {
    offset: u64,
    released: u64,
    end: u64,
}

impl Spool {
    /// An empty one, with its files in `dir`.
    pub(crate) fn new(dir: Arc<OwnedFd>) -> Self {
        Self { dir, segments: VecDeque::new(), released: 0, end: 0 }
    }

    /// Number of bytes that were ever written.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Number of bytes that are released.
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let full = self.segments.back().is_none_or(|last| self.end - last.start >= SEGMENT);
        if full {
            self.segments.push_back(Segment { start: self.end, file: nameless(&self.dir)? });
        }
        if let Some(last) = self.segments.back() {
            last.file.write_all_at(data, self.end - last.start)?;
        }
        self.end += data.len() as u64;
        Ok(())
    }

    /// At most `most` bytes from `offset` on; nothing at the end, and only there.
    ///
    /// # Errors
    /// When `offset` was released, or never written, or the file cannot be read.
    pub(crate) fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        self.check(offset).map_err(io::Error::other)?;
        if offset == self.end {
            return Ok(Vec::new());
        }
        let at = self.segments.partition_point(|segment| segment.start <= offset);
        let segment = at.checked_sub(1).and_then(|at| self.segments.get(at));
        let segment = segment.ok_or_else(|| io::Error::other(self.out_of_range(offset)))?;
        let end = self.segments.get(at).map_or(self.end, |next| next.start);
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(most);
        let mut data = vec![0; left.min(most)];
        segment.file.read_exact_at(&mut data, offset - segment.start)?;
        Ok(data)
    }

    /// Lets go of all bytes before `offset`.
    ///
    /// # Errors
    /// Bytes that were never written cannot be released.
    pub(crate) fn release(&mut self, offset: u64) -> Result<(), OutOfRange> {
        if offset > self.end {
            return Err(self.out_of_range(offset));
        }
        self.released = self.released.max(offset);
        // A segment goes when the next one begins at or before what is still wanted.
        while self.segments.get(1).is_some_and(|next| next.start <= self.released) {
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Lets go of all that was written.
    pub(crate) fn clear(&mut self) {
        self.released = self.end;
        self.segments.clear();
    }

    /// # Errors
    /// When `offset` was released, or never written.
    pub(crate) fn check(&self, offset: u64) -> Result<(), OutOfRange> {
        if (self.released..=self.end).contains(&offset) {
            Ok(())
        } else {
            Err(self.out_of_range(offset))
        }
    }

    fn out_of_range(&self, offset: u64) -> OutOfRange {
        OutOfRange { offset, released: self.released, end: self.end }
    }
}

/// A file that never had a name, or, on a file system without such files, has lost it.
fn nameless(dir: &OwnedFd) -> io::Result<File> {
    let (flags, mode) = (OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match rustix::fs::openat(dir, ".", flags | OFlags::TMPFILE, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        opened => return Ok(File::from(opened?)),
    }
    match rustix::fs::unlinkat(dir, SEGMENT_NAME, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir, SEGMENT_NAME, flags, mode)?;
    rustix::fs::unlinkat(dir, SEGMENT_NAME, AtFlags::empty())?;
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(dir: &std::path::Path) -> Arc<OwnedFd> {
        Arc::new(File::open(dir).unwrap().into())
    }

    fn filled(bytes: usize) -> (tempfile::TempDir, Spool, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(opened(dir.path()));
        let data: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
        data.chunks(100_000).for_each(|piece| spool.append(piece).unwrap());
        (dir, spool, data)
    }

    fn all_from(spool: &Spool, mut offset: u64) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = spool.read(offset, 65_536).unwrap();
            if piece.is_empty() {
                return all;
            }
            offset += piece.len() as u64;
            all.extend(piece);
        }
    }

    #[test]
    fn what_was_written_is_read_from_any_offset() {
        let (_dir, spool, data) = filled(9_500_000);
        for offset in [0, 1, 4_194_303, 4_194_304, 4_300_000, 9_499_999, 9_500_000] {
            assert!(all_from(&spool, offset as u64) == data[offset..], "from {offset}");
        }
    }

    #[test]
    fn what_is_released_goes_and_the_rest_stays() {
        let (dir, mut spool, data) = filled(9_500_000);
        assert_eq!(spool.segments.len(), 3);
        spool.release(4_300_000).unwrap();
        assert_eq!(spool.segments.len(), 2);
        assert!(all_from(&spool, 4_300_000) == data[4_300_000..]);
        assert!(spool.check(4_299_999).is_err() && spool.check(9_500_001).is_err());
        assert!(spool.release(9_500_001).is_err());
        spool.release(9_500_000).unwrap();
        assert_eq!(spool.segments.len(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a file has a name");
    }

    #[test]
    fn one_that_is_cleared_keeps_no_file_and_counts_on() {
        let (_dir, mut spool, _) = filled(9_500_000);
        spool.clear();
        assert!(spool.segments.is_empty() && spool.check(9_499_999).is_err());
        assert!(spool.read(9_500_000, 10).unwrap().is_empty());
        spool.append(b"more").unwrap();
        assert_eq!(
            (spool.read(9_500_000, 10).unwrap(), spool.end()),
            (b"more".to_vec(), 9_500_004)
        );
    }

    #[test]
    fn bytes_that_are_not_kept_are_an_error_and_not_nothing() {
        let (_dir, mut spool, data) = filled(9_500_000);
        spool.release(4_300_000).unwrap();
        for offset in [0, 4_194_303, 4_194_304, 4_299_999, 9_500_001] {
            assert!(spool.read(offset, 10).is_err(), "from {offset}");
        }
        assert_eq!(spool.read(4_300_000, 10).unwrap(), data[4_300_000..4_300_010]);
        spool.release(9_500_000).unwrap();
        assert!(spool.read(9_499_999, 10).is_err());
        assert!(spool.read(9_500_000, 10).unwrap().is_empty());
    }

    #[test]
    fn an_earlier_acknowledgement_takes_nothing_back() {
        let (_dir, mut spool, _) = filled(10);
        spool.release(7).unwrap();
        spool.release(3).unwrap();
        assert_eq!((spool.released(), spool.end()), (7, 10));
    }
}
