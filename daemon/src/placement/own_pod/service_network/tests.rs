use std::path::Path;

use hookd_api::v1::ContainerSpec;
use tokio::net::TcpListener;

use super::*;
use crate::error::Reason;
use crate::objects::agent::Injection;
use crate::objects::job_pod::{self, PodOptions};
use crate::runner::Runner;

fn service(image: &str, ports: &[&str]) -> ContainerSpec {
    ContainerSpec {
        image: image.to_owned(),
        port_mappings: ports.iter().map(|port| (*port).to_owned()).collect(),
        ..ContainerSpec::default()
    }
}

fn planned(spec: &JobSpec) -> Plan {
    let around = PodOptions {
        work_dir: Path::new("/w"),
        template: None,
        registry_secret: None,
        injection: Injection::ImageVolumes,
        images: &[],
    };
    job_pod::plan(&Runner::default(), &"s1".parse().unwrap(), spec, around).unwrap()
}

async fn opened(spec: &JobSpec) -> (Plan, Result<Option<Opened>, Failure>) {
    let mut plan = planned(spec);
    let opened = open(spec, &mut plan).await;
    (plan, opened)
}

fn services(services: Vec<ContainerSpec>) -> JobSpec {
    JobSpec::read(None, services).unwrap()
}

async fn free_port() -> u16 {
    LoopbackPort::bind(0).await.unwrap().number()
}

#[tokio::test]
async fn a_job_without_container_gets_the_runners_ports_arc_2977() {
    let port = free_port().await;
    let mapping = format!("{port}:80");
    let spec = services(vec![service("nginx", &[&mapping, "53/udp"]), service("redis", &[])]);
    let (plan, opened) = opened(&spec).await;
    let opened = opened.unwrap().unwrap();
    let forward = Forward { service: "nginx".into(), local: port, container: 80 };
    assert_eq!(opened.services.forwards, [forward]);
    let ports = &plan.prepared.services[0].ports;
    assert_eq!(ports.get("80"), Some(&port.to_string()));
    assert_eq!(ports.len(), 1);
    let warnings = plan.warnings.join("\n");
    for expected in [
        "53/udp of service nginx is not forwarded",
        "service redis publishes no port",
        &format!("localhost:{port} is port 80 of nginx"),
        "container steps reach them as nginx, redis",
    ] {
        assert!(warnings.contains(expected), "{expected:?} is not in\n{warnings}");
    }
    assert!(!warnings.contains("job container"), "{warnings}");
    assert_eq!(JobServices::from_pod(&plan.pod).unwrap(), opened.services);
}

#[tokio::test]
async fn a_job_with_container_needs_no_port_of_the_runner() {
    let container = Some(ContainerSpec { image: "debian".into(), ..ContainerSpec::default() });
    let spec = JobSpec::read(container, vec![service("redis", &["8080:6379"])]).unwrap();
    let (plan, opened) = opened(&spec).await;
    assert!(opened.unwrap().unwrap().ports.is_empty());
    assert_eq!(plan.prepared.services[0].ports.get("6379").map(String::as_str), Some("6379"));
    assert_eq!(JobServices::from_pod(&plan.pod).unwrap().names, ["redis"]);
    assert!(plan.warnings.iter().any(|note| note.contains("as localhost and as redis")));
}

#[tokio::test]
async fn a_port_that_something_in_the_runner_pod_has_is_named_at_once() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let spec = services(vec![service("redis", &[&format!("{port}:6379")])]);
    let failure = opened(&spec).await.1.unwrap_err();
    assert_eq!(failure.reason, Reason::StartFailed);
    for expected in [&port.to_string(), "6379", "redis", "listens there already"] {
        assert!(failure.message.contains(expected), "{failure}");
    }
    // A port that the workflow leaves open is another one then.
    let spec = services(vec![service("redis", &[&port.to_string()])]);
    let (plan, opened) = opened(&spec).await;
    let local = opened.unwrap().unwrap().services.forwards[0].local;
    assert_ne!(local, port);
    assert_eq!(plan.prepared.services[0].ports.get(&port.to_string()), Some(&local.to_string()));
}

#[tokio::test]
async fn two_services_on_one_port_of_the_runner_are_named() {
    let port = free_port().await;
    let one = service("redis", &[&format!("{port}:6379")]);
    let other = service("postgres", &[&format!("{port}:5432")]);
    let failure = opened(&services(vec![one, other])).await.1.unwrap_err();
    assert_eq!(failure.reason, Reason::InvalidInput);
    for expected in ["redis", "postgres", &port.to_string()] {
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[tokio::test]
async fn a_call_that_goes_on_keeps_the_ports_it_promised() {
    let (now, before) = (free_port().await, free_port().await);
    let spec = services(vec![service("redis", &[&format!("{now}:6379")])]);
    let (plan, opened) = opened(&spec).await;
    let mut prepared = plan.prepared;
    let forward = Forward { service: "redis".into(), local: before, container: 6379 };
    let recorded = JobServices { names: vec!["redis".into()], forwards: vec![forward] };
    let mut pod = Pod::default();
    let text = serde_json::to_string(&recorded).unwrap();
    pod.metadata.annotations = Some([(ANNOTATION.to_owned(), text)].into());
    let adopted = opened.unwrap().unwrap().adopt(&pod, &mut prepared).await.unwrap();
    assert_eq!(adopted.services, recorded);
    assert_eq!(adopted.ports[0].number(), before);
    assert_eq!(prepared.services[0].ports.get("6379"), Some(&before.to_string()));
}
