//! A job that changes the tree while it is read.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Does something when so many bytes have arrived.
struct Meddler<F: FnMut()>(usize, F);

impl<F: FnMut()> Write for Meddler<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 > 0 {
            self.0 = self.0.saturating_sub(bytes.len());
            if self.0 == 0 {
                self.1();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_shrinks_or_grows_while_it_is_read_is_an_error() {
    let place = place();
    let path = place.context.join("big");
    for length in [1000, 2 << 20] {
        place.write("big", noise(1 << 20));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let meddler = Meddler(100_000, || file.set_len(length).unwrap());
        let context = place.open("action/Dockerfile").unwrap();
        let error = context.write_tar_gz(meddler, &plenty()).unwrap_err();
        assert!(matches!(&error, ContextError::Changed { path: changed } if *changed == path));
    }
}

/// Exchanges two paths until `stop` is set.
fn exchange(stop: &AtomicBool, one: &Path, other: &Path) {
    while !stop.load(Ordering::Relaxed) {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, one, CWD, other, flags).unwrap();
    }
}

/// Stops the other threads, also if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_job_that_exchanges_paths_gets_nothing_from_outside() {
    let place = place();
    place.write("dir/secret", "harmless");
    place.write("file", "harmless");
    let (link_dir, link_file) = (place.work.join("dir"), place.work.join("file"));
    symlink(&place.outside, &link_dir).unwrap();
    symlink(place.outside.join("secret"), &link_file).unwrap();
    let (dir, file) = (place.context.join("dir"), place.context.join("file"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| exchange(&stop, &dir, &link_dir));
        scope.spawn(|| exchange(&stop, &file, &link_file));
        let context = place.open("action/Dockerfile").unwrap();
        for _ in 0..500 {
            let mut stream = Vec::new();
            match context.write_tar_gz(&mut stream, &plenty()) {
                Ok(_) => {
                    let secret = |entry: &Entry| entry.content == b"secret";
                    assert!(!entries(&stream).iter().any(secret));
                }
                Err(ContextError::Changed { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn a_job_that_exchanges_a_dockerfiles_path_gets_nothing() {
    let place = place();
    let link = place.work.join("link");
    symlink(&place.outside, &link).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| exchange(&stop, &place.context, &link));
        for _ in 0..500 {
            let Ok(context) = place.open("action/Dockerfile") else { continue };
            let mut stream = Vec::new();
            context.write_tar_gz(&mut stream, &plenty()).unwrap();
            assert_eq!(entries(&stream)[0].content, b"FROM scratch\n");
            assert_eq!(entries(&stream).len(), 1);
        }
    });
}
