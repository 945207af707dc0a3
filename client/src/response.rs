//! The response file: where the runner reads what a command that succeeded has to say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hookd_api::v1::{JobPrepared, PreparedContainer};
use serde_json::{Map, Value, json};

use crate::report::Explain;

/// What the runner is told.
#[derive(Debug, PartialEq)]
pub(crate) struct Response(Value);

impl Response {
    /// An object without `state`: the runner keeps the state that it has.
    pub(crate) fn empty() -> Self {
        Self(json!({}))
    }

    /// The job's containers. The runner reads services by their index, and fails on a service
    /// without `ports`, on services that are null, and on a container that the job has not.
    pub(crate) fn of_job(job: &JobPrepared) -> Self {
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
    let opened = match fs::OpenOptions::new().append(true).open(path) {
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
        .or_else(|_| fs::write(path, &content))
        .map_err(|source| ResponseError { path: path.to_owned(), source })
}

/// Writes a file beside `path` and renames it over `path`.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".hook-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let replaced = fs::write(&beside, content).and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // Best effort: the error that matters is already known.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

impl Explain for ResponseError {
    fn title(&self) -> String {
        "The response file cannot be written".to_owned()
    }

    fn remedy(&self) -> String {
        "Check that the runner's temporary directory exists, has space left and is writable for the \
         user of the runner"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_replaces_what_the_file_held_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        fs::write(&path, "something longer than the response").unwrap();
        write(&path, &Response::empty()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_job_with_services_only_answers_no_container_and_all_services_with_ports() {
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
        assert_eq!(Response::of_job(&job), Response(expected));
    }

    #[test]
    fn a_job_container_comes_with_the_answer_whether_it_is_alpine() {
        let container = PreparedContainer { id: "job".to_owned(), ..PreparedContainer::default() };
        let job = JobPrepared { container: Some(container), ..JobPrepared::default() };
        let Response(response) = Response::of_job(&job);
        assert_eq!(response["isAlpine"], false);
        assert_eq!(response["context"]["container"]["id"], "job");
        assert_eq!(response["context"]["services"], json!([]));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        let taken = directory.path().join(format!("r.json.hook-{}", std::process::id()));
        fs::create_dir(taken).unwrap();
        write(&path, &Response::empty()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
    }

    #[test]
    fn an_unwritable_response_names_the_path() {
        let error = write(Path::new("/nonexistent/r.json"), &Response::empty()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/r.json"));
    }
}
