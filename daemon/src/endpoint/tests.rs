//! Against registries on loopback: what a build needs, and what a hostile RUN tries.

mod attacks;
mod cache;
mod layers;
mod pulls;
mod pushes;
mod silences;
mod tags;
mod upstream;

use std::sync::Arc;

use tokio::net::TcpListener;

use super::config::{ADDRESS, AllowedImage, EndpointConfig, Place};
use super::server::{Endpoint, accept};
use super::upstream::Registries;
use crate::registry::client::{ClientOptions, Limits, RegistryClient, fake};
use crate::registry::credentials::Credentials;

/// Where the tests' build pushes to.
const OWN: &str = "/v2/push/org/hookd/build";
/// Where it pulls from.
const BUSYBOX: &str = "/v2/pull/index.docker.io/library/busybox";

fn place(registry: &str, repository: &str) -> Place {
    Place { registry: registry.to_owned(), repository: repository.to_owned() }
}

/// The settings of a build that pushes to `push`, and pulls busybox:1 from these registries.
fn settings(push: &str, pulls: &[&str]) -> EndpointConfig {
    let image = AllowedImage {
        registry: "index.docker.io".into(),
        path: "pull/index.docker.io/library/busybox".into(),
        version: "1".into(),
        digest: None,
        sources: pulls.iter().map(|host| place(host, "library/busybox")).collect(),
    };
    EndpointConfig {
        address: ADDRESS.to_owned(),
        key: None,
        push: Some(place(push, "org/hookd/build")),
        tag: "s1".into(),
        images: vec![image],
        cache: None,
        insecure: [&[push], pulls].concat().iter().map(|host| (*host).to_owned()).collect(),
        credentials: true,
        authority: false,
        tls: Vec::new(),
    }
}

/// A manifest that a builder may push.
fn pushed() -> String {
    let config = fake::descriptor("application/vnd.oci.image.config.v1+json", b"{}", "");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#)
}

/// Starts an endpoint with a password for these hosts; its address.
async fn started(config: EndpointConfig, hosts: &[&str]) -> String {
    started_waiting(config, hosts, Limits::default()).await
}

/// As [`started`], for an endpoint that waits so long for registries.
async fn started_waiting(config: EndpointConfig, hosts: &[&str], limits: Limits) -> String {
    let auths: serde_json::Map<_, _> = hosts
        .iter()
        .map(|host| ((*host).to_owned(), serde_json::json!({"username": "u", "password": "p"})))
        .collect();
    let file = serde_json::json!({ "auths": auths }).to_string();
    let credentials = Credentials::of_docker_config(file.as_bytes());
    let insecure = config.insecure.clone();
    let client = RegistryClient::new(&ClientOptions { insecure, tls: Vec::new() }).unwrap();
    let registries = Registries { client: client.waiting(limits), credentials };
    let endpoint = Arc::new(Endpoint::new(config, registries).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(accept(listener, endpoint));
    address
}
