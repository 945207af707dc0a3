//! stepd as it runs in a job pod: PID 1 of a pid namespace, spoken to through `stepd connect` of a
//! process that came from outside. Needs root, for the namespaces.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions only")]

mod attacks;
mod bounds;
mod ends;
mod output;
mod outside;
mod programs;
mod support;
