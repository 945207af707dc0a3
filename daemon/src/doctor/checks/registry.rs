//! The registry of built images: its push and its pull, as far as a dry run goes.

use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode};

use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::report;
use crate::registry::client::{Access, RegistryError, Request, Session, Target};
use crate::registry::credentials::Credentials;
use crate::registry::destination::{self, Destination};
use crate::registry::reference::Reference;

use super::{lookup, or_return, registry_node};

/// For all requests of a check.
const ANSWER: Duration = Duration::from_secs(4);
/// A tag that no build gives an image.
const TAG: &str = "hookd-doctor";

/// The place of built images.
fn destination(facts: &Facts) -> Result<Destination, Outcome> {
    facts.cluster()?;
    let none = |_| Outcome::skipped("no registry is configured for built images");
    destination::of_tag(&facts.config.registry, TAG).map_err(none)
}

/// As builds push: with the Secret of the setting alone.
fn opened(facts: &Facts, destination: &Destination) -> Result<Session, Outcome> {
    let (repository, _) = destination.repository_and_tag();
    let host = &destination.push_host;
    let user = Credentials::find(&facts.of_registry.found, host, repository).cloned();
    facts
        .registries(None)
        .and_then(|client| client.session(host, repository, user, Access::Push))
        .map_err(|error| failed(facts, &error))
}

/// An upload can be begun; it is cancelled at once.
pub(super) async fn push(facts: &Facts) -> Outcome {
    let destination = or_return!(destination(facts));
    let session = or_return!(opened(facts, &destination));
    let (repository, _) = destination.repository_and_tag();
    let place = format!("{}/{repository}", destination.push_host);
    let begun = tokio::time::timeout(ANSWER, upload(&session)).await;
    let status = match begun.unwrap_or_else(|_| Err(timeout(&session))) {
        Ok(status) => status,
        Err(RegistryError::Refused { status, .. }) => status,
        Err(error) => return failed(facts, &error),
    };
    let cause = format!("{} answers {status} to a push", destination.push_host);
    let credentials = "Let ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET name a Secret with credentials that may \
                       push to this repository";
    match status {
        StatusCode::ACCEPTED | StatusCode::CREATED => Outcome::ok(format!("{place} takes a push")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => match &facts.of_registry.unread[..] {
            [] => Outcome::failure(format!("{place} refuses a push"), cause, credentials),
            [secret, ..] => Outcome::warning(
                format!("it is not known whether builds may push to {place}"),
                format!("{cause}; hookd may not read the Secret {secret}"),
                "Let hookd read the Secret (deploy/rbac-registries.yaml), and see secrets",
            ),
        },
        StatusCode::NOT_FOUND => Outcome::failure(
            format!("{place} does not exist"),
            cause,
            "Create the repository where the registry does not do it on a push (ECR), or correct \
             ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and HOOKD_BUILD_REPOSITORY",
        ),
        _ => Outcome::failure(
            format!("{place} takes no push"),
            cause,
            "Check that the registry is writable (not a mirror, not in read-only mode), and that the setting \
             names a registry",
        ),
    }
}

/// Begins an upload, and cancels one that was begun.
async fn upload(session: &Session) -> Result<StatusCode, RegistryError> {
    let answer = session.send(Request::new(Method::POST, "blobs/uploads/")).await?;
    let status = answer.status();
    if let Some(location) = location(&answer).filter(|_| status.is_success()) {
        let mut cancel = Request::new(Method::DELETE, "");
        cancel.target = Target::Location(location);
        // A registry that cannot cancel forgets the upload by itself.
        let _ = session.send(cancel).await;
    }
    Ok(status)
}

fn location(answer: &Response) -> Option<String> {
    Some(answer.headers().get(LOCATION)?.to_str().ok()?.to_owned())
}

/// A manifest can be asked for, as the kubelet does for the pod that runs a built image.
pub(super) async fn pull(facts: &Facts) -> Outcome {
    let destination = or_return!(destination(facts));
    let (repository, _) = destination.repository_and_tag();
    let (push_host, nodes) = (&destination.push_host, registry_node::pull_host(&destination));
    let place = Reference {
        registry: push_host.clone(),
        repository: repository.to_owned(),
        version: TAG.to_owned(),
    };
    let known = if facts.is_in_runner_pod() { facts.of_runner.clone() } else { facts.of_pods() };
    // Credentials for the name that nodes call it by are not sent to another host.
    let sent = if nodes == push_host { &known.found[..] } else { &[] };
    let error = match lookup::digest(facts, &place, None, sent).await {
        Ok(_) => return Outcome::ok(format!("{push_host}/{repository} can be read")),
        Err(error) if lookup::is_denied(&error) => error,
        Err(error) => return failed(facts, &error),
    };
    let place = format!("{nodes}/{repository}");
    let remedy = "Let ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET name a Secret with credentials that may pull, \
                  and the runner pod's imagePullSecrets too where jobs run in it";
    match known.may_have_more(nodes, repository) {
        Some(why) => Outcome::warning(
            format!("it is not known whether nodes may read {place}"),
            format!("{error}; {why}"),
            remedy,
        ),
        None if nodes == push_host => {
            Outcome::failure(format!("{place} may not be read"), error.to_string(), remedy)
        }
        None => {
            Outcome::ok(format!("{error} without credentials, and nodes have some for {place}"))
        }
    }
}

fn timeout(session: &Session) -> RegistryError {
    RegistryError::Timeout { host: session.host().to_owned() }
}

/// What keeps a request from being answered, and which setting it is of.
fn failed(facts: &Facts, error: &RegistryError) -> Outcome {
    let whole = report(error);
    let cause = whole.strip_prefix(&error.to_string()).unwrap_or_default();
    let cause = if cause.is_empty() { whole.as_str() } else { cause.trim_start_matches(": ") };
    let remedy = if whole.contains("certificate") {
        "Let HOOKD_REGISTRY_TLS name a Secret whose ca.crt signs the registry's certificate, or set \
         HOOKD_REGISTRY_CA_FILE and HOOKD_REGISTRY_CA_CONFIGMAP (docs/building.md)"
    } else if whole.contains("InvalidContentType") || whole.contains("corrupt message") {
        "The registry speaks plain HTTP, it seems: name it, with its port, in HOOKD_INSECURE_REGISTRIES"
    } else if facts.config.registry.node_port.is_some() {
        "Correct ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and _REGISTRY_PORT: the Service of the registry \
         and its port (deploy/registry.yaml); see that its pod runs"
    } else {
        "Correct ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and _REGISTRY_PORT, and let pods of the \
         namespace reach the registry"
    };
    Outcome::failure(error.to_string(), cause, remedy)
}
