//! hookd: runs the container hooks of a GitHub Actions runner on Kubernetes.
//!
//! A call comes in through [`rpc`] (socket, peer, conversion), is performed in [`hooks`] (one file
//! an operation), which uses [`step`] (the caller's side), [`image`] (building) and [`cluster`]
//! (the Kubernetes API), with objects made by [`spec`] (pure). `docs/architecture.md` follows one
//! call from end to end.

pub mod app;
pub mod blocking;
pub mod cluster;
pub mod config;
pub mod error;
pub mod hooks;
pub mod ids;
pub mod image;
pub mod install;
pub mod rpc;
pub mod runner;
pub mod spec;
pub mod step;
pub mod supervisor;
pub mod yaml;
