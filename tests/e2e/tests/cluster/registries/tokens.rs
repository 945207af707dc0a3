//! A token service, as that of Docker Hub: <https://distribution.github.io/distribution/spec/auth/token/>

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::NODE;
use e2e::authority::{Authority, Pair};

/// Who makes its tokens, and for whom.
pub(super) const ISSUER: &str = "tokens.test";
pub(super) const SERVICE: &str = "registry.test";

/// A service that runs until the end of the process.
pub(super) struct Tokens {
    /// Its port on the node.
    pub(super) port: u16,
    /// The authority of its signatures.
    pub(super) authority: Authority,
    scopes: Arc<Mutex<Vec<String>>>,
}

/// What one request needs.
struct Service {
    /// `Basic` and user and password.
    known: String,
    signing: Pair,
    scopes: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    /// Gives its user a token for whatever is asked for; others get none.
    pub(super) fn start(certificate: &Pair, user: &str, password: &str) -> Self {
        let listener = TcpListener::bind((NODE, 0)).expect("the devcluster's bridge");
        let port = listener.local_addr().unwrap().port();
        let authority = Authority::generate();
        let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let known = format!("authorization: basic {login}");
        let scopes = Arc::new(Mutex::new(Vec::new()));
        let service = Service { known, signing: authority.sign_for(NODE), scopes: scopes.clone() };
        let (service, config) = (Arc::new(service), Arc::new(certificate.server()));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (service, config) = (service.clone(), config.clone());
                thread::spawn(move || service.serve(connection, config));
            }
        });
        Self { port, authority, scopes }
    }

    /// The scopes for which tokens were given.
    pub(super) fn scopes(&self) -> Vec<String> {
        self.scopes.lock().unwrap().clone()
    }
}

impl Service {
    fn serve(&self, connection: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
        let server = ServerConnection::new(config).ok()?;
        let mut reader = BufReader::new(StreamOwned::new(server, connection));
        let mut request = String::new();
        reader.read_line(&mut request).ok()?;
        let (mut is_known, mut header) = (false, String::new());
        while header != "\r\n" {
            header.clear();
            reader.read_line(&mut header).ok().filter(|length| *length > 0)?;
            let (name, value) = header.trim().split_once(": ").unwrap_or_default();
            let line = format!("{}: {}", name.to_lowercase(), value.replacen("Basic", "basic", 1));
            is_known |= line == self.known;
        }
        let (status, body) = match is_known {
            true => ("200 OK", json!({"token": self.token(&request), "expires_in": 300})),
            false => ("401 Unauthorized", json!({"errors": [{"code": "UNAUTHORIZED"}]})),
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = reader.into_inner();
        stream.write_all((head + &body).as_bytes()).ok()?;
        stream.conn.send_close_notify();
        stream.flush().ok()
    }

    fn token(&self, request: &str) -> String {
        let query = request.split(['?', ' ']).nth(2).unwrap_or_default();
        let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
        let decoded =
            |scope: &str| scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        let scopes: Vec<_> = scopes.map(decoded).collect();
        let access: Vec<Value> = scopes.iter().filter_map(|scope| access(scope)).collect();
        self.scopes.lock().unwrap().extend(scopes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [BASE64_STANDARD.encode(self.signing.der())],
        });
        let claims = json!({
            "iss": ISSUER, "sub": "test", "aud": SERVICE, "jti": now.to_string(),
            "iat": now - 60, "nbf": now - 60, "exp": now + 300, "access": access,
        });
        let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, self.signing.key_der(), &random).unwrap();
        let signature = key.sign(&random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// "repository:a/b:pull,push"
fn access(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<_> = actions.split(',').collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}
