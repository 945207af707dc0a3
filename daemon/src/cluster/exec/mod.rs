//! Connections to processes in containers.

pub mod stdin;
pub mod tunnel;
