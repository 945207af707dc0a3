//! The `hook` binary as the runner sees it, against a hookd that the test plays itself.

#![allow(clippy::unwrap_used)]

mod support;

mod cancel;
mod connect;
mod input;
mod job;
mod output;
mod response;
mod resume;
