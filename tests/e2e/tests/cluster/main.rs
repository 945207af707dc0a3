//! The tests on a real cluster: hook and hookd as they are deployed, called as the runner calls
//! them. `make test-cluster` starts the cluster of deploy/devcluster and runs them.
//!
//! Each test has a namespace, a work volume and a runner pod of its own ([`test_support`]). The node of
//! the cluster is this machine, so that a test sees the processes of its pods in /proc and the work
//! volume in a folder; it must be root for that. `HOOKD_KEEP=1` keeps what the tests made until the
//! next run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

mod actions;
mod api;
mod bad_builds;
mod bad_calls;
mod bad_clusters;
mod bad_jobs;
mod bad_registries;
mod build_caches;
mod build_credentials;
mod build_flight;
mod build_image;
mod build_reuse;
mod buildkit;
mod buildkitd;
mod builds;
mod builds_like_docker;
mod cancels;
mod chart;
mod container_steps;
mod doctor;
mod documents;
mod fault_matrix;
mod fixtures;
mod holds;
mod hygiene;
mod job_ends;
mod jobs;
mod labels;
mod monitoring;
mod networking;
mod options;
mod outages;
mod output;
mod parallel_steps;
mod parity;
mod policies;
mod policy_file;
mod prebuilds;
mod preparing;
mod prometheus;
mod pull_secrets;
mod queries;
mod registries;
mod restarts;
mod runner_pod;
mod runner_pod_builds;
mod runner_pod_limits;
mod summaries;
mod templates;
mod traces;
mod tunnels;
mod workflow;
