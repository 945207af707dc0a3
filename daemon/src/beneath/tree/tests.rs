//! A job that changes the tree while hookd works in it: whatever it does, nothing outside of the
//! tree is made, changed or written.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::RenameFlags;

use super::*;

const ROUNDS: usize = 2000;

/// A work directory, and a directory beside it that is none of the job's.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(place.work().join("temp/home")).unwrap();
        std::fs::create_dir(place.outside()).unwrap();
        std::fs::write(place.outside().join("secret"), "secret").unwrap();
        let closed = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(place.outside().join("secret"), closed).unwrap();
        place
    }

    fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    fn outside(&self) -> PathBuf {
        self.root.path().join("outside")
    }

    fn tree(&self) -> Tree {
        Tree::open(&self.work()).unwrap()
    }

    /// Runs `act` while a job exchanges `path` of the tree for a link to the other directory.
    fn while_exchanging(&self, path: &str, target: &Path, act: impl Fn(&Tree)) {
        let (stop, tree) = (AtomicBool::new(false), self.tree());
        let (path, link) = (self.work().join(path), self.root.path().join("link"));
        symlink(target, &link).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // One of them may be gone for a moment.
                    let _ = fs::renameat_with(CWD, &path, CWD, &link, RenameFlags::EXCHANGE);
                }
            });
            let _stop = Stop(&stop);
            for _ in 0..ROUNDS {
                act(&tree);
            }
        });
    }

    fn assert_untouched(&self) {
        let names: Vec<_> = std::fs::read_dir(self.outside())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"]);
        let secret = self.outside().join("secret");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        let mode = std::fs::metadata(self.outside()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn directories_are_made_beneath_a_parent_that_becomes_a_link() {
    let place = Place::new();
    place.while_exchanging("temp", &place.outside(), |tree| {
        let _ = tree.directory(Path::new("temp/made/deep"), Kept::Nothing);
    });
    place.assert_untouched();
}

#[test]
fn a_mode_is_changed_beneath_a_path_that_becomes_a_link() {
    let place = Place::new();
    std::fs::write(place.work().join("temp/secret"), "").unwrap();
    let bits = |bits| Mode::from_raw_mode(bits);
    place.while_exchanging("temp", &place.outside(), |tree| {
        let file = Path::new("temp/secret");
        let _ = tree.widen(file, FileType::RegularFile, bits(0o666), false);
        let _ = tree.widen(Path::new("temp"), FileType::Directory, bits(0o777), false);
    });
    place.assert_untouched();
    let other = Place::new();
    std::fs::write(other.work().join("temp/output"), "").unwrap();
    other.while_exchanging("temp/output", &other.outside().join("secret"), |tree| {
        let file = Path::new("temp/output");
        let _ = tree.widen(file, FileType::RegularFile, bits(0o666), false);
    });
    other.assert_untouched();
}

#[test]
fn a_program_is_installed_beneath_what_becomes_a_link() {
    let place = Place::new();
    std::fs::create_dir(place.work().join("_hookd")).unwrap();
    place.while_exchanging("_hookd", &place.outside(), |tree| {
        let _ = tree.install("_hookd", "stepd", b"program", 0o755);
    });
    place.assert_untouched();
}

/// What a job puts in place of the directory, and how.
type Play = (&'static str, fn(&Path));

#[test]
fn a_program_is_installed_whatever_lies_in_its_place() {
    let plays: [Play; 6] = [
        ("nothing", |_| {}),
        ("a link", |path| symlink("../outside", path).unwrap()),
        ("a file", |path| std::fs::write(path, "").unwrap()),
        ("a directory in place of the program", |path| {
            std::fs::create_dir_all(path.join("stepd/full")).unwrap();
        }),
        ("a link in place of the program", |path| {
            std::fs::create_dir(path).unwrap();
            symlink("../../outside/secret", path.join("stepd")).unwrap();
        }),
        ("another user's directory", |path| {
            std::fs::create_dir(path).unwrap();
            let _ = std::os::unix::fs::chown(path, Some(4242), Some(4242));
        }),
    ];
    for (what, play) in plays {
        let place = Place::new();
        let directory = place.work().join("_hookd");
        play(&directory);
        place.tree().install("_hookd", "stepd", b"program", 0o755).unwrap();
        let program = directory.join("stepd");
        assert!(std::fs::symlink_metadata(&program).unwrap().is_file(), "{what}");
        assert_eq!(std::fs::read(&program).unwrap(), b"program", "{what}");
        assert_eq!(std::fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        place.assert_untouched();
    }
}

#[test]
fn a_path_that_leads_upwards_is_refused() {
    let place = Place::new();
    for path in ["../outside/made", "temp/../../outside/made", "/tmp/made"] {
        assert!(place.tree().directory(Path::new(path), Kept::Nothing).is_err(), "{path}");
    }
    let looked = place.tree().kind(Path::new("../outside"));
    assert_eq!(looked, Err(Errno::XDEV));
    place.assert_untouched();
}

#[test]
fn a_file_with_a_second_name_keeps_its_mode() {
    let place = Place::new();
    let (one, other) = (place.work().join("one"), place.work().join("other"));
    std::fs::write(&one, "").unwrap();
    std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::hard_link(&one, &other).unwrap();
    let bits = Mode::from_raw_mode(0o666);
    let widened = place.tree().widen(Path::new("other"), FileType::RegularFile, bits, false);
    assert_eq!(widened, Ok(Widened::OtherKind));
    assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o600);
}
