//! Against registries with authorities of their own.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::registry::client::{Access, ClientOptions, RegistryClient, Request};

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, and its key.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    fn sign(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        Pair { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

impl Pair {
    fn secret(&self, authority: &Authority) -> Secret {
        let data = [
            (AUTHORITY, authority.pem()),
            (CERTIFICATE, self.certificate.pem().into_bytes()),
            (KEY, self.key.serialize_pem().into_bytes()),
        ];
        let data = data.map(|(key, value)| (key.to_owned(), k8s_openapi::ByteString(value)));
        Secret { data: Some(data.into()), ..Secret::default() }
    }
}

/// A registry that answers everything with 200, to clients whose certificate `clients` has signed.
async fn registry(signed: &Authority, clients: Option<&Authority>) -> String {
    registry_after(Duration::ZERO, signed, clients).await
}

/// As [`registry`], with that pause before each TLS handshake.
async fn registry_after(
    pause: Duration,
    signed: &Authority,
    clients: Option<&Authority>,
) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = signed.sign("127.0.0.1");
    let builder = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![own.certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let mut connection = acceptor.accept(connection).await.ok()?;
                let mut head = [0; 4096];
                connection.read(&mut head).await.ok().filter(|read| *read > 0)?;
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                connection.write_all(answer).await.ok()?;
                connection.shutdown().await.ok()
            });
        }
    });
    host
}

/// None: it was reached.
async fn refusal(host: &str, tls: &[RegistryTls]) -> Option<String> {
    let options = ClientOptions { insecure: Vec::new(), tls: tls.to_vec() };
    let client = RegistryClient::new(&options).unwrap();
    let session = client.session(host, "a/b", None, Access::Pull).unwrap();
    let sent = session.send(Request::new(Method::GET, "manifests/1")).await;
    sent.err().map(|error| crate::error::report(&error).to_string())
}

#[tokio::test]
async fn an_authority_counts_for_its_own_registry_only() {
    let authority = Authority::new();
    let (one, other) = (registry(&authority, None).await, registry(&authority, None).await);
    let tls = [RegistryTls::of_authority(&one, authority.pem())];
    assert_eq!(refusal(&one, &tls).await, None);
    let refused = refusal(&other, &tls).await.unwrap();
    assert!(refused.contains(&other) && refused.contains("certificate"), "{refused}");
    let of_another = [RegistryTls::of_authority(&one, Authority::new().pem())];
    assert!(refusal(&one, &of_another).await.is_some());
}

/// As long as a resolver waits before it repeats a lost packet.
#[tokio::test]
async fn a_connection_may_take_as_long_as_a_lost_packet() {
    let authority = Authority::new();
    let slow = registry_after(Duration::from_millis(2500), &authority, None).await;
    let tls = [RegistryTls::of_authority(&slow, authority.pem())];
    assert_eq!(refusal(&slow, &tls).await, None);
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_own_registry_only() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (one, other) =
        (registry(&authority, Some(&clients)).await, registry(&authority, Some(&clients)).await);
    let secret = clients.sign("hookd").secret(&authority);
    let tls = [
        RegistryTls::from_secret(&one, &secret),
        RegistryTls::of_authority(&other, authority.pem()),
    ];
    assert_eq!(refusal(&one, &tls).await, None);
    assert!(refusal(&other, &tls).await.is_some());
    let of_another = Authority::new().sign("hookd").secret(&authority);
    assert!(refusal(&one, &[RegistryTls::from_secret(&one, &of_another)]).await.is_some());
    assert!(!format!("{tls:?}").contains("PRIVATE"), "{tls:?}");
}

#[tokio::test]
async fn the_authority_of_all_hosts_brings_no_client_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let secret = clients.sign("hookd").secret(&authority);
    let tls = [RegistryTls::from_secret(ANY_HOST, &secret)];
    assert_eq!(refusal(&registry(&authority, None).await, &tls).await, None);
    assert!(refusal(&registry(&authority, Some(&clients)).await, &tls).await.is_some());
}

#[test]
fn what_is_no_certificate_is_told_with_its_registry() {
    let pair = Authority::new().sign("hookd");
    let mut secret = pair.secret(&Authority::new());
    let mut data = secret.data.take().unwrap();
    let another = Authority::new().sign("hookd").key.serialize_pem().into_bytes();
    data.insert(KEY.to_owned(), k8s_openapi::ByteString(another));
    secret.data = Some(data);
    for tls in [
        RegistryTls::of_authority("r:5000", b"garbage".to_vec()),
        RegistryTls::from_secret("r:5000", &secret),
    ] {
        let options = ClientOptions { insecure: Vec::new(), tls: vec![tls] };
        let error = RegistryClient::new(&options).unwrap_err();
        assert!(matches!(&error, RegistryError::Certificate { host, .. } if host == "r:5000"));
    }
}

#[test]
fn mounted_secrets_are_read_from_the_folders_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let entry = |secret: &str| TlsSecret { host: "r".to_owned(), secret: secret.to_owned() };
    for (name, files) in [("ca-only", &[AUTHORITY][..]), ("both", &[AUTHORITY, CERTIFICATE, KEY])] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
        for file in files {
            std::fs::write(directory.path().join(name).join(file), file).unwrap();
        }
    }
    let all = RegistryTls::mounted(directory.path(), &[entry("ca-only"), entry("both")]).unwrap();
    assert_eq!(all[0], RegistryTls::of_authority("r", AUTHORITY.into()));
    assert_eq!(all[1].identity.as_deref(), Some(&b"tls.crt\ntls.key"[..]));
    let error = RegistryTls::mounted(directory.path(), &[entry("missing")]).unwrap_err();
    assert!(error.to_string().contains("/missing cannot be read"), "{error}");
}
