//! The tunnel to the agent, full in both directions, on the cluster of deploy/devcluster.
//! `make test-cluster` starts that and runs this.

use std::time::{Duration, Instant};

use hookd::cluster::exec::tunnel;
use hookd::cluster::{Cluster, ContainerRef, client};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::conditions::is_pod_running;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long both directions are kept full.
const TIME: Duration = Duration::from_secs(60);
/// A direction that stands still for so long does so for ever.
const STILL: Duration = Duration::from_secs(15);
const NAMESPACE: &str = "default";

/// A block that no other place of the stream has.
fn block(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(4096)
}

/// A pod that waits; it ends by itself.
async fn start_pod(client: &Client) -> Result<String, Box<dyn std::error::Error>> {
    let port = std::env::var("HOOKD_REGISTRY_NODE_PORT")
        .map_err(|_| "HOOKD_REGISTRY_NODE_PORT is not set: `make test-cluster` sets it")?;
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"generateName": "hookd-tunnel-"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "echo",
                "image": format!("localhost:{port}/library/busybox:1"),
                "command": ["sleep", "300"],
            }],
        },
    }))?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let created = pods.create(&PostParams::default(), &pod).await?;
    let name = created.metadata.name.ok_or("a pod without a name")?;
    let runs = await_condition(pods, &name, is_pod_running());
    tokio::time::timeout(Duration::from_secs(60), runs).await??;
    Ok(name)
}

#[tokio::test]
async fn a_tunnel_that_is_full_both_ways_stands_still_nowhere() {
    let (client, _) = client::connect().await.unwrap();
    let pod = start_pod(&client).await.unwrap();
    let timeout = Duration::from_secs(60);
    let cluster = Cluster {
        client: client.clone(),
        namespace: NAMESPACE.to_owned(),
        api_timeout: timeout,
        start_timeout: timeout,
    };
    let target = ContainerRef { pod: &pod, container: "echo" };
    let echo = tunnel::open(&cluster, target, &["cat"]).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(echo);
    let began = Instant::now();
    let (wanted, total) = tokio::sync::watch::channel(u64::MAX);
    let write = async {
        let mut number = 0;
        while began.elapsed() < TIME {
            let full = block(number);
            let written = tokio::time::timeout(STILL, writer.write_all(&full));
            written.await.expect("the way to the program stands still").unwrap();
            number += 1;
        }
        // One more, for a reader that waits already.
        wanted.send_replace(number + 1);
        writer.write_all(&block(number)).await.unwrap();
    };
    let read = async {
        let mut number = 0;
        while number < *total.borrow() {
            let mut found = block(0);
            let read = tokio::time::timeout(STILL, reader.read_exact(&mut found));
            read.await.expect("the way from the program stands still").unwrap();
            assert!(found == block(number), "block {number} is another one");
            number += 1;
        }
        number
    };
    let ((), blocks) = tokio::join!(write, read);
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    pods.delete(&pod, &DeleteParams::default()).await.unwrap();
    assert!(blocks > 1000, "{blocks} blocks of 32 KiB in a minute");
}
