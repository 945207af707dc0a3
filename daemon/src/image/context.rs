//! STUB
use std::path::{Path, PathBuf};
/// E
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// o
    #[error("o")]
    Output { /// s
        source: std::io::Error },
}
impl ContextError { /// r
pub fn remedy(&self) -> String { String::new() } }
/// C
#[derive(Debug)]
pub struct BuildContext;
/// s
#[derive(Debug)]
pub struct ContextSummary;
impl BuildContext {
    /// n
    pub fn dockerfile_name(&self) -> &str { "Dockerfile" }
    /// w
    pub fn write_tar_gz<W: std::io::Write>(&self, _out: W, _max: u64) -> Result<ContextSummary, ContextError> { Ok(ContextSummary) }
}
/// o
pub fn open(_roots: &[PathBuf], _dockerfile: &Path) -> Result<BuildContext, ContextError> { Ok(BuildContext) }
