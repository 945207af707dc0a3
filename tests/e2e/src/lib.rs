//! The fault suite and the parity suite, which the tests on the cluster share with `make faults` and
//! `make parity`, and servers that tests start.
//!
//! The tests stand in `tests/cluster`, the benchmarks in `benches/cluster`; both need the feature
//! `cluster` and the cluster of deploy/devcluster.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test must fail at what goes wrong, and print what it sees"
)]

pub mod authority;
pub mod buildkitd;
pub mod collector;
pub mod faults;
pub mod parity;
