//! The way of the kubelet to the registry of built images.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::report;
use crate::registry::client::{Access, RegistryError, Request};
use crate::registry::destination::{self, Destination};

use super::or_return;

/// For a registry that must answer at the node.
const ANSWER: Duration = Duration::from_secs(4);
/// For kube-proxy, which seldom lets pods ask.
const PROXY_ANSWER: Duration = Duration::from_millis(500);
/// Where kube-proxy says in which mode it is.
const PROXY_PORT: u16 = 10249;
/// Its answer is a word.
const MOST_ANSWER: u64 = 4096;
/// Modes without node ports on localhost.
const WITHOUT_LOCALHOST: [&str; 2] = ["nftables", "ipvs"];
const PULL_HOST: &str = "Set ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST to a host and port that nodes \
     reach the registry at; `localhost:<node port>` needs kube-proxy in iptables mode on IPv4";

/// What the kubelet calls localhost, as a pod reaches it: the port of `registry` at the node's address.
pub(super) fn at_node(registry: &str, host_ip: &str) -> Option<String> {
    let port = registry.strip_prefix("localhost:")?;
    let address: IpAddr = host_ip.parse().ok()?;
    Some(SocketAddr::new(address, port.parse().ok()?).to_string())
}

/// Host and port at which nodes pull built images.
pub(super) fn pull_host(built: &Destination) -> &str {
    built.pull.split('/').next().unwrap_or_default()
}

/// A registry answers there.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let Ok(built) = destination::of_tag(&facts.config.registry, "doctor") else {
        return Outcome::skipped("no registry is configured for built images");
    };
    let pull_host = pull_host(&built).to_owned();
    if pull_host == built.push_host {
        return Outcome::skipped(format!("nodes pull from {pull_host} itself: see registry-pull"));
    }
    let Some(node) = at_node(&pull_host, &runner.host_ip) else {
        return of_pull_host(facts, &pull_host).await;
    };
    if let Err(error) = reach(facts, &node).await {
        if runner.hookd_image.starts_with(&format!("{pull_host}/")) {
            // Its port may be open on loopback addresses only.
            return Outcome::ok(format!("the node has pulled hookd's own image from {pull_host}"));
        }
        return Outcome::failure(
            format!("nothing answers at {node}, where nodes are to pull as {pull_host}"),
            report(&error),
            "Correct ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT: the nodePort of the registry's Service \
             (deploy/registry.yaml)",
        );
    }
    judge(&node, proxy_mode(&runner.host_ip).await.as_deref())
}

fn judge(node: &str, mode: Option<&str>) -> Outcome {
    match mode {
        Some(mode) if WITHOUT_LOCALHOST.contains(&mode) => Outcome::failure(
            format!("kube-proxy is in mode {mode}: nodes do not reach the registry at localhost"),
            "In this mode node ports are not open on loopback addresses",
            PULL_HOST,
        ),
        Some(mode) => {
            Outcome::ok(format!("a registry answers at {node}; kube-proxy is in mode {mode}"))
        }
        None => Outcome::ok(format!(
            "a registry answers at {node}; whether localhost leads there on the node depends on kube-proxy, \
             whose mode pods cannot see here: iptables does, nftables, ipvs and Cilium do not"
        )),
    }
}

/// A host of the administrator's choice: nodes may know it where pods do not.
async fn of_pull_host(facts: &Facts, pull_host: &str) -> Outcome {
    match reach(facts, pull_host).await {
        Ok(()) => Outcome::ok(format!("a registry answers at {pull_host}, where nodes pull")),
        Err(error) => Outcome::warning(
            format!("it is not known whether nodes reach {pull_host}: this pod does not"),
            report(&error),
            "Check ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST on a node",
        ),
    }
}

/// Asks without credentials: any answer will do.
async fn reach(facts: &Facts, host: &str) -> Result<(), RegistryError> {
    let client = facts.registries(facts.config.registry.node_port.as_ref().map(|_| host))?;
    let session = client.session(host, "hookd/doctor", None, Access::Pull)?;
    let asked = session.send(Request::new(Method::HEAD, "manifests/latest"));
    let timeout = || RegistryError::Timeout { host: host.to_owned() };
    let answer = tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(timeout()));
    match answer {
        Err(error) if error.is_no_answer() => Err(error),
        _ => Ok(()),
    }
}

/// The mode of kube-proxy; none: it does not say.
async fn proxy_mode(host_ip: &str) -> Option<String> {
    let address = SocketAddr::new(host_ip.parse().ok()?, PROXY_PORT);
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET /proxyMode HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.take(MOST_ANSWER).read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let is_word = !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (head.contains(" 200 ") && is_word).then(|| body.to_owned())
    };
    tokio::time::timeout(PROXY_ANSWER, asked).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn localhost_of_the_kubelet_is_the_address_of_the_node() {
        assert_eq!(at_node("localhost:30500", "10.0.0.7").as_deref(), Some("10.0.0.7:30500"));
        assert_eq!(at_node("localhost:30500", "fd00::7").as_deref(), Some("[fd00::7]:30500"));
        for (registry, host_ip) in
            [("r:5000", "10.0.0.7"), ("localhost:30500", ""), ("localhost", "1.2.3.4")]
        {
            assert_eq!(at_node(registry, host_ip), None);
        }
    }

    #[test]
    fn a_mode_without_node_ports_on_localhost_is_a_failure() {
        for (mode, expected) in [
            (Some("iptables"), Status::Ok),
            (None, Status::Ok),
            (Some("nftables"), Status::Failure),
            (Some("ipvs"), Status::Failure),
        ] {
            assert_eq!(judge("10.0.0.7:30500", mode).status, expected, "{mode:?}");
        }
    }
}
