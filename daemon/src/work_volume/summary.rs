//! The summary of a step: a file of Markdown that the runner uploads with the job.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hookd_api::v1::Mount;

use crate::beneath::{Appended, Tree};
use crate::work_volume::files;

/// The variable that names the file, as the step sees it.
const VARIABLE: &str = "GITHUB_STEP_SUMMARY";
/// Bytes of a summary; the runner drops a larger one, with an error.
/// Source: `FileCommandManager.cs` of the runner, `AttachmentSizeLimit`.
const MOST: u64 = 1 << 20;

/// The file of a container step, in the work directory; none: the runner has made none.
pub fn of_container_step(
    mounts: &[Mount],
    environment: &BTreeMap<String, String>,
    work_dir: &Path,
) -> Option<PathBuf> {
    let directory = files::mounted_file_commands(mounts, work_dir)?;
    let name = files::file_command(environment.get(VARIABLE)?, files::FILE_COMMANDS)?;
    Some(directory.join(name))
}

/// The file of a script step, in the work directory; none: the runner has made none.
pub fn of_script_step(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let name = files::file_command(environment.get(VARIABLE)?, files::JOB_FILE_COMMANDS)?;
    Some(Path::new(files::FILE_COMMANDS_DIR).join(name))
}

/// Adds text to the file, after what the step itself has written; true if it did. What a job did to its file ends
/// no step.
pub fn append(work_dir: &Path, file: &Path, text: &str) -> bool {
    let added = Tree::open(work_dir).and_then(|tree| tree.append(file, text.as_bytes(), MOST));
    match added {
        Ok(Appended::Done) => return true,
        Ok(left) => {
            tracing::info!(file = %file.display(), ?left, "summary left as the job made it")
        }
        Err(error) => {
            let error = io::Error::from(error);
            tracing::info!(file = %file.display(), %error, "the step's summary cannot be written");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A work directory with the file of a step that wrote a line.
    fn work() -> (tempfile::TempDir, PathBuf) {
        let work = tempfile::tempdir().unwrap();
        let directory = work.path().join(files::FILE_COMMANDS_DIR);
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("step_summary_1");
        std::fs::write(&file, "mine\n").unwrap();
        (work, file)
    }

    fn environment(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(VARIABLE.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_file_of_a_step_is_found_where_the_runner_made_it() {
        let (work, file) = work();
        let mount = Mount {
            source_volume_path: file.parent().unwrap().to_str().unwrap().into(),
            target_volume_path: files::FILE_COMMANDS.into(),
            ..Mount::default()
        };
        let inside = file.strip_prefix(work.path()).unwrap();
        let of_container = environment("/github/file_commands/step_summary_1");
        let found = of_container_step(&[mount], &of_container, work.path());
        assert_eq!(found.as_deref(), Some(inside));
        let of_script = environment("/__w/_temp/_runner_file_commands/step_summary_1");
        assert_eq!(of_script_step(&of_script).as_deref(), Some(inside));
    }

    #[test]
    fn no_other_file_is_a_summary() {
        for value in ["", "/etc/passwd", "/__w/_temp/_runner_file_commands", "step_summary_1"] {
            assert_eq!(of_script_step(&environment(value)), None, "{value}");
        }
        let up = "/__w/_temp/_runner_file_commands/../../demo/file";
        assert_eq!(of_script_step(&environment(up)), None);
        assert_eq!(
            of_container_step(&[], &environment("/github/file_commands/a"), Path::new("/w")),
            None
        );
    }

    #[test]
    fn the_table_stands_after_what_the_step_wrote() {
        let (work, file) = work();
        assert!(append(work.path(), file.strip_prefix(work.path()).unwrap(), "table\n"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), "mine\ntable\n");
    }

    #[test]
    fn what_a_job_put_in_its_place_is_left_alone() {
        let (work, file) = work();
        let inside = file.strip_prefix(work.path()).unwrap();
        let other = work.path().join("other");
        for make in [
            (|file: &Path, other: &Path| symlink(other, file).unwrap()) as fn(&Path, &Path),
            |file, other| std::fs::hard_link(other, file).unwrap(),
            |file, _| std::fs::create_dir(file).unwrap(),
            |_, _| {},
        ] {
            std::fs::write(&other, "other").unwrap();
            let _ = std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir(&file));
            make(&file, &other);
            assert!(!append(work.path(), inside, "table\n"));
            assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
        }
    }

    #[test]
    fn a_named_pipe_in_its_place_does_not_hang() {
        let (work, file) = work();
        std::fs::remove_file(&file).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(!append(work.path(), file.strip_prefix(work.path()).unwrap(), "table\n"));
    }

    #[test]
    fn a_link_in_place_of_the_directory_leads_nowhere() {
        let (work, file) = work();
        let directory = file.parent().unwrap();
        let aside = work.path().join("aside");
        std::fs::rename(directory, &aside).unwrap();
        symlink(&aside, directory).unwrap();
        assert!(!append(work.path(), file.strip_prefix(work.path()).unwrap(), "table\n"));
        assert_eq!(std::fs::read_to_string(aside.join("step_summary_1")).unwrap(), "mine\n");
    }

    #[test]
    fn a_file_of_another_user_is_left_alone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (work, file) = work();
        std::os::unix::fs::chown(&file, Some(1001), None).unwrap();
        assert!(!append(work.path(), file.strip_prefix(work.path()).unwrap(), "table\n"));
    }

    #[test]
    fn a_summary_does_not_grow_past_what_the_runner_takes() {
        let (work, file) = work();
        let full = vec![b'x'; 1 << 20];
        std::fs::write(&file, &full).unwrap();
        assert!(!append(work.path(), file.strip_prefix(work.path()).unwrap(), "table\n"));
        assert_eq!(std::fs::read(&file).unwrap().len(), full.len());
    }
}
