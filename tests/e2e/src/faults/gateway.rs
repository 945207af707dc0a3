//! An HTTP gateway before the API server that answers some requests itself, and wrongly: what
//! overloaded API servers and their load balancers do. It has the API server's own certificate.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::proxy::{NODE, runtime};
use test_support::Setup;
use test_support::cluster::cluster;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// A gateway that runs until the end of the process.
#[derive(Debug)]
pub struct Gateway {
    /// Its port on [`NODE`].
    pub(crate) port: u16,
    plan: Arc<Mutex<Plan>>,
}

/// What is sent in place of the API server's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WrongResponse {
    /// 429 with Retry-After.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 410 Gone, as an event of a watch.
    Expired,
    /// The answer's beginning.
    Truncated,
    /// The page of another site, as 200.
    Page,
}

/// Kinds of requests, each with wrong responses of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Watch,
    Log,
    /// exec and attach.
    Upgrade,
}

/// Wrong responses that are still to be sent, and those that were.
#[derive(Debug, Default)]
struct Plan {
    pending: BTreeMap<Kind, VecDeque<WrongResponse>>,
    done: BTreeMap<WrongResponse, u32>,
    /// What the API server says of itself; none: what it is.
    version: Option<&'static str>,
}

impl Gateway {
    /// Starts one that passes everything on.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((NODE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let (acceptor, connector) = tls();
        let planned = plan.clone();
        runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, connector, plan) =
                    (acceptor.clone(), connector.clone(), planned.clone());
                tokio::spawn(async move {
                    let Ok(client) = acceptor.accept(client).await else { return };
                    let answer = service_fn(move |request| {
                        let (connector, plan) = (connector.clone(), plan.clone());
                        async move { Ok::<_, Infallible>(answer(request, connector, &plan).await) }
                    });
                    // The client sees how its connection ends.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(client), answer)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { port, plan }
    }

    /// A runner pod whose hookd has this for its API server.
    pub fn before(&self, setup: Setup) -> Setup {
        let setup = setup.set("KUBERNETES_SERVICE_HOST", NODE.to_string());
        setup.set("KUBERNETES_SERVICE_PORT", self.port.to_string())
    }

    /// Has the API server be of this version from now on ("v1.29.4"), as far as it says so.
    pub fn say_version(&self, version: &'static str) {
        self.plan.lock().unwrap().version = Some(version);
    }

    /// Answers the first requests of each kind wrongly from now on, with each wrong response once.
    pub(crate) fn inject(&self, random: &mut fastrand::Rng) {
        let mut plan = Plan::default();
        for (kind, mut responses) in [
            (
                Kind::Plain,
                vec![
                    WrongResponse::TooManyRequests,
                    WrongResponse::InternalError,
                    WrongResponse::Unavailable,
                    WrongResponse::Truncated,
                    WrongResponse::Page,
                ],
            ),
            (
                Kind::Watch,
                vec![
                    WrongResponse::Expired,
                    WrongResponse::Unavailable,
                    WrongResponse::Truncated,
                    WrongResponse::Page,
                ],
            ),
            (
                Kind::Log,
                vec![WrongResponse::InternalError, WrongResponse::Truncated, WrongResponse::Page],
            ),
            (
                Kind::Upgrade,
                vec![
                    WrongResponse::Unavailable,
                    WrongResponse::InternalError,
                    WrongResponse::TooManyRequests,
                ],
            ),
        ] {
            random.shuffle(&mut responses);
            plan.pending.insert(kind, responses.into());
        }
        *self.plan.lock().unwrap() = plan;
    }

    /// Wrong responses that were sent since [`Gateway::inject`].
    pub(crate) fn done(&self) -> BTreeMap<WrongResponse, u32> {
        self.plan.lock().unwrap().done.clone()
    }
}

/// TLS with the API server's certificate towards clients, and with its CA towards the server.
fn tls() -> (TlsAcceptor, TlsConnector) {
    let pki = cluster().state.join("pki");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = |name: &str| -> Vec<_> {
        CertificateDer::pem_file_iter(pki.join(name)).unwrap().map(Result::unwrap).collect()
    };
    let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates("apiserver.crt"), key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    certificates("ca.crt").into_iter().for_each(|certificate| roots.add(certificate).unwrap());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
}

