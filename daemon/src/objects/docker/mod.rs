//! What docker makes of the arguments that a workflow gives it.

pub mod args;
pub mod options;
pub mod ports;
pub mod volumes;
