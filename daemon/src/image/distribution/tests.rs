//! Against a registry of a few lines on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// Status, headers and body.
type Reply = (u16, Vec<String>, String);

/// Answers each request by its own address, the path and the headers; its address.
fn registry(answer: fn(&str, &str, &str) -> Reply) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let own = address.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            serve(&connection.unwrap(), |path, headers| answer(&own, path, headers));
        }
    });
    address
}

fn serve(connection: &TcpStream, answer: impl Fn(&str, &str) -> Reply) {
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, more, body) = answer(&path, &headers.join("\n").to_ascii_lowercase());
    let more: String = more.into_iter().map(|header| format!("{header}\r\n")).collect();
    let mut connection = connection;
    let length = body.len();
    let _ = write!(
        connection,
        "HTTP/1.1 {status} X\r\n{more}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
}

async fn ask(
    address: &str,
    name: &str,
    credentials: &[Credentials],
) -> Result<(String, ImageConfig), RegistryError> {
    let image: Reference = format!("{address}/{name}").parse().unwrap();
    let known = Credentials::find(credentials, address);
    Distribution::new(&[address.to_owned()]).image(&image, known).await
}

fn plain(_: &str, path: &str, _: &str) -> Reply {
    let digest = vec![format!("{DIGEST}: sha256:list")];
    match path {
        "/v2/a/b/manifests/1" => {
            let entry = |digest, architecture| {
                format!(
                    r#"{{"digest":"{digest}","platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
                )
            };
            let both = [("sha256:x", "amd64"), ("sha256:x", "arm64"), ("sha256:y", "s390x")];
            let entries = both.map(|(digest, architecture)| entry(digest, architecture)).join(",");
            (200, digest, format!(r#"{{"manifests":[{entries}]}}"#))
        }
        "/v2/a/b/manifests/sha256:x" => {
            (200, digest, r#"{"config":{"digest":"sha256:c"},"layers":[]}"#.into())
        }
        "/v2/a/b/blobs/sha256:c" => {
            (200, vec![], r#"{"config":{"Entrypoint":["/x"],"Healthcheck":null}}"#.into())
        }
        "/v2/a/b/manifests/garbage" => (200, digest, "<html>".into()),
        _ => (404, vec![], String::new()),
    }
}

#[tokio::test]
async fn an_index_is_followed_to_this_platform_and_its_own_digest_told() {
    let address = registry(plain);
    let (digest, config) = ask(&address, "a/b:1", &[]).await.unwrap();
    assert_eq!(digest, "sha256:list");
    assert_eq!(config.command(None, &[]), Some(vec!["/x".to_owned()]));
    assert_eq!(config.healthcheck, None);
    let error = ask(&address, "a/b:none", &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(StatusCode::NOT_FOUND)), "{error}");
    let error = ask(&address, "a/b:garbage", &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Garbage(_)), "{error}");
}

fn guarded(own: &str, path: &str, headers: &str) -> Reply {
    // "u:p" in base64, in lower case as all headers are here.
    let basic = headers.contains("authorization: basic dtpw");
    match path.split_once('?') {
        Some(("/token", query)) if basic && query.contains("repository%3Aa%2Fb%3Apull") => {
            (200, vec![], r#"{"token":"t0ken"}"#.into())
        }
        None if headers.contains("authorization: bearer t0ken") => plain(own, path, headers),
        None => {
            let realm =
                format!("www-authenticate: Bearer realm=\"http://{own}/token\",service=\"s\"");
            (401, vec![realm], String::new())
        }
        Some(_) => (403, vec![], String::new()),
    }
}

fn user_of(address: &str) -> Vec<Credentials> {
    let registry = hookd_api::v1::Registry {
        username: "u".into(),
        password: "p".into(),
        server_url: address.to_owned(),
    };
    vec![Credentials::of_registry(&registry)]
}

#[tokio::test]
async fn a_registry_that_wants_a_token_gets_it_with_the_pods_credentials() {
    let address = registry(guarded);
    assert!(ask(&address, "a/b:1", &user_of(&address)).await.is_ok());
    let error = ask(&address, "a/b:1", &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(StatusCode::FORBIDDEN)), "{error}");
}

fn with_password(own: &str, path: &str, headers: &str) -> Reply {
    if headers.contains("authorization: basic dtpw") {
        return plain(own, path, headers);
    }
    (401, vec!["www-authenticate: Basic realm=\"x\"".to_owned()], String::new())
}

#[tokio::test]
async fn a_registry_that_wants_a_password_gets_it() {
    let address = registry(with_password);
    assert!(ask(&address, "a/b:1", &user_of(&address)).await.is_ok());
    let error = ask(&address, "a/b:1", &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(StatusCode::UNAUTHORIZED)), "{error}");
}
