use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Stands for the job's pod.
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const TIMEOUT: Duration = Duration::from_secs(10);

/// A service that answers each client with what it said, once the client has said all.
async fn service() -> u16 {
    let listener = TcpListener::bind((POD, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                let _ = stream.write_all(&said).await;
            });
        }
    });
    port
}

fn job(service: &str, local: u16, container: u16) -> JobServices {
    let forward = Forward { service: service.to_owned(), local, container };
    JobServices { names: vec![service.to_owned()], forwards: vec![forward] }
}

fn pod(services: &JobServices, address: &str) -> Pod {
    let text = serde_json::to_string(services).unwrap();
    serde_json::from_value(serde_json::json!({
        "metadata": {"annotations": {ANNOTATION: text}},
        "status": {"podIP": address, "podIPs": [{"ip": address}]},
    }))
    .unwrap()
}

/// A network that forwards a free port to a service.
async fn forwarding() -> (JobNetwork, u16) {
    let (network, container) = (JobNetwork::default(), service().await);
    let port = LoopbackPort::bind(0).await.unwrap();
    let local = port.number();
    network.start(job("redis", local, container), vec![POD], vec![port]).await;
    (network, local)
}

async fn ask(host: &str, port: u16, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn eventually(host: &str, port: u16) {
    let answered = async {
        while ask(host, port, b"ping").await.ok().as_deref() != Some(b"ping") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, answered).await.expect("the service answers in time");
}

#[tokio::test]
async fn a_service_answers_on_localhost_after_its_caller_has_said_all() {
    let (_network, port) = forwarding().await;
    let large = vec![7; 3 << 20];
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(ask(host, port, &large).await.unwrap(), large);
    }
    let has_v6 = TcpListener::bind(("::1", 0)).await.is_ok();
    if has_v6 {
        assert_eq!(ask("::1", port, b"six").await.unwrap(), b"six");
    }
}

#[tokio::test]
async fn no_other_address_of_the_pod_has_the_port() {
    let (_network, port) = forwarding().await;
    // Loopback is all of 127.0.0.0/8, and only one address of it is listened at.
    let refused = TcpStream::connect(("127.0.0.3", port)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_job_that_ends_closes_its_ports_and_connections_at_once() {
    let (network, port) = forwarding().await;
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    open.write_all(b"half").await.unwrap();
    network.clear().await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(TIMEOUT, open.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err() || rest.is_empty());
    LoopbackPort::bind(port).await.expect("the port is free again");
    assert!(network.host_aliases().await.is_empty());
}

#[tokio::test]
async fn a_service_that_is_away_resets_the_connection() {
    let (network, away) = (JobNetwork::default(), TcpListener::bind((POD, 0)).await.unwrap());
    let container = away.local_addr().unwrap().port();
    drop(away);
    let port = LoopbackPort::bind(0).await.unwrap();
    let local = port.number();
    network.start(job("redis", local, container), vec![POD], vec![port]).await;
    let error = ask("127.0.0.1", local, b"x").await.unwrap_err();
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected];
    assert!(kinds.contains(&error.kind()), "{error}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_or_another_one() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(LoopbackPort::bind(port).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    let other = LoopbackPort::bind_any(port).await.unwrap();
    assert_ne!(other.number(), port);
    let free = other.number();
    drop(other);
    assert_eq!(LoopbackPort::bind_any(free).await.unwrap().number(), free);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_to_end() {
    let container = service().await;
    let port = LoopbackPort::bind(0).await.unwrap();
    let local = port.number();
    let targets = targets(&[POD], container);
    let slots = Arc::new(Semaphore::new(1));
    let task = tokio::spawn(port.forward(targets, slots.clone()));
    let mut first = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
    first.write_all(b"first").await.unwrap();
    until_taken(&slots).await;
    let mut second = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
    second.write_all(b"second").await.unwrap();
    second.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let early = tokio::time::timeout(Duration::from_millis(200), second.read_to_end(&mut answer));
    assert!(early.await.is_err(), "the second was served beside the first");
    first.shutdown().await.unwrap();
    tokio::time::timeout(TIMEOUT, second.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"second");
    task.abort();
}

async fn until_taken(slots: &Semaphore) {
    let taken = async {
        while slots.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, taken).await.expect("a connection is accepted in time");
}

#[tokio::test]
async fn a_restarted_daemon_takes_up_the_ports_of_a_running_job() {
    let container = service().await;
    let taken = LoopbackPort::bind(0).await.unwrap();
    let local = taken.number();
    let pod = pod(&job("redis", local, container), "127.0.0.2");
    let network = JobNetwork::default();
    assert!(network.is_unknown().await);
    restore(&network, &pod).await;
    assert!(!network.is_unknown().await);
    // The port is still the old daemon's.
    drop(taken);
    eventually("127.0.0.1", local).await;
    let aliases = network.host_aliases().await;
    assert_eq!(aliases[0].ip, "127.0.0.2");
    assert_eq!(aliases[0].hostnames.as_deref(), Some(&["redis".to_owned()][..]));
}

#[tokio::test]
async fn a_new_job_is_not_replaced_by_one_that_is_found_late() {
    let (network, port) = forwarding().await;
    restore(&network, &pod(&job("old", 1, 1), "127.0.0.9")).await;
    eventually("127.0.0.1", port).await;
    assert_eq!(network.host_aliases().await[0].ip, "127.0.0.2");
    network.clear().await;
    restore(&network, &pod(&job("old", 1, 1), "127.0.0.9")).await;
    assert!(network.host_aliases().await.is_empty());
}

#[tokio::test]
async fn a_pod_without_services_or_address_forwards_nothing() {
    let network = JobNetwork::default();
    let pending = pod(&job("redis", 1, 1), "");
    restore(&network, &pending).await;
    assert!(network.is_unknown().await);
    restore(&network, &Pod::default()).await;
    assert!(!network.is_unknown().await);
}

#[test]
fn a_pod_of_both_families_has_both_addresses() {
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "status": {"podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}, {"ip": "fd00::3"}]},
    }))
    .unwrap();
    let all: Vec<_> = addresses(&pod).iter().map(ToString::to_string).collect();
    assert_eq!(all, ["10.1.2.3", "fd00::3"]);
}

async fn restore(network: &JobNetwork, pod: &Pod) {
    network.restore(JobServices::from_pod(pod), addresses(pod)).await;
}
