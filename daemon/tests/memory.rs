//! hookd is fed what a job can make it read, and stays small: an out-of-memory kill of the sidecar
//! costs the job its runner. The daemon's service runs in a process of its own, which is asked through
//! its socket; what it has needed at most is read from the kernel at the end.
//!
//! `HOOKD_MEMORY_INPUTS` sets the number of inputs.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::StreamExt;
use hookd_api::v1;
use hookd_api::v1::hook_service_client::HookServiceClient;
use tonic::transport::Channel;
use tonic_types::StatusExt;

#[path = "memory/contexts.rs"]
mod contexts;
#[path = "memory/daemon.rs"]
mod daemon;
#[path = "memory/inputs.rs"]
mod inputs;
mod refusing_cluster;
#[path = "memory/registry.rs"]
mod registry;

use daemon::Daemon;
use hostile::Chance;
use inputs::{KINDS, bomb, chosen, heavy, step, variables};
use registry::Registry;

/// What hookd may need.
const MOST: u64 = 64 << 20;
/// Of that, the pages of a release build's program (docs/benchmarks.md: 23 MB at rest with them).
const PROGRAM: u64 = 26 << 20;
/// Inputs unless the environment says how many.
const INPUTS: usize = 10_000;
/// Of each kind of heavy input that many come first, mixed.
const MIXED: usize = 5;
/// And as many at once, all of one kind.
const AT_ONCE: usize = 10;

/// How calls ended, by the reason of their refusal.
#[derive(Debug, Default)]
struct Ends(Mutex<BTreeMap<String, usize>>);

impl Ends {
    /// Runs the call to its end, which is a refusal.
    async fn run(
        &self,
        mut client: HookServiceClient<Channel>,
        request: v1::RunContainerStepRequest,
    ) {
        let called = client.run_container_step(futures::stream::iter([request])).await;
        let ended = match called {
            Err(refused) => Some(refused),
            Ok(answer) => {
                let mut events = answer.into_inner();
                loop {
                    match events.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break None,
                        Err(refused) => break Some(refused),
                    }
                }
            }
        };
        let reason = ended.and_then(|refused| refused.get_details_error_info());
        let reason = reason.map_or_else(|| "none".to_owned(), |info| info.reason);
        *self.0.lock().unwrap().entry(reason).or_default() += 1;
    }

    fn of(&self, reason: &str) -> usize {
        self.0.lock().unwrap().get(reason).copied().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hookd_stays_below_64_mb_whatever_a_job_lets_it_read() {
    let inputs = std::env::var("HOOKD_MEMORY_INPUTS").ok().and_then(|text| text.parse().ok());
    let inputs: usize = inputs.unwrap_or(INPUTS);
    let registry = Registry::start();
    let daemon = Daemon::start_with(&registry.host);
    let (client, work) = (daemon.client().await, daemon.work());
    let mut chance = Chance::new(1);
    let place = (work.as_path(), registry.host.as_str());
    let ends = Ends::default();
    let feed = async |requests: &mut (dyn Iterator<Item = v1::RunContainerStepRequest> + Send)| {
        let calls = requests.map(|request| ends.run(client.clone(), request));
        futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect::<()>().await;
    };
    for kind in 0..KINDS {
        feed(&mut (0..AT_ONCE).map(|number| heavy(place, number, kind))).await;
        eprintln!("kind {kind}: {} KiB", daemon.need() >> 10);
    }
    // Each hundredth is a heavy one; first come all kinds of them mixed.
    feed(&mut (0..inputs).map(|number| {
        if number < KINDS * MIXED {
            heavy(place, number, number % KINDS)
        } else if number % 100 == 0 {
            heavy(place, number, number / 100 % KINDS)
        } else {
            chosen(&work, number, &mut chance)
        }
    }))
    .await;
    let deep = "[".repeat(200_000);
    let wide = format!("spec: {{x: [{}]}}", "a,".repeat(100_000));
    for template in [bomb(), deep, wide, "x".repeat(2 << 20)] {
        std::fs::write(daemon.template(), template).unwrap();
        feed(&mut (0..AT_ONCE).map(|number| heavy(place, number, KINDS))).await;
    }
    let need = daemon.need();
    eprintln!("{inputs} inputs: {} KiB at most; {ends:?}", need >> 10);
    assert!(need + PROGRAM < MOST, "{} KiB", need >> 10);
    // They were read, not only refused at the door.
    assert!(registry.served() >= MIXED, "{} images were looked up", registry.served());
    for reason in ["INVALID_INPUT", "CONTEXT_INVALID", "TEMPLATE_INVALID"] {
        assert!(ends.of(reason) >= MIXED, "{reason}: {ends:?}");
    }
    // It lives, and is the process that was started.
    daemon.client().await.get_status(v1::GetStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_caller_learns_which_limit_its_call_exceeds() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let image = || v1::ContainerSpec { image: "x".into(), ..v1::ContainerSpec::default() };
    let arguments = vec![String::new(); 40_000];
    for (container, expected) in [
        (
            v1::ContainerSpec { environment_variables: variables(24, 1 << 20), ..image() },
            "more than 3 MiB",
        ),
        (v1::ContainerSpec { entry_point_args: arguments, ..image() }, "more than 32768 arguments"),
        // A client takes 16 KiB of headers, which carry the message twice.
        (
            v1::ContainerSpec {
                create_options: format!("--{}", "\u{e9}".repeat(30_000)),
                ..image()
            },
            "is not a flag of",
        ),
        (
            v1::ContainerSpec { user_mount_volumes: vec![v1::Mount::default(); 257], ..image() },
            "`user_mount_volumes` has 257 entries, 256 is the limit",
        ),
        (
            v1::ContainerSpec { user_mount_volumes: vec![v1::Mount::default(); 257], ..image() },
            "`user_mount_volumes` has 257 entries, 256 is the limit",
        ),
        (
            v1::ContainerSpec {
                user_mount_volumes: vec![v1::Mount {
                    user_provided_value: "\u{1}".repeat(1 << 20),
                    target_volume_path: "/__w".into(),
                    ..v1::Mount::default()
                }],
                ..image()
            },
            "`user_mount_volumes` has 1048576 bytes, 4096 is the limit",
        ),
    ] {
        let request = step(container, Vec::new());
        let called = client.clone().run_container_step(futures::stream::iter([request])).await;
        let refused = called.unwrap_err();
        let details = refused.get_details_error_info().unwrap();
        assert_eq!(details.reason, "INVALID_INPUT", "{refused}");
        assert!(refused.message().contains(expected), "{refused}");
    }
}
