//! Whether the namespace lets anybody create a privileged pod.
//!
//! hookd refuses options that weaken a container's isolation, but others who may create pods in the
//! namespace are bound by its Pod Security level alone. hookd cannot read the namespace's labels (it
//! is no object within the namespace), so it asks the API server to check a privileged pod without
//! creating it.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::objects::step_job;
use crate::runner::Runner;

/// Logs a warning if no admission check refuses a privileged container. One request, which changes
/// nothing.
pub async fn warn_if_unenforced(client: &Client, runner: &Runner) {
    match ask(client, runner).await {
        Ok(_) => tracing::warn!(
            namespace = runner.namespace,
            "The namespace enforces no Pod Security level: every account that may create pods in it can \
             create privileged ones. Label it with pod-security.kubernetes.io/enforce=baseline \
             (docs/operations.md)"
        ),
        // Pod Security, a policy, or a webhook; or no answer, of which nothing follows.
        Err(error) => tracing::debug!(%error, "a privileged pod would be refused"),
    }
}

/// What the API server says of a privileged pod, or where jobs run in the runner pod of such a container
/// in it: hookd may not ask for a pod there.
///
/// # Errors
/// The refusal, of Pod Security or of another; an API that does not answer.
pub async fn ask(client: &Client, runner: &Runner) -> kube::Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &runner.namespace);
    let pod = privileged(runner);
    if runner.job_volumes.is_none() {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        return pods.create(&dry_run, &pod).await;
    }
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": containers}}));
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    pods.patch_ephemeral_containers(&runner.name, &dry_run, &patch).await
}

fn privileged(runner: &Runner) -> Pod {
    let container = Container {
        name: "privileged".to_owned(),
        image: Some(runner.hookd_image.clone()),
        security_context: Some(SecurityContext {
            privileged: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    };
    let mut pod = Pod {
        spec: Some(PodSpec { containers: vec![container], ..step_job::base_pod() }),
        ..Pod::default()
    };
    pod.metadata.generate_name = Some("hookd-pod-security-".to_owned());
    pod.metadata.namespace = Some(runner.namespace.clone());
    pod
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::runner::job_volumes::JobVolumes;

    /// The request that is made of an API server that answers with `status` and `body`.
    async fn asked(status: u16, body: &'static str, runner: &Runner) -> String {
        let (sent, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let sent = sent.clone();
            async move {
                let _ = sent.send(format!("{} {}", request.method(), request.uri()));
                let response = Response::builder().status(status);
                Ok::<_, std::io::Error>(
                    response.body(Body::from(body.as_bytes().to_vec())).unwrap(),
                )
            }
        });
        let client = Client::new(service, "ns");
        warn_if_unenforced(&client, runner).await;
        let request = seen.recv().await.unwrap();
        assert!(seen.try_recv().is_err(), "asked once");
        request
    }

    #[tokio::test]
    async fn the_check_creates_nothing_and_is_made_once() {
        let refused = r#"{"kind":"Status","status":"Failure","code":403,
            "message":"violates PodSecurity"}"#;
        let own = Runner { name: "r".into(), namespace: "ns".into(), ..Runner::default() };
        let here = Runner { job_volumes: Some(Ok(JobVolumes::default())), ..own.clone() };
        for (status, body) in [(403, refused), (201, r#"{"metadata":{}}"#), (500, "")] {
            let request = asked(status, body, &own).await;
            assert_eq!(request, "POST /api/v1/namespaces/ns/pods?&dryRun=All");
            let request = asked(status, body, &here).await;
            let expected = "PATCH /api/v1/namespaces/ns/pods/r/ephemeralcontainers?&dryRun=All";
            assert_eq!(request, expected);
        }
    }

    #[test]
    fn the_pod_that_is_checked_is_privileged() {
        let pod = privileged(&Runner::default());
        let context = pod.spec.unwrap().containers.remove(0).security_context.unwrap();
        assert_eq!(context.privileged, Some(true));
    }
}
