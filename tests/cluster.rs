//! The tests on a real cluster: hook and hookd as they are deployed, called as the runner calls
//! them. `make test-cluster` starts the cluster of deploy/devcluster and runs them.
//!
//! Each test has a namespace, a work volume and a runner pod of its own ([`support`]). The node of
//! the cluster is this machine, so that a test sees the processes of its pods in /proc and the work
//! volume in a folder; it must be root for that. `HOOKD_KEEP=1` keeps what the tests made until the
//! next run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

#[path = "cluster/support/mod.rs"]
mod support;

#[path = "cluster/actions.rs"]
mod actions;
#[path = "cluster/api.rs"]
mod api;
#[path = "cluster/bad_builds.rs"]
mod bad_builds;
#[path = "cluster/bad_calls.rs"]
mod bad_calls;
#[path = "cluster/bad_clusters.rs"]
mod bad_clusters;
#[path = "cluster/bad_jobs.rs"]
mod bad_jobs;
#[path = "cluster/bad_registries.rs"]
mod bad_registries;
#[path = "cluster/build_credentials.rs"]
mod build_credentials;
#[path = "cluster/builds.rs"]
mod builds;
#[path = "cluster/builds_like_docker.rs"]
mod builds_like_docker;
#[path = "cluster/cancels.rs"]
mod cancels;
#[path = "cluster/container_steps.rs"]
mod container_steps;
#[path = "cluster/fault_matrix.rs"]
mod fault_matrix;
#[path = "cluster/faults/mod.rs"]
#[allow(dead_code, unused_imports, reason = "`make faults` uses more of it")]
mod faults;
#[path = "cluster/fixtures.rs"]
mod fixtures;
#[path = "cluster/hygiene.rs"]
mod hygiene;
#[path = "cluster/job_ends.rs"]
mod job_ends;
#[path = "cluster/jobs.rs"]
mod jobs;
#[path = "cluster/networking.rs"]
mod networking;
#[path = "cluster/options.rs"]
mod options;
#[path = "cluster/outages.rs"]
mod outages;
#[path = "cluster/output.rs"]
mod output;
#[path = "cluster/parallel_steps.rs"]
mod parallel_steps;
#[path = "cluster/policies.rs"]
mod policies;
#[path = "cluster/preparing.rs"]
mod preparing;
#[path = "cluster/restarts.rs"]
mod restarts;
#[path = "cluster/templates.rs"]
mod templates;
#[path = "cluster/tunnels.rs"]
mod tunnels;
#[path = "cluster/workflow.rs"]
mod workflow;
