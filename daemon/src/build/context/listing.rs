//! The names in a directory, sorted, in memory that does not grow with the directory.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::Dir;
use rustix::io::Errno;

use super::ContextError;
use super::bounds::Meter;

/// What a name takes in memory beside its bytes.
pub(super) const OVERHEAD: usize = 64;
/// Steps that an entry of a directory counts for.
const ENTRY: u64 = 64;

/// The next names of a directory.
pub(super) struct Window {
    /// In the order of their bytes.
    pub(super) names: BTreeSet<OsString>,
    /// There are more after these.
    pub(super) more: bool,
}

/// Why a directory cannot be listed.
pub(super) enum Fault {
    Kernel(Errno),
    Bounds(ContextError),
}

/// The first names after `after`, as many as fit into `limit` bytes but one at least. A directory that does
/// not fit is read once for each window.
pub(super) fn window(
    directory: &OwnedFd,
    after: Option<&OsStr>,
    limit: usize,
    meter: &Meter,
) -> Result<Window, Fault> {
    let mut kept = Kept { names: BTreeSet::new(), bytes: 0, limit, bound: None };
    let is_next = |name: &OsStr| after.is_none_or(|after| name > after);
    for entry in Dir::read_from(directory).map_err(Fault::Kernel)? {
        meter.spend(ENTRY).map_err(Fault::Bounds)?;
        let entry = entry.map_err(Fault::Kernel)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && is_next(name) {
            kept.add(OsString::from_vec(name.as_bytes().to_owned()));
        }
    }
    Ok(Window { names: kept.names, more: kept.bound.is_some() })
}

/// The smallest names so far.
struct Kept {
    names: BTreeSet<OsString>,
    bytes: usize,
    limit: usize,
    /// The smallest name that had no room: no later one may be kept.
    bound: Option<OsString>,
}

impl Kept {
    fn add(&mut self, name: OsString) {
        if self.bound.as_ref().is_some_and(|bound| name >= *bound) {
            return;
        }
        let length = name.len() + OVERHEAD;
        if self.names.insert(name) {
            self.bytes += length;
        }
        while self.bytes > self.limit && self.names.len() > 1 {
            let Some(largest) = self.names.pop_last() else { break };
            self.bytes -= largest.len() + OVERHEAD;
            self.bound = Some(largest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::context::bounds::Bounds;

    #[test]
    fn windows_join_to_the_sorted_directory_whatever_their_size() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = BTreeSet::<OsString>::new();
        for number in 0..300_u32 {
            // Names of all lengths: a long one that has no room must not be passed over.
            let name =
                format!("{}{}", number * 7919 % 1000, "n".repeat((number % 50) as usize * 4));
            std::fs::write(directory.path().join(&name), "").unwrap();
            expected.insert(name.into());
        }
        let bounds = Bounds {
            bytes: 0,
            timeout: std::time::Duration::from_secs(600),
            cancelled: Default::default(),
        };
        let meter = Meter::new(directory.path().to_owned(), &bounds);
        let open: OwnedFd = std::fs::File::open(directory.path()).unwrap().into();
        for limit in [1, 100, 1000, 5000, 1 << 20] {
            let (mut all, mut after, mut reads) = (Vec::new(), None::<OsString>, 0);
            loop {
                let Ok(next) = window(&open, after.as_deref(), limit, &meter) else {
                    panic!("the directory cannot be read")
                };
                reads += 1;
                let bytes: usize = next.names.iter().map(|name| name.len() + OVERHEAD).sum();
                assert!(bytes <= limit || next.names.len() == 1, "{bytes} of {limit}");
                after = next.names.last().cloned();
                all.extend(next.names);
                if !next.more {
                    break;
                }
            }
            assert!(all.iter().eq(&expected), "limit {limit}");
            assert_eq!(reads == 1, limit == 1 << 20);
        }
    }
}