async fn answer(
    request: Request<Incoming>,
    connector: TlsConnector,
    plan: &Mutex<Plan>,
) -> Response<Body> {
    let wrong = next(plan, kind(&request));
    let response = match wrong {
        Some(WrongResponse::TooManyRequests) => Some(status(StatusCode::TOO_MANY_REQUESTS)),
        Some(WrongResponse::InternalError) => Some(status(StatusCode::INTERNAL_SERVER_ERROR)),
        Some(WrongResponse::Unavailable) => Some(status(StatusCode::SERVICE_UNAVAILABLE)),
        Some(WrongResponse::Expired) => Some(expired()),
        Some(WrongResponse::Page) => Some(page()),
        Some(WrongResponse::Truncated) | None => None,
    };
    if let Some(response) = response {
        return response;
    }
    let version = plan.lock().unwrap().version.filter(|_| request.uri().path() == "/version");
    let passed = async {
        let response = pass(request, connector).await?;
        match version {
            Some(version) => of_version(response, version).await,
            None => Ok(response),
        }
    };
    let response = passed.await.unwrap_or_else(|_| status(StatusCode::BAD_GATEWAY));
    if wrong == Some(WrongResponse::Truncated) { response.map(truncated) } else { response }
}

fn kind(request: &Request<Incoming>) -> Kind {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if request.headers().contains_key(header::UPGRADE) {
        Kind::Upgrade
    } else if query.contains("watch=true") {
        Kind::Watch
    } else if path.ends_with("/log") {
        Kind::Log
    } else {
        Kind::Plain
    }
}

fn next(plan: &Mutex<Plan>, kind: Kind) -> Option<WrongResponse> {
    let mut plan = plan.lock().unwrap();
    let wrong = plan.pending.get_mut(&kind)?.pop_front()?;
    *plan.done.entry(wrong).or_default() += 1;
    Some(wrong)
}

/// Passes a request on, and its connection if that is upgraded.
async fn pass(
    mut request: Request<Incoming>,
    connector: TlsConnector,
) -> Result<Response<Body>, Error> {
    let server = TcpStream::connect((NODE, 6443)).await?;
    let server = connector.connect(ServerName::IpAddress(NODE.into()), server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server)).await?;
    tokio::spawn(connection.with_upgrades());
    let client = hyper::upgrade::on(&mut request);
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The API server's own answer, but of this version.
async fn of_version(response: Response<Body>, version: &str) -> Result<Response<Body>, Error> {
    let (mut head, body) = response.into_parts();
    let mut info: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    info["gitVersion"] = version.into();
    info["minor"] = version.split('.').nth(1).into();
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, full(info.to_string())))
}

/// As the API server words it, where it has words of its own.
fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full("the gateway has no answer\n"));
    *response.status_mut() = status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    response
}

fn expired() -> Response<Body> {
    Response::new(full(
        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\
         \"status\":\"Failure\",\"message\":\"too old resource version\",\"reason\":\"Expired\",\
         \"code\":410}}\n",
    ))
}

fn page() -> Response<Body> {
    let mut response = Response::new(full("<html><body>Please log in</body></html>\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, "text/html".parse().unwrap());
    response
}

/// The beginning of a body, and then the end of its connection.
fn truncated(body: Body) -> Body {
    let beginning = futures::stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        let frame = match body.frame().await? {
            Ok(frame) => frame,
            Err(error) => return Some((Err(error), None)),
        };
        match frame.into_data() {
            Ok(data) => Some((Ok(Frame::data(data.slice(..data.len() / 2))), None)),
            Err(frame) => Some((Ok(frame), Some(body))),
        }
    });
    let cut = futures::stream::once(async { Err(Error::from("cut off")) });
    StreamBody::new(futures::StreamExt::chain(beginning, cut)).boxed_unsync()
}
