//! What docker makes of the words that a workflow gives it.

pub mod args;
pub mod options;
pub mod ports;
pub mod volumes;
