//! What is read of configurations, and for which images it counts.

use super::*;

fn secret(json: &str) -> Secret {
    let data = k8s_openapi::ByteString(json.as_bytes().to_vec());
    Secret { data: Some([(KEY.to_owned(), data)].into()), ..Secret::default() }
}

fn user(server: &str, name: &str) -> Credentials {
    Credentials::new(server, name.to_owned(), "p".to_owned()).unwrap()
}

fn names<'a>(all: &'a [Credentials], host: &str, repository: &str) -> Vec<&'a str> {
    let found = Credentials::matching(all, host, repository);
    found.into_iter().map(|one| one.username.as_str()).collect()
}

#[test]
fn a_pull_secret_is_read_in_all_of_its_forms() {
    let json = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"dTpwOnc="},
        "ghcr.io":{"username":"u2","password":"p2"},
        "half.example":{"username":"u3"},
        "empty.example":{}}}"#;
    let all = Credentials::from_secret(&secret(json));
    let pair = |host| Credentials::find(&all, host, "a/b").map(Credentials::pair);
    assert_eq!(pair("index.docker.io"), Some(("u", "p:w")));
    assert_eq!(pair("ghcr.io"), Some(("u2", "p2")));
    assert_eq!((pair("empty.example"), pair("half.example")), (None, None));
    assert!(Credentials::from_secret(&secret("garbage")).is_empty());
    assert!(Credentials::from_secret(&Secret::default()).is_empty());
    let old = k8s_openapi::ByteString(br#"{"ghcr.io":{"auth":"dTpw"}}"#.to_vec());
    let old = Secret { data: Some([(OLD_KEY.to_owned(), old)].into()), ..Secret::default() };
    assert_eq!(Credentials::from_secret(&old).len(), 1);
}

#[test]
fn credentials_of_the_longest_path_come_first() {
    let all = [user("ghcr.io", "all"), user("ghcr.io/org", "org"), user("ghcr.io/org/x", "x")];
    assert_eq!(names(&all, "ghcr.io", "org/x"), ["x", "org", "all"]);
    assert_eq!(names(&all, "ghcr.io", "org/y"), ["org", "all"]);
    assert_eq!(names(&all, "ghcr.io", "organization/x"), ["all"]);
}

#[test]
fn a_host_that_only_resembles_gets_no_credentials() {
    for (key, host, fits) in [
        ("ghcr.io", "ghcr.io", true),
        ("https://ghcr.io/v2/", "ghcr.io", true),
        ("http://r:5000", "r:5000", true),
        ("docker.io", "index.docker.io", true),
        ("registry-1.docker.io", "index.docker.io", true),
        ("*.example.com", "a.example.com", true),
        ("r*.exam?le.com", "reg.example.com", true),
        ("*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", true),
        ("*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ("*.example.com", "a.b.example.com", false),
        ("*.example.com", "example.com", false),
        ("*.example.com", "aXexample.com", false),
        ("ghcr.io", "ghcr.io.evil.com", false),
        ("ghcr.io", "evil-ghcr.io", false),
        ("ghcr.io", "ghcr.io:5000", false),
        ("ghcr.io:443", "ghcr.io", false),
        ("r:5000", "r:50000", false),
        ("ghcr.io", "ghcrXio", false),
        ("docker.io", "docker.io.evil.com", false),
    ] {
        assert_eq!(user(key, "u").matches(host, "a/b"), fits, "{key} {host}");
    }
}

#[test]
fn every_form_of_a_server_is_one_that_the_kubelet_finds() {
    for (given, server) in [
        ("", DOCKER_HUB),
        ("https://index.docker.io/v1/", DOCKER_HUB),
        ("index.docker.io", DOCKER_HUB),
        ("docker.io", DOCKER_HUB),
        ("https://registry-1.docker.io/v2/", DOCKER_HUB),
        ("docker.io/org", "docker.io/org"),
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io/", "ghcr.io"),
        ("ghcr.io/org/", "ghcr.io/org"),
        ("http://localhost:5000/v2", "localhost:5000"),
        ("https://r.example:5000/v2/org", "r.example:5000/org"),
    ] {
        let registry =
            Registry { username: "u".into(), password: "s3cret".into(), server_url: given.into() };
        let credentials = Credentials::from_registry(&registry).unwrap();
        assert_eq!(credentials.server(), server, "{given}");
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}

#[test]
fn half_a_users_credentials_are_none() {
    for (username, password) in [("", "p"), ("u", ""), ("", "")] {
        let registry = Registry {
            username: username.into(),
            password: password.into(),
            server_url: "ghcr.io".into(),
        };
        assert_eq!(Credentials::from_registry(&registry), None);
    }
}
