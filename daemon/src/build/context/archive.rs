//! A tar.gz stream of the same bytes for the same entries.
//!
//! Everything about an entry that differs between runners without meaning anything for the image
//! is fixed: owner, group, time. The `tar` crate's own builder is not used since it rewrites the
//! targets of symlinks and since it completes the archive when it is dropped: a stream that was
//! broken off must not look like a whole one.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::ContextDigest;
use super::entries::{ContextEntry, Entries};

/// 1980-02-01: zip files, and so Python wheels and jars, know no time before 1980. Equal for all,
/// as in the archives that GitHub serves, so that make sees no file as older than another.
const MTIME: u64 = 318_211_200;
const BLOCK: u64 = 512;

/// Why an entry was not written.
pub(super) enum Fault {
    /// The limit is reached.
    Full,
    /// The output failed.
    Output(io::Error),
}

/// What an entry is.
pub(super) enum Content<'a> {
    Directory,
    Symlink(&'a CStr),
    /// Another name of an earlier file.
    Link(&'a CStr),
    /// A file of so many bytes, which must follow.
    File(u64),
}

/// Writes the archive; dropped before [`Archive::finish`], it leaves a stream that is cut off.
pub(super) struct Archive<W: Write> {
    gzip: GzEncoder<Valve<W>>,
    entries: Entries,
    /// Of the entries without their contents.
    names: Sha256,
    /// Bytes before compression.
    written: u64,
    limit: u64,
}

/// A whole archive.
pub(super) struct Finished {
    /// Its length before compression.
    pub(super) bytes: u64,
    /// Of its entries.
    pub(super) digest: ContextDigest,
    /// The entries themselves.
    pub(super) entries: Vec<ContextEntry>,
    /// All of them have a place there.
    pub(super) has_all: bool,
    /// Of its entries without their contents.
    pub(super) names: [u8; 32],
}

/// Lets through what is written until it is shut.
struct Valve<W> {
    output: W,
    shut: bool,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W, limit: u64, compression: Compression) -> Self {
        let valve = Valve { output, shut: false };
        Self {
            gzip: GzEncoder::new(valve, compression),
            entries: Entries::default(),
            names: Sha256::new(),
            written: 0,
            limit,
        }
    }

    /// Begins an entry.
    pub(super) fn entry(
        &mut self,
        path: &Path,
        mode: u32,
        content: &Content<'_>,
    ) -> Result<(), Fault> {
        let mut name = path.as_os_str().as_bytes().to_owned();
        let (kind, target, size) = match content {
            Content::Directory => (EntryType::Directory, &b""[..], 0),
            Content::Symlink(target) => (EntryType::Symlink, target.to_bytes(), 0),
            Content::Link(target) => (EntryType::Link, target.to_bytes(), 0),
            Content::File(size) => (EntryType::Regular, &b""[..], *size),
        };
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        self.entries.begin(&name);
        // Before anything is read for it, and with room for long names.
        let least = BLOCK.saturating_add(size).saturating_add(self.written);
        if least > self.limit {
            return Err(Fault::Full);
        }
        for text in [&name[..], target] {
            self.names.update((text.len() as u64).to_be_bytes());
            self.names.update(text);
        }
        self.names.update(mode.to_be_bytes());
        self.names.update([kind.as_byte()]);
        let mut header = header(kind, size);
        header.set_mode(mode);
        let long_link = put(&mut header.as_old_mut().linkname, target);
        let long_name = put(&mut header.as_old_mut().name, &name);
        if !long_link {
            self.long(EntryType::GNULongLink, target)?;
        }
        if !long_name {
            self.long(EntryType::GNULongName, &name)?;
        }
        header.set_cksum();
        self.data(header.as_bytes())
    }

    /// Bytes of the entry.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.written += bytes.len() as u64;
        if self.written > self.limit {
            return Err(Fault::Full);
        }
        self.entries.add(bytes);
        self.gzip.write_all(bytes).map_err(Fault::Output)
    }

    /// Fills the last block of an entry.
    pub(super) fn pad(&mut self) -> Result<(), Fault> {
        let missing = self.written.next_multiple_of(BLOCK) - self.written;
        self.data(&[0; BLOCK as usize][..missing as usize])
    }

    /// Completes the stream.
    pub(super) fn finish(mut self) -> io::Result<Finished> {
        self.gzip.write_all(&[0; 2 * BLOCK as usize])?;
        self.gzip.try_finish()?;
        self.gzip.get_mut().flush()?;
        let (digest, entries, has_all) = std::mem::take(&mut self.entries).end();
        let digest = ContextDigest(digest);
        let names = self.names.finalize_reset().into();
        Ok(Finished { bytes: self.written + 2 * BLOCK, digest, entries, has_all, names })
    }

    /// An entry that holds the name or target of the next one, which its header has no room for.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> Result<(), Fault> {
        let mut header = header(kind, name.len() as u64 + 1);
        put(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        self.data(header.as_bytes())?;
        self.data(name)?;
        self.data(&[0])?;
        self.pad()
    }
}

impl<W: Write> Drop for Archive<W> {
    fn drop(&mut self) {
        // The compressor completes its stream when it is dropped, unless it cannot write.
        self.gzip.get_mut().shut = true;
    }
}

impl<W: Write> Write for Valve<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.shut { Err(io::ErrorKind::BrokenPipe.into()) } else { self.output.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.shut { Ok(()) } else { self.output.flush() }
    }
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header
}

/// Puts the bytes into the field, as many as fit; true if all did.
fn put(field: &mut [u8], bytes: &[u8]) -> bool {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
    length == bytes.len()
}
