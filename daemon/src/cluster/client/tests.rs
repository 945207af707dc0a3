//! What errors mean, and what becomes of headers.

use super::*;

fn api(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::default() }))
}

#[test]
fn each_refusal_has_its_own_reason() {
    for (code, words, reason) in [
        (403, "pods \"x\" is forbidden: exceeded quota: q", Reason::QuotaExceeded),
        (403, "pods \"x\" is forbidden: violates PodSecurity \"b\"", Reason::AdmissionDenied),
        (403, "User \"u\" cannot create resource \"jobs\"", Reason::PermissionMissing),
        (422, "Job.batch \"x\" is invalid", Reason::InvalidInput),
    ] {
        let failure = failure("create Job ns/x", api(code, words));
        assert_eq!(failure.reason, reason, "{words}");
        assert!(failure.message.contains("create Job ns/x"), "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn a_retry_after_header_is_part_of_the_error() {
    use http_body_util::BodyExt;
    for (code, header, expected) in [(429, "7", 7), (503, "2", 2), (429, "soon", 0), (200, "7", 0)]
    {
        let response = Response::builder().status(code).header("Retry-After", header);
        let answer = with_retry_after(response.body(Full::from("too many")).unwrap());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let status: Status = serde_json::from_slice(&body).unwrap_or_default();
        let seconds = status.details.map(|details| details.retry_after_seconds);
        assert_eq!(seconds.unwrap_or_default(), expected, "{code} {header}");
    }
}
