//! The response file: where the runner reads what a command that succeeded has to say.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hookd_api::v1::{JobPrepared, PreparedContainer};
use rustix::fs::OFlags;
use serde_json::{Map, Value, json};

use crate::report::Explain;
use crate::step::id;

/// What the runner gets.
#[derive(Debug, PartialEq)]
pub(crate) struct Response(Value);

impl Response {
    /// An object without `state`: the runner keeps the state that it has.
    pub(crate) fn empty() -> Self {
        Self(json!({}))
    }

    /// The job's containers. The runner reads services by their index, and fails on a service
    /// without `ports`, on services that are null, and on a container that the job has not.
    pub(crate) fn for_job(job: &JobPrepared) -> Self {
        let mut context = Map::new();
        let mut response = json!({});
        if !job.job_pod.is_empty() {
            response["state"] = json!({"jobPod": job.job_pod});
        }
        if let Some(container) = &job.container {
            context.insert("container".to_owned(), in_context(container));
            response["isAlpine"] = job.is_alpine.into();
        }
        let services = job.services.iter().map(in_context).collect();
        context.insert("services".to_owned(), Value::Array(services));
        response["context"] = Value::Object(context);
        Self(response)
    }
}

/// A container as the workflow's contexts show it.
fn in_context(container: &PreparedContainer) -> Value {
    json!({"id": container.id, "network": container.network, "ports": container.ports})
}

/// The response file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("The response file {path} cannot be written")]
pub(crate) struct ResponseError {
    /// The file that the runner named.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// Looks whether the response will be writable, before anything is made for it. The runner has made
/// the file; one that is not there is made and removed.
pub(crate) fn check(path: &Path) -> Result<(), ResponseError> {
    let opened = match regular_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::File::create_new(path).and_then(|_| fs::remove_file(path))
        }
        opened => opened.map(drop),
    };
    opened.map_err(|source| ResponseError { path: path.to_owned(), source })
}

/// Writes the response to `path`, at once: a reader sees the old content or all of the new.
pub(crate) fn write(path: &Path, response: &Response) -> Result<(), ResponseError> {
    let content = response.0.to_string();
    // Where no file can be made or replaced, the runner's own file may still be writable.
    replace(path, &content)
        .or_else(|_| overwrite(path, &content))
        .map_err(|source| ResponseError { path: path.to_owned(), source })
}

/// Writes a file beside `path` and renames it over `path`. The job can write to the directory: the
/// file has a name that it cannot know, and is one that did not exist.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".hook-{}", id::fresh()?));
    let beside = path.with_file_name(name);
    let mut file = fs::File::create_new(&beside)?;
    let written = file.write_all(content.as_bytes());
    let replaced = written.and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // Best effort: the error that matters is already known.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

fn overwrite(path: &Path, content: &str) -> io::Result<()> {
    let mut file = regular_file(path)?;
    file.set_len(0)?;
    file.write_all(content.as_bytes())
}

/// Opens a file to write to it. The job may have put a symlink to a file of the runner container in
/// its place, which is not followed, or a named pipe, which does not hold hook up.
fn regular_file(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        fs::OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is not a regular file"))
}

impl Explain for ResponseError {
    fn title(&self) -> String {
        "The response file cannot be written".to_owned()
    }

    fn remedy(&self) -> String {
        let remedy = match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "Free space and inodes on the runner's work volume, or enlarge it; run the job again"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "Find out why the runner's work volume is read-only: its mount options, or the log of \
                 the node's kernel after an error of the storage; run the job again"
            }
            _ => {
                "Check that the runner's temporary directory exists, has space left and is writable for \
                 the user of the runner"
            }
        };
        remedy.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_replaces_what_the_file_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        fs::write(&path, "something longer than the response").unwrap();
        write(&path, &Response::empty()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_job_with_services_only_answers_no_container() {
        let service = PreparedContainer {
            id: "redis".to_owned(),
            network: "pod".to_owned(),
            ports: [("6379".to_owned(), "6379".to_owned())].into(),
        };
        let bare = PreparedContainer { id: "db".to_owned(), ..PreparedContainer::default() };
        let job = JobPrepared {
            job_pod: "pod".to_owned(),
            services: vec![service, bare],
            ..JobPrepared::default()
        };
        let services = json!([{"id": "redis", "network": "pod", "ports": {"6379": "6379"}},
            {"id": "db", "network": "", "ports": {}}]);
        let expected = json!({"state": {"jobPod": "pod"}, "context": {"services": services}});
        assert_eq!(Response::for_job(&job), Response(expected));
    }

    #[test]
    fn a_job_container_comes_with_the_answer_whether_it_is_alpine() {
        let container = PreparedContainer { id: "job".to_owned(), ..PreparedContainer::default() };
        let job = JobPrepared { container: Some(container), ..JobPrepared::default() };
        let Response(response) = Response::for_job(&job);
        assert_eq!(response["isAlpine"], false);
        assert_eq!(response["context"]["container"]["id"], "job");
        assert_eq!(response["context"]["services"], json!([]));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        fs::write(&path, "something longer than the response").unwrap();
        overwrite(&path, "{}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
    }

    #[test]
    fn no_file_outside_is_written_through_a_jobs_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("r.json"), directory.path().join("other"));
        fs::write(&other, "the runner's own").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(check(&path).is_err());
        assert!(overwrite(&path, "{}").is_err());
        // The link itself is replaced.
        write(&path, &Response::empty()).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"the runner's own");
        assert_eq!(fs::read(&path).unwrap(), b"{}");
    }

    #[test]
    fn a_named_pipe_in_place_of_the_file_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        assert!(check(&path).is_err());
        assert!(overwrite(&path, "{}").is_err());
    }

    #[test]
    fn a_volume_that_takes_no_response_has_a_remedy_of_its_own() {
        for (errno, words, remedy) in [
            (rustix::io::Errno::NOSPC, "No space left on device", "Free space"),
            // Its text is not the same with each C library.
            (rustix::io::Errno::DQUOT, "(os error 122)", "Free space"),
            (rustix::io::Errno::ROFS, "Read-only file system", "is read-only"),
            (rustix::io::Errno::ACCESS, "Permission denied", "is writable"),
        ] {
            let error =
                ResponseError { path: "/home/runner/_work/r.json".into(), source: errno.into() };
            let line = crate::report::annotation(&error);
            for expected in ["/home/runner/_work/r.json", words, remedy] {
                assert!(line.contains(expected), "{expected} is not in {line}");
            }
        }
    }

    #[test]
    fn an_unwritable_response_names_the_path() {
        let error = write(Path::new("/nonexistent/r.json"), &Response::empty()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/r.json"));
    }
}
