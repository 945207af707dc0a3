//! What each entry of a context is, as short hashes: so that it can be said which of them changed.

use sha2::{Digest, Sha256};

/// Entries that are remembered.
const MOST: usize = 200;
/// Bytes of a name that is.
const LONGEST: usize = 120;
/// Bytes of an entry's hash that are.
const SHORT: usize = 6;

/// An entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// Its path in the archive.
    pub path: String,
    /// The begin of the hash of all that it is: name, mode, target, content.
    pub digest: [u8; SHORT],
}

/// The hash of a context: that of its entries' hashes.
#[derive(Default)]
pub(super) struct Entries {
    all: Sha256,
    current: Sha256,
    /// The current entry's; none: it is not remembered, or none has begun.
    path: Option<String>,
    has_begun: bool,
    remembered: Vec<ContextEntry>,
    left_out: bool,
}

impl Entries {
    /// Ends the current entry, and begins the next.
    pub(super) fn begin(&mut self, path: &[u8]) {
        self.close();
        self.has_begun = true;
        let path = std::str::from_utf8(path).ok().filter(|path| path.len() <= LONGEST);
        let has_room = self.remembered.len() < MOST;
        self.path = path.filter(|_| has_room).map(str::to_owned);
        self.left_out |= self.path.is_none();
    }

    /// Adds bytes to the current entry.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.current.update(bytes);
    }

    fn close(&mut self) {
        if !self.has_begun {
            return;
        }
        let digest: [u8; 32] = self.current.finalize_reset().into();
        // All have one length: none can be taken for another's end.
        self.all.update(digest);
        if let Some(path) = self.path.take() {
            let mut short = [0; SHORT];
            short.copy_from_slice(&digest[..SHORT]);
            self.remembered.push(ContextEntry { path, digest: short });
        }
    }

    /// The hash of all, those that are remembered, and whether these are all.
    pub(super) fn end(mut self) -> ([u8; 32], Vec<ContextEntry>, bool) {
        self.close();
        (self.all.finalize().into(), self.remembered, !self.left_out)
    }
}
