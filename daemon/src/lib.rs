//! hookd: runs the container hooks of a GitHub Actions runner on Kubernetes.
//!
//! A call comes in through [`rpc`] (socket, peer, conversion). [`session`] drives its operation, one of
//! [`hooks`], for which [`placement`] runs containers: in pods of their own or in the runner's. They use
//! [`build`] (Dockerfiles), [`workload`] (pods of ours), [`stepd`] (the agent in them), [`registry`] and
//! [`cluster`] (the Kubernetes API), with objects made by [`objects`] (pure).
//! `docs/architecture.md` follows one call from end to end; `tests/architecture.rs` says which room may
//! use which.

pub mod app;
mod beneath;
pub mod blocking;
pub mod build;
pub mod build_command;
pub mod cluster;
pub mod config;
pub mod context;
pub mod dockerfile;
pub mod doctor;
pub mod endpoint;
pub mod error;
pub mod forward;
pub mod hooks;
pub mod ids;
pub mod install;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod objects;
pub mod placement;
pub mod policy;
pub mod registry;
pub mod rpc;
pub mod runner;
pub mod session;
pub mod stepd;
pub mod supervisor;
pub mod traces;
pub mod work_volume;
pub mod workload;
pub mod yaml;
