use super::*;

#[tokio::test(start_paused = true)]
#[should_panic(expected = "not expected: GET /api/v1/namespaces/ns/pods/p with query")]
async fn a_request_that_the_script_does_not_expect_fails_the_test() {
    let api = ApiServer::expecting([]);
    let _ = api.during(api.cluster().pods().get("p")).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "did not come: DELETE /api/v1/namespaces/ns/pods/p")]
async fn an_expected_request_that_does_not_come_fails_the_test() {
    drop(ApiServer::expecting([delete("/api/v1/namespaces/ns/pods/p")]));
}

#[test]
fn a_body_has_at_least_the_fields_that_are_expected() {
    let body = json!({"a": {"b": 1, "c": [2]}, "d": 3});
    assert!(has(&body, &json!({"a": {"c": [2]}})) && has(&body, &json!({})));
    assert!(!has(&body, &json!({"a": {"b": 2}})) && !has(&body, &json!({"e": {"f": 1}})));
}
