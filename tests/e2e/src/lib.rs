//! The fault suite, which the tests on the cluster and `make faults` share.
//!
//! The tests stand in `tests/cluster`, the benchmarks in `benches/cluster`; both need the feature
//! `cluster` and the cluster of deploy/devcluster.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test must fail at what goes wrong, and print what it sees"
)]

pub mod faults;
