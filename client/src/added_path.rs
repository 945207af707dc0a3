//! The directories that a step adds to PATH (`GITHUB_PATH`).
//!
//! The runner puts them in front of its own PATH too, and looks the interpreter of the next hook up
//! there (`bash` for `hook.sh`). A job may write to the runner's work directory: a directory in it
//! would let the job choose the program that runs in the runner's container, outside the job's.
//! Such entries mean nothing in a job container, where the work directory is `/__w`, and are
//! dropped before the runner reads them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::output::Output;
use crate::report;

/// The file with the entries, one a line, as the runner's own container sees it.
const FILE: &str = "GITHUB_PATH";
/// `<work directory>/<repository>`.
const RUNNER_WORKSPACE: &str = "RUNNER_WORKSPACE";
/// Largest file that is read, in bytes. A PATH of this size starts no program.
const MAX_SIZE: u64 = 1 << 20;
/// Warnings that one step gets at most.
const MAX_WARNINGS: usize = 10;
/// What the job container's own paths begin with (contract of the runner, container mode).
const CONTAINER_ROOTS: [&str; 2] = ["/__w", "/github"];

/// The file of one step, and the directory that its entries must not lead into.
#[derive(Debug)]
pub(crate) struct AddedPath {
    file: PathBuf,
    work_dir: PathBuf,
}

/// The entries that were dropped.
#[derive(Debug, PartialEq)]
enum Dropped {
    /// These lines.
    Lines(Vec<String>),
    /// The file as a whole: it is no regular file, or too large.
    File(&'static str),
}

// === impl AddedPath ===

impl AddedPath {
    /// That of the step that `variable`, the environment, describes. `None`: this hook has no step,
    /// or its runner works in a directory whose name is that of the container's, so that no entry
    /// can be distinguished from a rightful one.
    pub(crate) fn of_step(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let work_dir = path(RUNNER_WORKSPACE)?.parent()?.to_owned();
        let shared = |root| work_dir.starts_with(root);
        (!CONTAINER_ROOTS.iter().any(shared)).then_some(())?;
        Some(Self { file: path(FILE)?, work_dir })
    }

    /// Drops the entries that lead into the work directory, with a warning for each. Waits for
    /// no reader: a cancelled hook has little time, and its output may be stuck.
    pub(crate) fn check(&self, output: &Output) {
        let warn = |text: &str| output.line(report::warning("GITHUB_PATH", text));
        match self.drop_entries() {
            Ok(None) => {}
            Ok(Some(Dropped::Lines(lines))) => {
                for line in lines.iter().take(MAX_WARNINGS) {
                    warn(&format!(
                        "hook dropped {line:?} from GITHUB_PATH: it leads into the runner's work \
                         directory, where a job could put a program in place of the runner's own. \
                         Add the directory as the job container sees it, beneath /__w."
                    ));
                }
                if let more @ 1.. = lines.len().saturating_sub(MAX_WARNINGS) {
                    warn(&format!("hook dropped {more} more entries from GITHUB_PATH."));
                }
            }
            Ok(Some(Dropped::File(why))) => {
                warn(&format!("hook dropped the step's GITHUB_PATH file: it {why}."));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                warn(&format!("The step's GITHUB_PATH file cannot be checked: {error}"));
            }
        }
    }

    /// Writes the file anew without the entries that lead into the work directory.
    fn drop_entries(&self) -> io::Result<Option<Dropped>> {
        // A link would let the job choose what is read, a pipe would never end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(CWD, &self.file, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::LOOP) => return self.drop_file("is a link"),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return self.drop_file("is no regular file");
        }
        let mut text = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_SIZE {
            return self.drop_file("is larger than 1 MiB");
        }
        let text = String::from_utf8_lossy(&text);
        // As the runner splits it: `\n`, `\r\n` and a lone `\r` end a line.
        let lines = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty());
        let (bad, good): (Vec<_>, Vec<_>) = lines.partition(|line| self.leads_into_work_dir(line));
        if bad.is_empty() {
            return Ok(None);
        }
        self.replace(good.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
        Ok(Some(Dropped::Lines(bad.into_iter().map(str::to_owned).collect())))
    }

    fn drop_file(&self, why: &'static str) -> io::Result<Option<Dropped>> {
        self.replace(b"")?;
        Ok(Some(Dropped::File(why)))
    }

    /// Puts a new file in the place of the step's, whatever that is.
    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let mut name = self.file.clone().into_os_string();
        name.push(format!(".hook-{}", std::process::id()));
        let beside = PathBuf::from(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let opened = rustix::fs::openat(CWD, &beside, flags, mode);
        let replaced = opened.map_err(io::Error::from).and_then(|file| {
            File::from(file).write_all(content)?;
            fs::rename(&beside, &self.file)
        });
        if replaced.is_err() {
            // Best effort: the error that matters is already known.
            let _ = fs::remove_file(&beside);
        }
        replaced
    }

