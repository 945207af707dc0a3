use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn mount(source: &Path, target: &str) -> Mount {
    Mount {
        source_volume_path: source.to_str().unwrap().into(),
        target_volume_path: target.into(),
        ..Mount::default()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn variables(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A work directory as the runner has it before a step.
struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        for directory in [HOME_DIR, "_temp/_github_workflow", FILE_COMMANDS_DIR, "demo/demo"] {
            std::fs::create_dir_all(work.at(directory)).unwrap();
        }
        std::fs::write(work.at(FILE_COMMANDS_DIR).join("set_output_1"), "").unwrap();
        work
    }

    fn at(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    fn directories(&self) -> Vec<PathBuf> {
        ["_temp", HOME_DIR, "_temp/_github_workflow", FILE_COMMANDS_DIR, "demo/demo"]
            .map(|inside| self.at(inside))
            .to_vec()
    }

    /// What hookd does before a container step.
    fn make_ready(&self) -> Result<Vec<String>, Failure> {
        let warnings = make_directories(self.0.path(), &self.directories())?;
        let mounts =
            [mount(&self.at(FILE_COMMANDS_DIR), FILE_COMMANDS), mount(&self.at(HOME_DIR), HOME)];
        let environment = variables(&[("GITHUB_OUTPUT", "/github/file_commands/set_output_1")]);
        open_to_all(&mounts, &environment, self.0.path());
        Ok(warnings)
    }
}

#[test]
fn only_this_steps_file_commands_and_home_are_opened() {
    let work = Work::new();
    let (commands, home) = (work.at(FILE_COMMANDS_DIR), work.at(HOME_DIR));
    std::fs::write(commands.join("set_output_0"), "").unwrap();
    std::fs::write(work.at("demo/key"), "").unwrap();
    for file in [commands.join("set_output_0"), commands.join("set_output_1"), work.at("demo/key")]
    {
        set_mode(&file, 0o644);
    }
    let environment = variables(&[
        ("GITHUB_OUTPUT", "/github/file_commands/set_output_1"),
        ("GITHUB_ENV", "/github/file_commands/gone"),
        ("MINE", "/github/file_commands/../../demo/key"),
    ]);
    let mounts = [mount(&commands, FILE_COMMANDS), mount(&home, HOME)];
    open_to_all(&mounts, &environment, work.0.path());
    assert_eq!(mode(&commands.join("set_output_1")), 0o666);
    assert_eq!(mode(&commands.join("set_output_0")), 0o644);
    assert_eq!(mode(&work.at("demo/key")), 0o644);
    assert_eq!(mode(&home), 0o777);
}

#[test]
fn a_script_steps_file_commands_are_opened_and_no_other_file() {
    let work = Work::new();
    let file = work.at(FILE_COMMANDS_DIR).join("set_output_1");
    let key = work.at("demo/key");
    std::fs::write(&key, "").unwrap();
    set_mode(&file, 0o600);
    set_mode(&key, 0o600);
    let environment = variables(&[
        ("GITHUB_OUTPUT", "/__w/_temp/_runner_file_commands/set_output_1"),
        ("MINE", "/__w/_temp/_runner_file_commands/../../demo/key"),
    ]);
    open_file_commands(&environment, work.0.path());
    assert_eq!((mode(&file), mode(&key)), (0o666, 0o600));
}

#[test]
fn a_home_that_its_owner_closed_stays_closed_playwright_6500() {
    let work = Work::new();
    set_mode(&work.at(HOME_DIR), 0o700);
    assert_eq!(work.make_ready().unwrap(), Vec::<String>::new());
    assert_eq!(mode(&work.at(HOME_DIR)), 0o700);
    // Before the job no step has decided.
    open_home(work.0.path(), &work.directories());
    assert_eq!(mode(&work.at(HOME_DIR)), 0o777);
}

/// What a job does to a work directory; the paths that are directories afterwards; a warning.
type Deed = (&'static str, fn(&Work), &'static [&'static str], Option<&'static str>);

const DEEDS: &[Deed] = &[
    ("home deleted", |work| remove(&work.at(HOME_DIR)), &[HOME_DIR], None),
    (
        "all of _temp deleted",
        |work| remove(&work.at("_temp")),
        &[HOME_DIR, FILE_COMMANDS_DIR],
        None,
    ),
    ("workspace deleted", |work| remove(&work.at("demo")), &["demo/demo"], None),
    (
        "file commands deleted",
        |work| std::fs::remove_file(work.at(FILE_COMMANDS_DIR).join("set_output_1")).unwrap(),
        &[FILE_COMMANDS_DIR],
        None,
    ),
    (
        "home is a file",
        |work| put(work, HOME_DIR, |path| std::fs::write(path, "x").unwrap()),
        &[HOME_DIR],
        Some("_github_home was a file"),
    ),
    (
        "home is a named pipe",
        |work| put(work, HOME_DIR, make_pipe),
        &[HOME_DIR],
        Some("special file"),
    ),
    (
        "workflow is a link out of the work directory",
        |work| put(work, "_temp/_github_workflow", |path| symlink("/etc", path).unwrap()),
        &["_temp/_github_workflow"],
        Some("_github_workflow was a symlink"),
    ),
    (
        "workflow is a link upwards",
        |work| put(work, "_temp/_github_workflow", |path| symlink("../../..", path).unwrap()),
        &["_temp/_github_workflow"],
        Some("_github_workflow was a symlink"),
    ),
    (
        "home is a link to itself",
        |work| put(work, HOME_DIR, |path| symlink("_github_home", path).unwrap()),
        &[HOME_DIR],
        Some("symlink"),
    ),
    (
        "home is a link to a directory of the job",
        |work| put(work, HOME_DIR, |path| symlink("../demo/demo", path).unwrap()),
        &[],
        None,
    ),
    (
        "_temp is a dangling link",
        |work| put(work, "_temp", |path| symlink("/nowhere", path).unwrap()),
        &[HOME_DIR, FILE_COMMANDS_DIR],
        Some("_temp was a symlink"),
    ),
    (
        "_temp is a file",
        |work| put(work, "_temp", |path| std::fs::write(path, "").unwrap()),
        &[HOME_DIR],
        Some("_temp was a file"),
    ),
    (
        "the workspace's parent is a file",
        |work| put(work, "demo", |path| std::fs::write(path, "").unwrap()),
        &[HOME_DIR],
        Some("demo/demo cannot be made ready"),
    ),
    (
        "the workspace is a link to /__w",
        |work| put(work, "demo/demo", |path| symlink("/__w/other", path).unwrap()),
        &["demo/demo"],
        Some("demo/demo was a symlink"),
    ),
    (
        "a file command is a directory",
        |work| {
            put(work, "_temp/_runner_file_commands/set_output_1", |path| {
                std::fs::create_dir(path).unwrap();
            });
        },
        &[FILE_COMMANDS_DIR],
        None,
    ),
    (
        "a file command is a named pipe",
        |work| put(work, "_temp/_runner_file_commands/set_output_1", make_pipe),
        &[FILE_COMMANDS_DIR],
        None,
    ),
    (
        "a file command is read-only",
        |work| set_mode(&work.at(FILE_COMMANDS_DIR).join("set_output_1"), 0o400),
        &[FILE_COMMANDS_DIR],
        None,
    ),
    ("home has no mode at all", |work| set_mode(&work.at(HOME_DIR), 0), &[HOME_DIR], None),
];

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

fn put(work: &Work, inside: &str, make: fn(&Path)) {
    remove(&work.at(inside));
    make(&work.at(inside));
}

fn make_pipe(path: &Path) {
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn what_a_job_did_to_its_files_fails_no_later_step() {
    for (deed, play, directories, warning) in DEEDS {
        let work = Work::new();
        play(&work);
        let warnings = work.make_ready().unwrap_or_else(|error| panic!("{deed}: {error}"));
        for directory in *directories {
            let found = std::fs::symlink_metadata(work.at(directory)).unwrap();
            assert!(found.is_dir(), "{deed}: {directory} is no directory");
        }
        match warning {
            Some(words) => {
                assert!(warnings.iter().any(|one| one.contains(words)), "{deed}: {warnings:?}");
            }
            None => assert!(warnings.is_empty(), "{deed}: {warnings:?}"),
        }
    }
}

#[test]
fn directories_of_another_user_are_left_as_they_are() {
    // The tests of a build run as root, whom no mode stops: the owner alone decides here.
    let work = Work::new();
    let home = work.at(HOME_DIR);
    if std::os::unix::fs::chown(&home, Some(4242), Some(4242)).is_err() {
        return;
    }
    set_mode(&home, 0o711);
    assert_eq!(work.make_ready().unwrap(), Vec::<String>::new());
    assert_eq!(mode(&home), 0o711);
}

#[test]
fn a_volume_that_takes_no_directory_fails_the_step() {
    for error in [Errno::NOSPC, Errno::ROFS, Errno::IO, Errno::DQUOT, Errno::NOSYS] {
        assert!(!is_the_jobs_doing(error), "{error}");
    }
    let error = make_directories(Path::new("/nonexistent"), &[]).unwrap_err();
    assert!(error.message.contains("/nonexistent"), "{error}");
}
