//! Tags that are asked for more than once.

use super::*;

#[tokio::test]
async fn a_registry_that_answers_no_more_is_not_asked_for_all() {
    let over = hours(-6 * 24);
    let tags: Vec<_> = (0..2000).map(|number| format!("step_s{number}_d_{over}")).collect();
    let tags: Vec<_> = tags.iter().map(|tag| (&**tag, "")).collect();
    let body = serde_json::json!({"tags": tags.iter().map(|(tag, _)| tag).collect::<Vec<_>>()});
    let body = body.to_string();
    let registry = FakeRegistry::start(move |_, arrived| match arrived.path.contains("/tags/") {
        true => Reply::ok(body.clone()),
        false => Reply::new(503, ""),
    });
    let error = collect(&registry, false).await.unwrap_err();
    assert!(matches!(error, GcError::Incomplete { failed: 2000, all: 2000 }), "{error}");
    let asked = registry.arrived().len();
    assert!((200..300).contains(&asked), "{asked} requests");
}

#[tokio::test]
async fn a_listed_tag_that_stays_away_keeps_no_image() {
    let over = key(1, hours(-6 * 24));
    let (registry, deleted) =
        failing_registry(&[(&over, "over"), ("release", "over")], 202, |path, _| {
            (path == "manifests/release").then_some(404)
        });
    collect(&registry, false).await.unwrap();
    assert_eq!(*deleted.lock().unwrap(), [format!("manifests/{}", digest("over"))]);
    let asked = registry.arrived();
    let asked = asked.iter().filter(|one| one.path.ends_with("/manifests/release"));
    assert_eq!(asked.count(), 4);
}

#[tokio::test]
async fn a_tag_that_is_away_counts_as_unread_where_most_are() {
    let over = hours(-6 * 24);
    let mut names: Vec<_> = (0..200).map(|number| format!("step_s{number}_d_{over}")).collect();
    names.push("release".to_owned());
    let body = serde_json::json!({ "tags": names }).to_string();
    let registry = FakeRegistry::start(move |_, arrived| match &*arrived.path {
        path if path.contains("/tags/") => Reply::ok(body.clone()),
        path if path.ends_with("/release") => Reply::new(404, ""),
        _ => Reply::new(503, ""),
    });
    let error = collect(&registry, false).await.unwrap_err();
    let GcError::UnreadTag { tag, unread, .. } = error else { panic!("{error}") };
    assert_eq!((&*tag, unread), ("release", 201));
}
