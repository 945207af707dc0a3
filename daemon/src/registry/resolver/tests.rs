//! Against registries on loopback.

use super::*;
use crate::registry::client::ClientOptions;
use crate::registry::client::fake::{self, FakeRegistry, Reply};
use std::slice::from_ref;

/// With a client of its own.
struct Lookup {
    client: RegistryClient,
    resolver: ImageResolver,
}

impl Lookup {
    fn new(config: &RegistryConfig) -> Self {
        let insecure = Mirrors::new(config).insecure().to_vec();
        let options = ClientOptions { insecure, ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap();
        Self { client, resolver: ImageResolver::new(config) }
    }

    async fn find(
        &self,
        image: &str,
        own: &[Credentials],
        shared: &[Credentials],
    ) -> Option<Arc<ImageInfo>> {
        self.resolver.find(&self.client, image, own, shared).await
    }
}

fn config(json: &str) -> ImageConfig {
    serde_json::from_str(json).unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn entrypoint_cmd_and_arguments_meet_as_in_docker() {
    let both = config(r#"{"Entrypoint":["run","it"],"Cmd":["by","default"]}"#);
    let command = |config: &ImageConfig, entry, args| config.command(entry, &words(args));
    assert_eq!(command(&both, None, ""), Some(words("run it by default")));
    assert_eq!(command(&both, None, "a b"), Some(words("run it a b")));
    // An entrypoint of one's own drops the image's CMD.
    assert_eq!(command(&both, Some("/x"), ""), Some(words("/x")));
    assert_eq!(command(&both, Some("/x"), "a"), Some(words("/x a")));
    let cmd = config(r#"{"Entrypoint":null,"Cmd":["sh"]}"#);
    assert_eq!(command(&cmd, None, ""), Some(words("sh")));
    assert_eq!(command(&cmd, None, "echo x"), Some(words("echo x")));
    assert_eq!(command(&config("{}"), None, ""), None);
}

#[test]
fn a_digest_goes_behind_the_name_that_was_given() {
    assert_eq!(at_digest("busybox:1", "sha256:0"), "busybox:1@sha256:0");
    assert_eq!(at_digest("a/b@sha256:1", "sha256:0"), "a/b@sha256:1");
}

#[tokio::test]
async fn a_registry_that_is_away_costs_one_attempt() {
    let registry = RegistryConfig { insecure: vec!["localhost:1".into()], ..Default::default() };
    let lookup = Lookup::new(&registry);
    assert_eq!(lookup.find("localhost:1/a/b:1", &[], &[]).await, None);
    assert!(lock(&lookup.resolver.unreachable).contains_key("localhost:1"));
    assert_eq!(lookup.find("not a name", &[], &[]).await, None);
}

#[test]
fn a_registry_that_never_answers_is_asked_ever_more_rarely() {
    let first = UnreachableBackoff::after(None);
    let second = UnreachableBackoff::after(Some(&first));
    assert_eq!((first.length, second.length), (UNREACHABLE, UNREACHABLE * 4));
    let long = UnreachableBackoff { length: LONGEST_UNREACHABLE, ..first };
    assert_eq!(UnreachableBackoff::after(Some(&long)).length, LONGEST_UNREACHABLE);
}

/// The image `library/a` whose program is `/<name>`, with the tag `1`; and its digest.
fn image_of(name: &str) -> (FakeRegistry, String) {
    let (all, digest) = fake::image("library/a", &format!(r#"{{"Entrypoint":["/{name}"]}}"#));
    (FakeRegistry::of(all), digest)
}

fn program(info: Option<Arc<ImageInfo>>) -> Option<String> {
    info.and_then(|info| info.config.command(None, &[])).map(|command| command.join(" "))
}

/// Docker Hub is `origin`, as a map has it, or has `mirrors`.
fn lookup(origin: Option<&FakeRegistry>, mirrors: &[&FakeRegistry]) -> Lookup {
    let hosts = origin.into_iter().chain(mirrors.iter().copied());
    Lookup::new(&RegistryConfig {
        map: origin.map(|origin| format!("index.docker.io={}", origin.host)),
        insecure: hosts.map(|registry| registry.host.clone()).collect(),
        mirrors: mirrors.iter().map(|mirror| mirror.host.clone()).collect(),
        ..RegistryConfig::default()
    })
}

/// The shown attack: a mirror of 15 lines named its own program for an image's tag.
#[tokio::test]
async fn a_mirror_does_not_choose_the_program_of_a_tag() {
    let (evil, _) = image_of("evil");
    let lookup = lookup(None, &[&evil]);
    // Docker Hub itself is away.
    lock(&lookup.resolver.unreachable)
        .insert("index.docker.io".to_owned(), UnreachableBackoff::after(None));
    assert_eq!(lookup.find("a:1", &[], &[]).await, None);
    assert!(evil.arrived().is_empty());
}

#[tokio::test]
async fn a_mirror_gives_the_program_of_a_digest_if_it_has_the_bytes() {
    let (good, digest) = image_of("good");
    let (evil_documents, _) = fake::image("library/a", r#"{"Entrypoint":["/evil"]}"#);
    let evil = FakeRegistry::start(move |_, arrived| {
        let path =
            if arrived.path.contains("/manifests/") { "/v2/library/a/manifests/1" } else { "" };
        evil_documents.get(path).cloned().unwrap_or_else(|| Reply::new(404, ""))
    });
    let image = format!("a@{digest}");
    let found = lookup(None, &[&evil, &good]).find(&image, &[], &[]).await;
    assert!(!evil.arrived().is_empty());
    assert_eq!(found.as_ref().map(|info| info.reference.clone()), Some(image));
    assert_eq!(program(found), Some("/good".to_owned()));
}

/// What the kubelet runs is what was looked up, although its registry may move the tag.
#[tokio::test]
async fn a_pod_names_the_digest_that_was_verified() {
    let (origin, digest) = image_of("good");
    let found = lookup(Some(&origin), &[]).find("a:1", &[], &[]).await.unwrap();
    assert_eq!(found.reference, format!("a:1@{digest}"));
}

fn user(host: &str, name: &str) -> Credentials {
    let registry = hookd_api::v1::Registry {
        username: name.into(),
        password: "p".into(),
        server_url: host.into(),
    };
    Credentials::from_registry(&registry).unwrap()
}

/// Shows the image to user "b" only ("b:p" in base64, in lower case); all others are asked who they are.
fn private(status: u16) -> FakeRegistry {
    let (all, _) = fake::image("library/a", r#"{"Entrypoint":["/x"]}"#);
    FakeRegistry::start(move |_, arrived| {
        if arrived.headers.contains("authorization: basic yjpw") {
            return all[&arrived.path].clone();
        }
        let status = if arrived.headers.contains("authorization") { status } else { 401 };
        Reply::new(status, "").with("www-authenticate: Basic realm=\"x\"")
    })
}

#[tokio::test]
async fn a_containers_own_credentials_are_tried_first() {
    for status in [401, 403, 404] {
        let registry = private(status);
        let (a, b) = (user(&registry.host, "a"), user(&registry.host, "b"));
        let lookup = lookup(Some(&registry), &[]);
        let of = |own: &[Credentials], shared: &[Credentials]| {
            let (own, shared) = (own.to_vec(), shared.to_vec());
            let lookup = &lookup;
            async move { program(lookup.find("a:1", &own, &shared).await) }
        };
        let found = Some("/x".to_owned());
        assert_eq!(of(from_ref(&a), &[]).await, None);
        assert_eq!(of(from_ref(&b), from_ref(&a)).await, found);
        assert!(!registry.saw("authorization: basic ytpw\nauthorization"));
        // Another container does not learn it from the one that may see it.
        assert_eq!(of(&[], &[]).await, None);
        assert_eq!(of(from_ref(&a), from_ref(&b)).await, found);
    }
}

#[tokio::test]
async fn credentials_of_another_registry_are_never_sent() {
    let registry = private(401);
    let shared = [user("ghcr.io", "b"), user("127.0.0.1:1", "b"), user("127.0.0.1", "b")];
    assert_eq!(lookup(Some(&registry), &[]).find("a:1", &[], &shared).await, None);
    assert!(!registry.saw("authorization"));
}

#[tokio::test]
async fn a_program_of_many_words_is_left_to_the_kubelet() {
    let config = format!(r#"{{"Entrypoint":["{}"]}}"#, "x".repeat(70_000));
    let registry = FakeRegistry::of(fake::image("library/a", &config).0);
    assert_eq!(lookup(Some(&registry), &[]).find("a:1", &[], &[]).await, None);
}

#[test]
fn lists_that_no_image_needs_are_not_made() {
    let read = |json: String| serde_json::from_str::<ImageConfig>(&json);
    let list = |number| vec!["\"\""; number].join(",");
    for name in ["Cmd", "Entrypoint", "Shell"] {
        read(format!(r#"{{"{name}":[{}]}}"#, list(4096))).unwrap();
        let error = read(format!(r#"{{"{name}":[{}]}}"#, list(4097))).unwrap_err();
        assert!(error.to_string().contains("at most 4096 entries"), "{error}");
    }
    read(format!(r#"{{"Healthcheck":{{"Test":[{}]}}}}"#, list(4097))).unwrap_err();
    let ports: Vec<_> = (0..4097).map(|port| format!("\"{port}\":{{}}")).collect();
    read(format!(r#"{{"ExposedPorts":{{{}}}}}"#, ports.join(","))).unwrap_err();
    // What is no number counts as none, however large it is.
    for odd in ["null", "true", "\"9\"", "[[1],2]", "{\"a\":[1]}", "-1"] {
        let config = read(format!(r#"{{"Healthcheck":{{"Retries":{odd}}}}}"#)).unwrap();
        assert_eq!(config.healthcheck.unwrap().retries, 0, "{odd}");
    }
}

#[test]
fn what_is_remembered_of_images_is_bounded() {
    let mut known = ClusterInfo::default();
    let config = config(&format!(r#"{{"Cmd":["{}"]}}"#, "x".repeat(60 << 10)));
    for number in 0..1000 {
        let info = ImageInfo { reference: "r".into(), config: config.clone() };
        known.add((number.to_string(), Vec::new()), Arc::new(info));
        let bytes: usize = known.images.values().map(|info| info.config.memory()).sum();
        assert!(bytes <= MAX_REMEMBERED && known.images.len() <= MAX_KNOWN);
        assert!(known.images.contains_key(&(number.to_string(), Vec::new())));
    }
}
