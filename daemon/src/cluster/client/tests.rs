//! What errors mean, and what becomes of headers.

use kube::core::Status;

use super::*;
use crate::error::Reason;

fn api(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::default() }))
}

#[test]
fn each_refusal_has_its_own_reason() {
    for (code, message, reason) in [
        (403, "pods \"x\" is forbidden: exceeded quota: q", Reason::QuotaExceeded),
        (403, "pods \"x\" is forbidden: violates PodSecurity \"b\"", Reason::AdmissionDenied),
        (403, "User \"u\" cannot create resource \"jobs\" in", Reason::PermissionMissing),
        (422, "Job.batch \"x\" is invalid", Reason::InvalidInput),
    ] {
        let failure =
            Failure::from(ClusterError::from_request("create Job ns/x", api(code, message)));
        assert_eq!(failure.reason, reason, "{message}");
        assert!(failure.message.contains("create Job ns/x"), "{failure}");
        assert!(failure.message.contains(message), "{failure}");
    }
}

/// Code and Status of what the client makes of an answer.
async fn answered(code: u16, (name, value): (&str, &str)) -> (u16, Option<Status>) {
    use http_body_util::BodyExt;
    let response = Response::builder().status(code).header(name, value);
    let answer = as_the_server_would(response.body(Full::from("some text")).unwrap());
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).ok())
}

#[tokio::test]
async fn a_retry_after_header_is_part_of_the_error() {
    for (code, header, expected) in
        [(429, "7", Some(7)), (503, "2", Some(2)), (429, "soon", None), (200, "7", None)]
    {
        let (_, status) = answered(code, ("Retry-After", header)).await;
        let seconds = status.map(|status| status.details.unwrap().retry_after_seconds);
        assert_eq!(seconds, expected, "{code} {header}");
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_no_answer() {
    let (code, status) = answered(200, ("Content-Type", "text/html; charset=utf-8")).await;
    assert_eq!((code, status.unwrap().code), (502, 502));
    assert_eq!(answered(200, ("Content-Type", "text/plain")).await, (200, None));
    assert_eq!(answered(403, ("Content-Type", "text/html")).await, (403, None));
}

#[test]
fn a_watch_that_is_silent_is_given_up_and_a_log_is_not() {
    for (path, limit) in [
        ("/api/v1/namespaces/ns/pods/p/log", Duration::MAX),
        ("/api/v1/namespaces/ns/pods", IDLE),
        ("/api/v1/namespaces/log/pods/log", IDLE),
    ] {
        assert_eq!(idle_limit(path), limit, "{path}");
    }
}
