//! The repository of cached layers.

use super::*;
use crate::endpoint::cache::LayerCache;
use crate::endpoint::push::{MOST_TAGS, Pushes};
use crate::registry::client::fake::{FakeRegistry, Reply};
use crate::registry::digest::digest_of;

const PATH: &str = "/v2/cache/org/cache";

fn name() -> String {
    "3f".repeat(32)
}

/// A registry that has these, and takes all.
async fn caching(all: std::collections::HashMap<String, Reply>) -> (FakeRegistry, String) {
    let registry = FakeRegistry::start(move |host, arrived| match arrived.method.as_str() {
        "GET" | "HEAD" => {
            let tag = arrived.path.contains("/manifests/layer_");
            let path = if tag { "/v2/org/cache/manifests/1" } else { arrived.path.as_str() };
            all.get(path).cloned().unwrap_or_else(|| Reply::new(404, ""))
        }
        "POST" => Reply::new(202, "").with(format!("location: http://{host}/upload")),
        _ => Reply::new(201, ""),
    });
    let mut config = settings(&registry.host, &[&registry.host]);
    let place = place(&registry.host, "org/cache");
    config.cache = Some(LayerCache { place, scope: "scope".into(), max_age: 3600 });
    let address = started(config, &[]).await;
    (registry, address)
}

async fn status(address: &str, method: &str, path: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = client.request(method, format!("http://{address}{path}"));
    request.header("host", ADDRESS).body(pushed()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_layer_is_found_and_left_under_a_name_of_the_scope() {
    let (all, _) = fake::image("org/cache", "{}");
    let (registry, address) = caching(all).await;
    let path = format!("{PATH}/manifests/{}", name());
    assert_eq!(status(&address, "GET", &path).await, 200);
    assert_eq!(status(&address, "PUT", &path).await, 201);
    let asked: Vec<_> = registry.arrived().into_iter().map(|one| one.path).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].starts_with("/v2/org/cache/manifests/layer_"), "{asked:?}");
    assert!(!asked[0].contains(&name()) && asked[0] == asked[1], "{asked:?}");
    assert_eq!(status(&address, "POST", &format!("{PATH}/blobs/uploads/")).await, 202);
}

#[tokio::test]
async fn nothing_but_layers_is_reached_through_the_cache() {
    let (all, digest) = fake::image("org/cache", "{}");
    let (registry, address) = caching(all).await;
    for (method, path) in [
        ("PUT", format!("{PATH}/manifests/latest")),
        ("PUT", format!("{PATH}/manifests/key_{}_1", name())),
        ("GET", format!("{PATH}/manifests/s1")),
        ("GET", format!("{PATH}/manifests/{digest}")),
        ("GET", format!("{PATH}/blobs/{digest}")),
        ("PUT", format!("/v2/cache/org/other/manifests/{}", name())),
        ("GET", format!("/v2/push/org/cache/manifests/{}", name())),
    ] {
        assert_eq!(status(&address, method, &path).await, 403, "{method} {path}");
    }
    assert_eq!(status(&address, "DELETE", &format!("{PATH}/manifests/{}", name())).await, 405);
    assert!(registry.arrived().is_empty());
}

#[test]
fn a_build_sets_so_many_tags_and_no_more() {
    let pushes = Pushes::new("cache/org/cache".to_owned());
    for number in 0..MOST_TAGS {
        pushes.name(&format!("layer_{number}")).unwrap();
    }
    assert_eq!(pushes.name("layer_x").unwrap_err().code, "DENIED");
    // What it has set before it may set again, and a digest is no tag.
    pushes.name("layer_7").unwrap();
    pushes.name(&digest_of(b"layer")).unwrap();
}

#[tokio::test]
async fn a_build_without_a_cache_reaches_none() {
    let registry = FakeRegistry::start(|_, _| Reply::new(200, "{}"));
    let address = started(settings(&registry.host, &[&registry.host]), &[]).await;
    assert_eq!(status(&address, "GET", &format!("{PATH}/manifests/{}", name())).await, 403);
    assert!(registry.arrived().is_empty());
}
