//! The work volume of a runner pod: this machine has it in a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use fake_runner::layout::guid;
use fake_runner::{Step, Uses, WorkDir};

use crate::runner::RunnerPod;

/// The work directory as the runner calls it.
pub const WORK: &str = "/home/runner/_work";
/// The workspace as the runner calls it.
pub const WORKSPACE: &str = "/home/runner/_work/demo/demo";
/// User and group of the runner.
pub const RUNNER_ID: u32 = 1001;

impl RunnerPod {
    /// Where this machine has what the runner calls `path`.
    pub fn local(&self, path: &str) -> PathBuf {
        WorkDir::new(WORK, &self.volume).local(path)
    }

    /// Where this machine has a file of the workspace.
    pub fn workspace(&self, name: &str) -> PathBuf {
        self.local(WORKSPACE).join(name)
    }

    /// Writes a file that the runner calls `path`; one that starts with "#!" is made executable.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let (path, content) = (self.local(path), content.as_ref());
        self.make_folder(path.parent().unwrap());
        fs::write(&path, content).unwrap();
        let mode = if content.starts_with(b"#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
    }

    /// Lets every user write to what the runner calls `path`.
    pub fn open(&self, path: &str) {
        fs::set_permissions(self.local(path), fs::Permissions::from_mode(0o777)).unwrap();
    }

    fn make_folder(&self, path: &Path) {
        if !path.is_dir() {
            self.make_folder(path.parent().unwrap());
            // Another thread may have made it.
            fs::create_dir_all(path).unwrap();
            chown(path, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
        }
    }

    /// Puts an action where the runner downloads actions to; a step that uses it.
    pub fn action(&self, name: &str, files: &[(&str, &str)]) -> Step {
        for (file, content) in files {
            self.write(&format!("{WORK}/_actions/test/{name}/v1/{file}"), content);
        }
        Step::new(format!("test/{name}@v1").parse::<Uses>().unwrap())
    }

    /// A step that runs a shell script in busybox.
    pub fn script(&self, script: &str) -> Step {
        let name = format!("script-{}", &guid().unwrap()[..8]);
        self.write(&format!("{WORKSPACE}/{name}"), script);
        let action = format!(
            "runs:\n  using: docker\n  image: docker://busybox:1\n  entrypoint: /bin/sh\n  \
             args: [/github/workspace/{name}]\n"
        );
        self.action(&name, &[("action.yml", &action)])
    }
}
