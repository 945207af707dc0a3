//! The Kubernetes API: a warm client and what hookd asks of it.

pub mod access;
pub mod attach;
pub mod client;
pub mod events;
pub mod job;
pub mod logs;
pub mod pod;
pub mod pod_security;
mod refusal;
pub mod retry;
pub mod tunnel;
pub mod watch;
