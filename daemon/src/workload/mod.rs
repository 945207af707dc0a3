//! A pod of ours from its creation to its end, reported to the client as it goes.

pub mod ended_services;
pub mod error;
pub mod hold;
pub mod last_lines;
pub mod output;
pub mod pod_security;
pub mod quota;
pub mod ready;
pub mod start;
pub mod timing;
