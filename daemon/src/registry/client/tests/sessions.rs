//! Credentials, redirects and bodies.

use reqwest::{Body, Method};

use super::*;

/// "u:p" in base64, in lower case as all headers are there.
const PASSWORD: &str = "authorization: basic dtpw";

/// The answers of `inner` to clients with a token for `a/b`.
fn guarded(
    inner: HashMap<String, Reply>,
    realm: impl Fn(&str) -> String + Send + Sync + 'static,
) -> FakeRegistry {
    FakeRegistry::start(move |own, arrived| match arrived.path.split_once('?') {
        Some(("/token", query))
            if arrived.headers.contains(PASSWORD)
                && query.contains("repository%3Aa%2Fb%3Apull") =>
        {
            Reply::ok(r#"{"token":"t0ken"}"#)
        }
        Some(("/token", _)) => Reply::new(403, ""),
        _ if arrived.headers.contains("authorization: bearer t0ken") => {
            inner.get(&arrived.path).cloned().unwrap_or_else(|| Reply::new(201, ""))
        }
        _ => Reply::new(401, "").with(format!("www-authenticate: Bearer realm=\"{}\"", realm(own))),
    })
}

fn own_realm(own: &str) -> String {
    format!("http://{own}/token")
}

#[tokio::test]
async fn a_registry_that_wants_a_token_gets_one_for_all_requests() {
    let registry = guarded(image("a/b", "{}").0, own_realm);
    let known = session(&registry.host, &[&registry.host], Access::Pull);
    assert!(describe(&known, "1").await.is_ok());
    let tokens = registry.arrived().iter().filter(|one| one.path.starts_with("/token")).count();
    assert_eq!(tokens, 1);
    let error = ask(&registry, "1").await.unwrap_err();
    let refused = matches!(error, RegistryError::Refused { status: StatusCode::FORBIDDEN, .. });
    assert!(refused, "{error}");
}

#[tokio::test]
async fn a_registry_that_wants_a_password_gets_it() {
    let (all, _) = image("a/b", "{}");
    let registry = FakeRegistry::start(move |_, arrived| {
        if arrived.headers.contains(PASSWORD) {
            return all[&arrived.path].clone();
        }
        Reply::new(401, "").with("www-authenticate: Basic realm=\"x\"")
    });
    let known = session(&registry.host, &[&registry.host], Access::Pull);
    assert!(describe(&known, "1").await.is_ok());
    let error = ask(&registry, "1").await.unwrap_err();
    let refused = matches!(error, RegistryError::Refused { status: StatusCode::UNAUTHORIZED, .. });
    assert!(refused, "{error}");
}

/// The shown attack: a challenge that names somebody else's token service.
#[tokio::test]
async fn a_realm_on_another_host_never_sees_the_password() {
    let thief = FakeRegistry::of(HashMap::new());
    let port = thief.host.split_once(':').unwrap().1.to_owned();
    let registry = guarded(HashMap::new(), move |_| format!("http://localhost:{port}/token"));
    let known = session(&registry.host, &[&registry.host], Access::Pull);
    let error = describe(&known, "1").await.unwrap_err();
    assert!(matches!(error, RegistryError::ForeignRealm { .. }), "{error}");
    assert!(thief.arrived().is_empty());
}

#[tokio::test]
async fn a_redirect_to_another_host_has_no_credentials_with_it() {
    let (mut all, digest) = image("a/b", r#"{"Entrypoint":["/x"]}"#);
    let elsewhere = FakeRegistry::of(all.clone());
    let target = elsewhere.host.clone();
    all.retain(|path, _| !path.contains("/blobs/"));
    let registry = FakeRegistry::start(move |_, arrived| match all.get(&arrived.path) {
        _ if !arrived.headers.contains(PASSWORD) => {
            Reply::new(401, "").with("www-authenticate: Basic realm=\"x\"")
        }
        Some(reply) => reply.clone(),
        None => Reply::new(307, "").with(format!("location: http://{target}{}", arrived.path)),
    });
    let known = session(&registry.host, &[&registry.host], Access::Pull);
    assert_eq!(describe(&known, "1").await.unwrap().digest, digest);
    assert_eq!(elsewhere.arrived().len(), 1);
    assert!(!elsewhere.saw("authorization"));
    assert!(registry.saw(PASSWORD));
}

#[tokio::test]
async fn redirects_end_and_those_to_forbidden_places_are_not_followed() {
    let registry = FakeRegistry::start(|own, arrived| {
        let to = match arrived.path.as_str() {
            "/v2/a/b/manifests/metadata" => "http://169.254.169.254/latest/".to_owned(),
            "/v2/a/b/manifests/file" => "file:///etc/passwd".to_owned(),
            path => format!("http://{own}{path}"),
        };
        Reply::new(302, "").with(format!("location: {to}"))
    });
    for version in ["metadata", "file", "loop"] {
        let error = ask(&registry, version).await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{version}: {error}");
    }
    assert!(registry.arrived().len() < 10);
}

#[tokio::test]
async fn a_path_cannot_leave_its_repository() {
    let session = session("127.0.0.1:1", &[], Access::Pull);
    for path in
        ["../../c/manifests/1", "/v2/c/manifests/1", "a/%2e%2e/x", "a\\..\\x", "a#b", "x/./y", ".."]
    {
        let error = session.send(Request::new(Method::GET, path)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Path { .. }), "{path}: {error}");
    }
    let client = RegistryClient::new(&ClientOptions::default()).unwrap();
    for (host, repository) in [
        ("a@b", "x"),
        ("a/b", "x"),
        ("", "x"),
        ("h", "../x"),
        ("h", "a//b"),
        ("h", ""),
        ("h", "a?b"),
    ] {
        assert!(
            client.session(host, repository, None, Access::Pull).is_err(),
            "{host} {repository}"
        );
    }
}

/// A body that cannot be sent twice.
fn streamed(bytes: &'static [u8]) -> Body {
    Body::wrap(http_body_util::combinators::BoxBody::new(http_body_util::Full::new(
        bytes::Bytes::from_static(bytes),
    )))
}

#[tokio::test]
async fn a_streamed_body_is_sent_once_with_a_token_from_before() {
    let registry = guarded(HashMap::new(), own_realm);
    let known = session(&registry.host, &[&registry.host], Access::Push);
    let body = Some(streamed(b"layer"));
    let request = Request { body, ..Request::new(Method::PUT, "blobs/uploads/1?digest=x") };
    assert_eq!(known.send(request).await.unwrap().status(), 201);
    let puts: Vec<_> = registry.arrived().into_iter().filter(|one| one.method == "PUT").collect();
    assert_eq!((puts.len(), puts[0].body.as_slice()), (1, &b"layer"[..]));
    let scope = registry.arrived().iter().any(|one| one.path.contains("%3Apull%2Cpush"));
    assert!(scope, "{:?}", registry.arrived());
}

#[tokio::test]
async fn a_location_elsewhere_gets_the_body_and_no_credentials() {
    let elsewhere = FakeRegistry::start(|_, _| Reply::new(201, ""));
    let registry = guarded(HashMap::new(), own_realm);
    let known = session(&registry.host, &[&registry.host], Access::Push);
    assert_eq!(
        known.send(Request::new(Method::POST, "blobs/uploads/")).await.unwrap().status(),
        201
    );
    for (location, body) in
        [(format!("http://{}/up?s=1", elsewhere.host), "far"), ("/v2/a/b/up".into(), "near")]
    {
        let mut request = Request::new(Method::PATCH, "");
        request.target = Target::Location(location);
        request.headers.insert("authorization", "Basic of-the-session".parse().unwrap());
        request.body = Some(body.into());
        assert_eq!(known.send(request).await.unwrap().status(), 201);
    }
    assert_eq!(elsewhere.arrived()[0].body, b"far");
    assert!(!elsewhere.saw("authorization") && !registry.saw("of-the-session"));
    let mut request = Request::new(Method::PATCH, "");
    request.target = Target::Location("ftp://x/".into());
    assert!(matches!(known.send(request).await, Err(RegistryError::Redirect { .. })));
}

#[tokio::test]
async fn a_token_that_the_registry_takes_no_longer_is_renewed_once() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let registry = FakeRegistry::start(move |own, arrived| {
        let next = || count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match arrived.path.as_str() {
            path if path.starts_with("/token") => {
                Reply::ok(format!(r#"{{"token":"t{}"}}"#, next()))
            }
            _ if arrived.headers.contains("bearer t1") => Reply::ok(""),
            _ => Reply::new(401, "")
                .with(format!("www-authenticate: Bearer realm=\"{}\"", own_realm(own))),
        }
    });
    let session = session(&registry.host, &[], Access::Pull);
    let status = |answer: reqwest::Response| answer.status().as_u16();
    assert_eq!(session.send(Request::new(Method::GET, "x")).await.map(status).unwrap(), 401);
    assert_eq!(session.send(Request::new(Method::GET, "x")).await.map(status).unwrap(), 200);
}

#[tokio::test]
async fn a_layer_may_begin_later_than_other_answers() {
    let registry = FakeRegistry::start(|_, arrived| {
        if arrived.path.contains("/blobs/") || arrived.path.contains("/manifests/") {
            std::thread::park_timeout(Duration::from_secs(1));
        }
        Reply::ok("layer")
    });
    let limits = Limits { answer: Duration::from_millis(300), ..Limits::default() };
    let session = session_waiting(&registry.host, &[], Access::Pull, limits);
    let get = |path: &str| session.send(Request::new(Method::GET, path));
    let late = get("manifests/latest").await.unwrap_err();
    assert!(matches!(late, RegistryError::Timeout { .. }), "{late}");
    let blob = format!("blobs/sha256:{}", "0".repeat(64));
    assert_eq!(get(&blob).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_that_is_taken_and_never_answered_has_a_limit() {
    let registry = FakeRegistry::start(|_, arrived| {
        if arrived.method != "GET" {
            std::thread::park_timeout(Duration::from_secs(3600));
        }
        Reply::ok("")
    });
    let short = Duration::from_millis(300);
    for method in [Method::PATCH, Method::PUT] {
        let limits = Limits { upload: short, commit: short, ..Limits::default() };
        let session = session_waiting(&registry.host, &[], Access::Push, limits);
        let body = Some(streamed(b"layer"));
        let request = Request { body, ..Request::new(method.clone(), "blobs/uploads/1") };
        let error = session.send(request).await.unwrap_err();
        assert!(matches!(error, RegistryError::Timeout { .. }), "{method}: {error}");
    }
    let puts = registry.arrived().into_iter().filter(|one| one.method != "GET");
    assert!(puts.into_iter().all(|one| one.body == b"layer"));
}
