//! Puts hook, hook.sh and hook.js into the directory that the runner container sees.

use std::io;
use std::path::{Path, PathBuf};

use crate::beneath::Tree;

/// The runner starts `bash -e hook.sh`. It finds bash on a PATH that the job controls, so from
/// here on nothing is looked up; `exec` lets the runner's signals reach hook itself.
const HOOK_SH: &str = "\
# Starts hook; made by hookd.
PATH=/usr/bin:/bin
exec \"${0%/*}/hook\"
";

/// The runner starts `externals/node20/bin/node hook.js`, by an absolute path: nothing that a job
/// puts on PATH gets in between.
const HOOK_JS: &str = "\
// Starts hook; made by hookd.
const { spawn } = require('child_process');
const hook = spawn(__dirname + '/hook', [], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => hook.kill(signal));
hook.on('error', (error) => {
  console.log(`::error title=hook::${error.message}`);
  process.exit(1);
});
hook.on('exit', (code, signal) => process.exit(signal ? 1 : code));
";

/// A file of the hook cannot be installed.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} cannot be installed: its directory must be a writable volume")]
pub struct InstallError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl InstallError {
    /// What the file system answered.
    pub fn into_cause(self) -> io::Error {
        self.source
    }
}

/// Installs the files. The hook binary is taken from beside hookd's own.
///
/// # Errors
/// See [`InstallError`].
pub fn install(directory: &Path) -> Result<(), InstallError> {
    let failed = |path: &Path, source| InstallError { path: path.to_owned(), source };
    let own = std::env::current_exe().map_err(|error| failed(directory, error))?;
    let hook = own.with_file_name("hook");
    let hook = std::fs::read(&hook).map_err(|error| failed(&hook, error))?;
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    // The binary first: a caller that sees hook.sh finds it.
    for (name, content, mode) in [
        ("hook", hook.as_slice(), 0o755),
        ("hook.js", HOOK_JS.as_bytes(), 0o644),
        ("hook.sh", HOOK_SH.as_bytes(), 0o755),
    ] {
        let put = Tree::open(directory).and_then(|tree| tree.put(name, content, mode));
        put.map_err(|error| failed(&directory.join(name), error.into()))?;
    }
    Ok(())
}

/// Copies stepd, which lies beside hookd, into a directory that no job can write to.
///
/// # Errors
/// See [`InstallError`].
pub fn stepd_into(directory: &Path) -> Result<(), InstallError> {
    let failed = |path: &Path, source| InstallError { path: path.to_owned(), source };
    let content = stepd_for(directory)?;
    let put = Tree::open(directory).and_then(|tree| tree.put("stepd", &content, 0o755));
    put.map_err(|error| failed(&directory.join("stepd"), error.into()))
}

/// Copies stepd, which lies beside hookd, into the directory `name` of the work directory, from which
/// an init container takes it. Whatever a job has put there is not followed.
///
/// # Errors
/// See [`InstallError`].
pub fn copy_stepd(work_dir: &Path, name: &str) -> Result<(), InstallError> {
    let failed = |path: &Path, source| InstallError { path: path.to_owned(), source };
    let content = stepd_for(work_dir)?;
    let installed =
        Tree::open(work_dir).and_then(|work| work.install(name, "stepd", &content, 0o755));
    installed.map_err(|error| failed(&work_dir.join(name).join("stepd"), error.into()))
}

/// stepd's program, which lies beside hookd, for a directory.
fn stepd_for(directory: &Path) -> Result<Vec<u8>, InstallError> {
    let failed = |path: &Path, source| InstallError { path: path.to_owned(), source };
    let own = std::env::current_exe().map_err(|error| failed(directory, error))?;
    let stepd = own.with_file_name("stepd");
    std::fs::read(&stepd).map_err(|error| failed(&stepd, error))
}
