//! A cluster for tests of the daemon's edge.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};

/// A client of an API server that knows the runner's pod `r` and refuses to make anything. Needs a
/// runtime.
pub(crate) fn client() -> kube::Client {
    let service = tower::service_fn(|request: Request<kube::client::Body>| {
        let (code, body) = answer(&request);
        std::future::ready(
            Response::builder().status(code).body(Full::<Bytes>::from(body.to_string())),
        )
    });
    kube::Client::new(service, "ns")
}

fn answer(request: &Request<kube::client::Body>) -> (u16, Value) {
    let path = request.uri().path();
    match request.method().as_str() {
        _ if path.ends_with("selfsubjectrulesreviews") => {
            let status = json!({"incomplete": true, "resourceRules": [], "nonResourceRules": []});
            (
                201,
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                "metadata": {}, "spec": {}, "status": status}),
            )
        }
        _ if path == "/version" => (
            200,
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
            "platform": ""}),
        ),
        "GET" if path.ends_with("/pods/r") => (
            200,
            json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "r", "uid": "u"},
            "spec": {"initContainers": [{"name": "hookd", "image": "h", "volumeMounts": [
                {"name": "s", "mountPath": "/run/hookd"}]}],
                "containers": [{"name": "runner", "image": "r", "volumeMounts": [
                {"name": "w", "mountPath": "/w"}]}],
                "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}]}}),
        ),
        "POST" => (
            422,
            json!({"kind": "Status", "status": "Failure", "code": 422,
            "reason": "Invalid", "message": "refused by the test"}),
        ),
        _ => {
            (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}))
        }
    }
}