    /// True if a part of the line names a directory in the work directory, or one whose meaning
    /// depends on who looks.
    fn leads_into_work_dir(&self, line: &str) -> bool {
        // The runner joins its entries with colons: one line may bring several.
        line.split(':').map(str::trim).filter(|part| !part.is_empty()).any(|part| {
            let path = Path::new(part);
            // A relative one starts at the runner's directory, one of /proc at a process of ours.
            !path.is_absolute()
                || ["/proc", "/dev"].iter().any(|root| normal(path).starts_with(root))
                || self.holds(&normal(path))
                || self.holds(&resolved(path))
        })
    }

    fn holds(&self, path: &Path) -> bool {
        let real = fs::canonicalize(&self.work_dir);
        path.starts_with(&self.work_dir) || real.is_ok_and(|real| path.starts_with(real))
    }
}

/// The path without `.` and `..`, as the runner's .NET reads it: by its letters alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// The path as the kernel reads it, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = fs::canonicalize(ancestor) {
            let rest = &path.as_os_str().as_bytes()[ancestor.as_os_str().len()..];
            let rest = String::from_utf8_lossy(rest);
            return normal(&real.join(rest.trim_start_matches('/')));
        }
    }
    normal(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Place {
        _root: tempfile::TempDir,
        work: PathBuf,
        outside: PathBuf,
        added: AddedPath,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("_work");
        let outside = root.path().join("outside");
        fs::create_dir_all(work.join("demo/demo/bin")).unwrap();
        fs::create_dir(&outside).unwrap();
        let file = work.join("add_path_1");
        let added = AddedPath { file, work_dir: work.clone() };
        Place { _root: root, work, outside, added }
    }

    #[test]
    fn entries_in_the_work_directory_are_dropped_in_every_spelling() {
        let Place { work, outside, added, _root } = place();
        symlink(&work, outside.join("link")).unwrap();
        let (work, outside) = (work.display(), outside.display());
        for bad in [
            format!("{work}/demo/demo/bin"),
            format!("{work}"),
            format!("{work}/not/there/yet"),
            format!("/usr/bin:{work}/demo"),
            format!("{outside}/../_work/demo"),
            format!("{outside}/not-there/../../_work/demo"),
            format!("{outside}/link/demo"),
            format!("  {work}/demo"),
            format!("/{work}//demo/./demo"),
            "bin".to_owned(),
            ".".to_owned(),
            "/proc/self/cwd/bin".to_owned(),
            "/dev/fd/3".to_owned(),
        ] {
            fs::write(&added.file, format!("/opt/a\r\n{bad}\n/__w/demo/demo/bin")).unwrap();
            let dropped = added.drop_entries().unwrap();
            assert_eq!(dropped, Some(Dropped::Lines(vec![bad.clone()])), "{bad}");
            let left = fs::read_to_string(&added.file).unwrap();
            assert_eq!(left, "/opt/a\n/__w/demo/demo/bin\n", "{bad}");
        }
    }

    #[test]
    fn entries_of_the_container_stay_and_the_file_is_not_touched() {
        let Place { added, outside, _root, .. } = place();
        let text = format!("/__w/demo/bin\n/opt/tools:/__t/node/bin\n{}\n\n", outside.display());
        fs::write(&added.file, &text).unwrap();
        assert_eq!(added.drop_entries().unwrap(), None);
        assert_eq!(fs::read_to_string(&added.file).unwrap(), text);
    }

    #[test]
    fn a_file_that_is_a_link_or_a_pipe_or_too_large_is_emptied() {
        let Place { added, outside, _root, .. } = place();
        let elsewhere = outside.join("file");
        fs::write(&elsewhere, "kept").unwrap();
        symlink(&elsewhere, &added.file).unwrap();
        assert_eq!(added.drop_entries().unwrap(), Some(Dropped::File("is a link")));
        fs::remove_file(&added.file).unwrap();
        rustix::fs::mknodat(
            CWD,
            &added.file,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(added.drop_entries().unwrap(), Some(Dropped::File("is no regular file")));
        fs::write(&added.file, vec![b'x'; (MAX_SIZE + 1) as usize]).unwrap();
        assert_eq!(added.drop_entries().unwrap(), Some(Dropped::File("is larger than 1 MiB")));
        assert_eq!(fs::read(&added.file).unwrap(), b"");
        assert_eq!(fs::read_to_string(elsewhere).unwrap(), "kept");
    }

    #[test]
    fn a_runner_that_works_where_containers_do_is_left_alone() {
        let environment = |workspace: &'static str| {
            move |name: &str| match name {
                "RUNNER_WORKSPACE" => Some(workspace.into()),
                "GITHUB_PATH" => Some("/file".into()),
                _ => None,
            }
        };
        assert!(AddedPath::of_step(environment("/home/runner/_work/demo")).is_some());
        assert!(AddedPath::of_step(environment("/__w/demo")).is_none());
        assert!(AddedPath::of_step(|_| None).is_none());
    }
}
