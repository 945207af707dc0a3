//! Puts hook, hook.sh and hook.js into the directory that the runner container sees.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    // The binary first: whoever sees hook.sh finds it.
    for (name, content, mode) in [
        ("hook", hook.as_slice(), 0o755),
        ("hook.js", HOOK_JS.as_bytes(), 0o644),
        ("hook.sh", HOOK_SH.as_bytes(), 0o755),
    ] {
        let path = directory.join(name);
        put(&path, content, mode).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Copies stepd, which lies beside hookd, into a directory of the work volume, from which an init
/// container takes it.
///
/// # Errors
/// See [`InstallError`].
pub fn copy_stepd(directory: &Path) -> Result<(), InstallError> {
    let failed = |path: &Path, source| InstallError { path: path.to_owned(), source };
    let own = std::env::current_exe().map_err(|error| failed(directory, error))?;
    let stepd = own.with_file_name("stepd");
    let content = std::fs::read(&stepd).map_err(|error| failed(&stepd, error))?;
    // Whatever an earlier job has put there is not followed.
    if std::fs::symlink_metadata(directory).is_ok_and(|found| !found.is_dir()) {
        std::fs::remove_file(directory).map_err(|error| failed(directory, error))?;
    }
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let path = directory.join("stepd");
    put(&path, &content, 0o755).map_err(|error| failed(&path, error))
}

/// Writes and renames: a file in use is never written to.
fn put(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, content)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&new, path)
}
